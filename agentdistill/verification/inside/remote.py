"""The tests' side: modules under test that are imported from another process, and what their objects can be asked.

Equality and order between such an object and a plain value are decided here, on the plain value it has if its class
extends a plain type, else they do not hold: an object that claims to equal everything equals nothing. For the same
reason a number is neither subtracted from such an object nor divided by it (``abs(f() - 3.7) < 1e-9``): what the code
under test returns would be told the expected number, and could answer to suit.

Two objects of the code under test are compared by that code, as are its answers to ``in``, ``isinstance`` and truth.
"""

from __future__ import annotations

import builtins
import collections.abc
import contextlib
import functools
import importlib.abc
import importlib.machinery
import io
import sys
import threading
import types

from .exchange import BINARY, OPERATIONS, Exchange, Far, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence
    from typing import Any

_CALLABLE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial, type)
_DONE_TO_FAKES = frozenset(OPERATIONS) - {"copy", "dir", "delete", "plain"}
_SELF_DESCRIPTION = ("__name__", "__qualname__", "__doc__")


class Remote(Far):
    """An object of the code under test, in the hands of a test."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, (Far, FarModule)):
            return bool(ask(self, "eq", self, other))
        return any(each == other for each in self._plain())

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        plain = self._plain()
        return hash(plain[0]) if plain else int(ask(self, "hash", self))

    def __lt__(self, other: object) -> bool:
        return self._ordered("lt", other)

    def __le__(self, other: object) -> bool:
        return self._ordered("le", other)

    def __gt__(self, other: object) -> bool:
        return self._ordered("gt", other)

    def __ge__(self, other: object) -> bool:
        return self._ordered("ge", other)

    def __contains__(self, item: object) -> bool:
        if isinstance(item, Far):
            return bool(ask(self, "contains", self, item))
        return any(item in each for each in self._plain()) or bool(ask(self, "contains", self, item))

    def _ordered(self, do: str, other: object) -> bool:
        if isinstance(other, Far):
            return bool(ask(self, do, self, other))
        return bool(OPERATIONS[do](self._known(do, other), other))

    def _plain(self) -> list[Any]:
        if not self._far[2].get("plain"):
            return []
        plain = ask(self, "plain", self)
        return plain if isinstance(plain, list) else []

    def _known(self, do: str, other: object) -> Any:
        plain = self._plain()
        if not plain:
            name = self._far[2].get("name")
            raise TypeError(f"{do}: a {name} of the code under test is not compared with {type(other).__name__}")
        return plain[0]


def _judged_here(do: str, reflected: bool) -> Callable[[Remote, object], Any]:
    """Subtraction and division: with another object of the code under test by that code, with a number here."""

    def operate(self: Remote, other: object) -> Any:
        if isinstance(other, Far):
            return ask(self, do, other, self) if reflected else ask(self, do, self, other)
        if not isinstance(other, (int, float, complex)):
            return ask(self, do, other, self) if reflected else ask(self, do, self, other)
        own = self._known(do, other)
        return OPERATIONS[do](other, own) if reflected else OPERATIONS[do](own, other)

    return operate


for _name in ("sub", "truediv", "floordiv", "mod"):
    setattr(Remote, f"__{_name}__", _judged_here(_name, reflected=False))
    setattr(Remote, f"__r{_name}__", _judged_here(_name, reflected=True))
    setattr(Remote, f"__i{_name}__", _judged_here(_name, reflected=False))


class RemoteCoroutine(Remote):
    """One that can be awaited. The loop of the code under test runs while the test's own stands still."""

    __slots__ = ()

    def __await__(self) -> Generator[None, None, Any]:
        return ask(self, "await", self)
        yield


Remote.__doc__ = property(lambda self: ask(self, "get", self, "__doc__"))  # type: ignore[assignment]


class FarModule(types.ModuleType):
    """A module under test."""

    _far: Any

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":
            return ask(self, "names", self)
        if name in ("__path__", "_far"):
            raise AttributeError(name)
        return ask(self, "get", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "_far" or name.startswith("__") or isinstance(value, FarModule):
            super().__setattr__(name, value)
        else:
            ask(self, "set", self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.__dict__:
            super().__delattr__(name)
        else:
            ask(self, "delete", self, name)


class Tests(Exchange):
    """The tests' side.

    Args:
        line: the socket to the code under test.
        own: whether a module, by its name, is the tests' own. Objects of its classes may be handed over.
    """

    far_class = Remote
    __test__ = False

    def __init__(self, line: Any, own: Callable[[str], bool]) -> None:
        super().__init__(line)
        self._is_own = own
        self._turn = threading.RLock()

    def ask(self, do: str, *arguments: object, **named: object) -> Any:
        """See `Exchange.ask`; the threads of a test ask one after the other."""
        with self._turn:
            return super().ask(do, *arguments, **named)

    def far_number(self, value: object) -> int | None:
        """See `Exchange.far_number`."""
        if isinstance(value, BaseException):
            value = value.__dict__.get("_there")
        elif isinstance(value, FarModule) or (isinstance(value, type) and issubclass(value, BaseException)):
            far = value.__dict__.get("_far")
            return far[1] if far is not None else None
        return super().far_number(value)

    def take(self, number: int, about: dict[str, Any]) -> object:
        """An exception class becomes a class here too, since ``except`` wants one."""
        if "exception" not in about:
            return (RemoteCoroutine if about.get("awaitable") else Remote)(self, number, about)
        bases = tuple(each for each in map(self.unpack, about.get("bases") or ()) if _is_exception(each))
        return type(str(about["exception"]), bases or (Exception,), {**_ERROR, "_far": (self, number, about)})

    def lend(self, value: object) -> dict[str, Any]:
        """Functions, iterators, files, and objects of the tests' own classes and of `unittest.mock`; nothing else."""
        if isinstance(value, (*_CALLABLE, collections.abc.Iterator, io.IOBase)) or self._is_fake(value):
            return {"name": type(value).__name__}
        raise TypeError(f"a {type(value).__name__} of a test cannot be handed to the code under test")

    def permit(self, do: str, arguments: list[Any]) -> None:
        """A callback is called, an iterator goes on, a fake does what is public. Nothing leads on from there.

        Raises:
            TypeError: the code under test wants more.
        """
        place = next((place for place, each in enumerate(arguments) if id(each) in self._numbers), -1)
        if place >= 0 and do in OPERATIONS and self._may(do, arguments[place], place, arguments):
            return
        raise TypeError(f"the code under test may not {do} this")

    def _may(self, do: str, target: object, place: int, arguments: list[Any]) -> bool:
        if do in ("isinstance", "issubclass"):
            return place == 1 and isinstance(target, type)
        if place > 0:  # the right side of an operator
            return place == 1 and do in BINARY and self._is_fake(target)
        name = arguments[1] if do in ("get", "set") and len(arguments) > 1 else ""
        if not isinstance(name, str):
            return False
        if isinstance(target, _CALLABLE):
            return do == "call" or (do == "get" and name in _SELF_DESCRIPTION)
        if self._is_fake(target) or isinstance(target, io.IOBase):
            mocked = type(target).__module__ == "unittest.mock"
            return do in _DONE_TO_FAKES and not name.startswith("_") and not (mocked and do == "set")
        return do in ("iter", "next")

    def refer(self, value: object) -> object:
        """See `Exchange.refer`. An exception of the tests crosses as another of its class."""
        if isinstance(value, BaseException) and self.far_number(value) is None:
            return {"error": self.pack_error(value)}
        return super().refer(value)

    def pack_error(self, error: BaseException) -> object:
        """What a callback raised: its class, and those of its arguments that are plain; of an assertion only that."""
        kind = next(each for each in type(error).__mro__ if self.far_number(each) is not None or _is_builtin(each))
        told = () if isinstance(error, AssertionError) else error.args
        return {"class": self.pack(kind), "args": [each if isinstance(each, (str, int)) else "" for each in told]}

    def unpack_error(self, data: Any) -> BaseException:
        """See `Exchange.unpack_error`."""
        raised, arguments = self.unpack(data["class"]), [self.unpack(each) for each in data["args"]]
        if not _is_exception(raised):
            raise TypeError("what was raised is no exception")
        error: BaseException = raised.__new__(raised, *arguments)
        if hasattr(raised, "_far"):
            error.args = tuple(arguments)
            vars(error).update(_there=self.unpack(data["self"]), _text=str(data["text"]))
        else:
            with contextlib.suppress(TypeError):  # some take no arguments of this kind, and are raised without
                raised.__init__(error, *arguments)
        return error

    def hear(self, reply: dict[str, Any]) -> None:
        """What the code under test printed is printed here, where a test may be listening."""
        for name in ("stdout", "stderr"):
            if isinstance(reply.get(name), str):
                getattr(sys, name).write(reply[name])

    def _is_fake(self, value: object) -> bool:
        home = type(value).__module__
        return home == "unittest.mock" or self._is_own(home)


def _error_attribute(self: BaseException, name: str) -> Any:
    there = self.__dict__.get("_there")
    if there is None or name.startswith("__"):
        raise AttributeError(name)
    return getattr(there, name)


def _error_text(self: BaseException) -> str:
    text = self.__dict__.get("_text")
    return text if isinstance(text, str) else BaseException.__str__(self)


_ERROR: dict[str, Any] = {"__getattr__": _error_attribute, "__str__": _error_text, "__module__": "code_under_test"}


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _is_builtin(value: type) -> bool:
    return getattr(builtins, value.__name__, None) is value


class RemoteModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules under test for ``import``: they are loaded by the code under test's process.

    Args:
        names: their top-level names.
        connect: gives the exchange; called when the first of them is imported.
    """

    def __init__(self, names: Collection[str], connect: Callable[[], Tests]) -> None:
        self._names = frozenset(names)
        self._connect = connect

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name.partition(".")[0] not in self._names:
            return None
        return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """See `importlib.abc.Loader`."""
        exchange = self._connect()
        there = exchange.ask("import", spec.name)
        if not isinstance(there, Remote):
            raise ImportError(f"{spec.name!r} is no module", name=spec.name)
        module = FarModule(spec.name)
        module._far = there._far
        if there._far[2].get("package"):
            spec.submodule_search_locations = []
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing: it was loaded where it lives."""
