"""One conversation between the tests and the code under test, which live in two processes: requests and their replies.

Each side keeps its own objects and shows them to the other as numbers; whoever gets a number works with a `Far` object
that forwards what is done to it. While one side waits for its reply it serves the other's requests, so callbacks work.
What a side is ready to do for the other is said by `Exchange.permit`.
"""

from __future__ import annotations

import json
import operator
import struct

from .values import Nonsense, pack, plain_base, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any, NoReturn

LARGEST = 16 << 20
_HEAD = struct.Struct(">I")


class Gone(BaseException):
    """The other side is gone or talks nonsense. No `Exception`, so that no test can take it for what it expects."""


def _call(called: Callable[..., Any], *arguments: object, **named: object) -> object:
    return called(*arguments, **named)


def _enter(manager: Any) -> object:
    return type(manager).__enter__(manager)


def _leave(manager: Any, *error: object) -> object:
    return type(manager).__exit__(manager, *error)


def _copied(value: object, deep: bool) -> object:
    import copy

    return copy.deepcopy(value) if deep else copy.copy(value)


BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift")
_UNARY = ("len", "next", "bool", "str", "repr", "int", "float", "hash", "index", "dir", "abs", "reversed", "neg", "pos")
_OTHER = ("invert", "format", "round", "eq", "ne", "lt", "le", "gt", "ge", "contains", "getitem", "setitem", "delitem")
OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": _call,
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "enter": _enter,
    "leave": _leave,
    "copy": _copied,
    "plain": plain_base,
    "contains": operator.contains,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "index": operator.index,
    **{each.__name__: each for each in (len, iter, next, bool, str, repr, int, float, hash, dir, format, round)},
    **{each.__name__: each for each in (abs, reversed, divmod, isinstance, issubclass)},
    **{name: getattr(operator, name) for name in ("neg", "pos", "invert", "eq", "ne", "lt", "le", "gt", "ge")},
    **{name: getattr(operator, name) for name in BINARY},
    **{f"i{name.strip('_')}": getattr(operator, f"i{name.strip('_')}") for name in BINARY},
}


class Far:
    """An object of the other side. What is done to it is done there."""

    __slots__ = ("__weakref__", "_far")

    def __init__(self, exchange: Exchange, number: int, about: dict[str, Any]) -> None:
        if not isinstance(exchange, Exchange):  # what Python does for `class Fake(imported.Base)`
            raise TypeError("a class of the code under test cannot be extended by a test")
        object.__setattr__(self, "_far", (exchange, number, about))

    def __getattr__(self, name: str) -> Any:
        return ask(self, "get", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        ask(self, "set", self, name, value)

    def __delattr__(self, name: str) -> None:
        ask(self, "delete", self, name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: D102 - as above
        return ask(self, "call", self, *arguments, **named)

    def __instancecheck__(self, other: object) -> Any:
        return ask(self, "isinstance", other, self)

    def __subclasscheck__(self, other: object) -> Any:
        return ask(self, "issubclass", other, self)

    def __exit__(self, *error: object) -> Any:
        # The traceback stays where it is: it leads to everything.
        return ask(self, "leave", self, *error[:2], None)

    def __copy__(self) -> Any:
        return ask(self, "copy", self, False)

    def __deepcopy__(self, memo: object) -> Any:
        return ask(self, "copy", self, True)

    def __iter__(self) -> Any:
        return ask(self, "iter", self)


def ask(far: Any, do: str, *arguments: object, **named: object) -> Any:
    """Have the other side do something with its object `far`."""
    return far._far[0].ask(do, *arguments, **named)


def _forward(do: str, reflected: bool = False) -> Callable[..., Any]:
    if reflected:
        return lambda self, other: ask(self, do, other, self)
    return lambda self, *others: ask(self, do, self, *others)


for _name in (*_UNARY, *_OTHER, "enter", "divmod"):
    setattr(Far, f"__{_name}__", _forward(_name))
for _name in BINARY:
    setattr(Far, f"__{_name.strip('_')}__", _forward(_name))
    setattr(Far, f"__r{_name.strip('_')}__", _forward(_name, reflected=True))
    setattr(Far, f"__i{_name.strip('_')}__", _forward(f"i{_name.strip('_')}"))


class Exchange:
    """One side. Not thread-safe: what is asked is answered before the next thing is asked."""

    far_class: type[Far] = Far

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._own: list[object] = []
        self._numbers: dict[int, int] = {}
        self._known: dict[int, object] = {}
        self.broken = ""

    # ---- asking and serving --------------------------------------------------------------------------------------

    def ask(self, do: str, *arguments: object, **named: object) -> Any:
        """Have the other side do something, and give what comes of it.

        Raises:
            Gone: there will be no answer.
        """
        self._send({"do": do, "with": [self.pack(each) for each in arguments], "named": self._packed(named)})
        while True:
            reply = self._receive()
            if "do" not in reply:
                return self._taken(reply, arguments)
            self.serve(reply)

    def serve(self, request: dict[str, Any]) -> None:
        """Do what the other side asks for, and reply."""
        try:
            do, arguments = request["do"], [self.unpack(each) for each in request["with"]]
            named = {str(name): self.unpack(each) for name, each in request["named"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            self.give_up(f"a request without {error}")
        before = [self._packed_if_mutable(each) for each in arguments]
        try:
            result = self.pack(self.perform(do, arguments, named))
        except Gone:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
            reply: dict[str, object] = {"raised": self.pack_error(error)}
        else:
            reply = {"is": result}
        after = [self._packed_if_mutable(each) for each in arguments]
        changed = [[place, each] for place, each in enumerate(after) if each != before[place]]
        self._send({**reply, "changed": changed, **self.said()})

    def serve_for_ever(self) -> NoReturn:
        """Serve until the other side is gone."""
        while True:
            self.serve(self._receive())

    def _taken(self, reply: dict[str, Any], arguments: tuple[object, ...]) -> Any:
        self.hear(reply)
        try:
            for place, data in reply.get("changed", ()):
                _make_equal(arguments[place], self.unpack(data))
            if "raised" in reply:
                raised = self.unpack_error(reply["raised"])
            else:
                return self.unpack(reply["is"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            self.give_up(f"a reply that is none: {error}")
        raise raised

    # ---- what the sides do differently ---------------------------------------------------------------------------

    def perform(self, do: str, arguments: list[Any], named: dict[str, Any]) -> object:
        """What comes of a request."""
        self.permit(do, arguments)
        return OPERATIONS[do](*arguments, **named)

    def permit(self, do: str, arguments: list[Any]) -> None:
        """Raise `TypeError` if the other side may not have this done."""

    def lend(self, value: object) -> dict[str, Any]:
        """What the other side is told of one of our objects; `TypeError` if it is not for the other side."""
        return {}

    def pack_error(self, error: BaseException) -> object:
        """An exception as it crosses."""
        raise NotImplementedError

    def unpack_error(self, data: Any) -> BaseException:
        """The exception that the other side's code raised."""
        raise NotImplementedError

    def take(self, number: int, about: dict[str, Any]) -> object:
        """What stands here for an object of the other side, met for the first time."""
        return self.far_class(self, number, about)

    def said(self) -> dict[str, object]:
        """What goes along with a reply."""
        return {}

    def hear(self, reply: dict[str, Any]) -> None:
        """What came along with a reply."""

    # ---- values --------------------------------------------------------------------------------------------------

    def pack(self, value: object) -> object:
        """A value as it crosses."""
        return pack(value, self.refer)

    def unpack(self, data: object) -> Any:
        """The value that crossed; `Gone` if it is none."""
        try:
            return unpack(data, self.resolve)
        except (Nonsense, RecursionError, MemoryError) as error:
            self.give_up(f"not a value: {error}")

    def far_number(self, value: object) -> int | None:
        """The number of an object of the other side, `None` if it is one of ours."""
        far = getattr(value, "_far", None) if isinstance(value, Far) else None
        return far[1] if far is not None and far[0] is self else None

    def refer(self, value: object) -> object:
        """What crosses for an object that is not plain: its number, and what is to be known of it the first time."""
        number = self.far_number(value)
        if number is not None:
            return {"yours": number}
        if id(value) not in self._numbers:
            about = self.lend(value)
            self._numbers[id(value)] = len(self._own)
            self._own.append(value)
            return {"mine": self._numbers[id(value)], "about": {**about, "plain": bool(plain_base(value))}}
        return {"mine": self._numbers[id(value)]}

    def resolve(self, data: dict[str, Any]) -> object:
        """What a number stands for.

        Raises:
            Nonsense: nothing.
        """
        number = data.get("yours", data.get("mine"))
        if not isinstance(number, int) or number < 0:
            raise Nonsense(f"a value of no known kind: {str(data)[:80]}")
        if "yours" in data:
            if number >= len(self._own):
                raise Nonsense("an object that was never lent")
            return self._own[number]
        if number not in self._known:
            about = data.get("about")
            if not isinstance(about, dict):
                raise Nonsense("an object that nothing is said about")
            self._known[number] = self.take(number, about)
        return self._known[number]

    def _packed(self, named: dict[str, object]) -> dict[str, object]:
        return {name: self.pack(each) for name, each in named.items()}

    def _packed_if_mutable(self, value: object) -> object:
        return self.pack(value) if type(value) in (list, dict, set, bytearray) else None

    # ---- the line ------------------------------------------------------------------------------------------------

    def give_up(self, reason: str) -> NoReturn:
        """Nothing can be asked any more."""
        self.broken = self.broken or reason
        raise Gone(self.broken)

    def _send(self, message: dict[str, object]) -> None:
        if self.broken:
            raise Gone(self.broken)
        try:
            text = json.dumps(message).encode()
            self._line.sendall(_HEAD.pack(len(text)) + text)
        except OSError:
            self.give_up("the other side is gone")

    def _receive(self) -> dict[str, Any]:
        if self.broken:
            raise Gone(self.broken)
        (size,) = _HEAD.unpack(self._read(_HEAD.size))
        if size > LARGEST:
            self.give_up(f"a message of {size} bytes")
        try:
            message = json.loads(self._read(size))
        except (ValueError, RecursionError):
            self.give_up("a message that is none")
        if not isinstance(message, dict):
            self.give_up("a message that is none")
        return message

    def _read(self, size: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < size:
            try:
                piece = self._line.recv(min(size - len(pieces), 1 << 20))
            except OSError:
                piece = b""
            if not piece:
                self.give_up("the other side is gone")
            pieces += piece
        return bytes(pieces)


def _make_equal(value: Any, wanted: Any) -> None:
    """Make a mutable argument what the other side made of its copy."""
    if type(value) is not type(wanted):
        raise ValueError("an argument of another type")
    if isinstance(value, (list, bytearray)):
        value[:] = wanted
    elif isinstance(value, (dict, set)):
        value.clear()
        value.update(wanted)
