"""How values cross between the tests and the code under test: plain ones by value, everything else by reference.

By value go None, bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict, exactly the types
of `_STANDARD`, and builtin classes by name. Whatever crosses is built by the receiver from JSON, so the sender cannot
make it run anything. An object of a class of its own crosses as a number; what the number stands for stays where it is.
"""

from __future__ import annotations

import base64
import builtins
import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Nonsense(Exception):
    """What came is no value."""


_LARGEST_INT = 1 << 53

# A class by its full name, and the arguments that make an equal object of it.
_STANDARD: dict[str, Callable[[Any], tuple[object, ...]]] = {
    "builtins.range": lambda v: (v.start, v.stop, v.step),
    "builtins.slice": lambda v: (v.start, v.stop, v.step),
    "collections.Counter": lambda v: (dict(v),),
    "collections.OrderedDict": lambda v: (list(v.items()),),
    "collections.defaultdict": lambda v: (None, dict(v)),
    "collections.deque": lambda v: (list(v), v.maxlen),
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.datetime": lambda v: (v.year, v.month, v.day, v.hour, v.minute, v.second, v.microsecond, v.tzinfo),
    "datetime.time": lambda v: (v.hour, v.minute, v.second, v.microsecond, v.tzinfo),
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "datetime.timezone": lambda v: (v.utcoffset(None),),
    "decimal.Decimal": lambda v: (str(v),),
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
    "ipaddress.IPv4Address": lambda v: (str(v),),
    "ipaddress.IPv6Address": lambda v: (str(v),),
    "pathlib.PosixPath": lambda v: (str(v),),
    "pathlib._local.PosixPath": lambda v: (str(v),),
    "pathlib.PurePosixPath": lambda v: (str(v),),
    "uuid.UUID": lambda v: (str(v),),
    "zoneinfo.ZoneInfo": lambda v: (v.key,),
}


def pack(value: Any, refer: Callable[[object], object]) -> object:
    """A value as JSON has it. `refer` says what crosses for an object that is not plain."""
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return value
    if kind is int:
        return value if abs(value) < _LARGEST_INT else {"int": hex(value)}
    if kind in (list, tuple, set, frozenset):
        return {kind.__name__: [pack(each, refer) for each in value]}
    if kind is dict:
        return {"dict": [[pack(k, refer), pack(v, refer)] for k, v in value.items()]}
    if kind in (bytes, bytearray):
        return {kind.__name__: base64.b64encode(value).decode()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if value is Ellipsis or value is NotImplemented:
        return {"constant": "Ellipsis" if value is Ellipsis else "NotImplemented"}
    if isinstance(value, type) and value in vars(builtins).values():
        return {"class": value.__name__}
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if name in _STANDARD and _class_of(name) is kind:
        return {"value": [name, [pack(each, refer) for each in _STANDARD[name](value)]]}
    return refer(value)


def unpack(data: object, resolve: Callable[[dict[str, Any]], object]) -> Any:
    """The value that `pack` made `data` of. `resolve` says what an object that crossed by reference is here.

    Raises:
        Nonsense: it is nothing that `pack` makes.
    """
    if data is None or isinstance(data, (bool, int, float, str)):
        return data
    if not isinstance(data, dict) or not data:
        raise Nonsense("a value of no known kind")
    kind, content = next(iter(data.items()))
    try:
        if kind in ("list", "tuple", "set", "frozenset"):
            return getattr(builtins, kind)([unpack(each, resolve) for each in content])
        if kind == "dict":
            return {unpack(k, resolve): unpack(v, resolve) for k, v in content}
        if kind in ("bytes", "bytearray"):
            return getattr(builtins, kind)(base64.b64decode(content, validate=True))
        if kind == "int":
            return int(content, 16)
        if kind == "complex":
            return complex(*content)
        if kind == "constant" and content in ("Ellipsis", "NotImplemented"):
            return getattr(builtins, content)
        if kind == "class" and isinstance(getattr(builtins, content, None), type):
            return getattr(builtins, content)
        if kind == "value" and content[0] in _STANDARD:
            return _class_of(content[0])(*[unpack(each, resolve) for each in content[1]])
    except (TypeError, ValueError, ArithmeticError, OSError) as error:
        raise Nonsense(f"no {kind}: {error}") from error
    return resolve(data)


def plain_base(value: Any) -> list[object]:
    """For an object whose class extends a plain type, its value as that type in a list of one; else an empty list."""
    # Never by a method of its own class, which would be the code under test's word.
    try:
        if isinstance(value, dict):
            return [dict(dict.items(value))]
        for kind in (tuple, list, set, frozenset):
            if isinstance(value, kind):
                iterate: Any = kind.__iter__
                return [kind(iterate(value))]
        if isinstance(value, str):
            return [str.__getitem__(value, slice(None))]
        if isinstance(value, bytes):
            return [bytes.__getitem__(value, slice(None))]
        if isinstance(value, int):
            return [int.__int__(value)]
        if isinstance(value, float):
            return [float.__float__(value)]
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not plain
        return []
    return []


def _class_of(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None
