"""The process that the code under test lives in: imports it, does with it what the tests ask for, knows nothing else.

No test, no expected value, no secret is ever in this process, so whatever the code finds, patches or ends here, it is
its own. Of the tests' objects it sees only what they hand over.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import threading

from .exchange import Exchange, Far, ask

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

_LONGEST = 64 << 10


class Lent(Far):
    """An object of the tests, in the hands of the code under test."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        # What the interpreter or a library looks for by itself must not cost a question, nor end in a refusal.
        if name.startswith("__") and name not in ("__name__", "__qualname__", "__doc__"):
            raise AttributeError(name)
        return ask(self, "get", self, name)


class Subject(Exchange):
    """The code under test's side."""

    far_class = Lent

    def __init__(self, line: Any) -> None:
        super().__init__(line)
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None

    def ask(self, do: str, *arguments: object, **named: object) -> Any:
        """See `Exchange.ask`; only the thread that was called can ask back."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("objects of a test can be used in the main thread only")
        return super().ask(do, *arguments, **named)

    def perform(self, do: str, arguments: list[Any], named: dict[str, Any]) -> object:
        """See `Exchange.perform`."""
        if do == "import":
            return importlib.import_module(*arguments)
        if do == "names":
            return _public_names(*arguments)
        if do == "await":
            return self._finished(*arguments)
        return super().perform(do, arguments, named)

    def _finished(self, waited: Any) -> object:
        """What comes of a coroutine or another thing to await, in a loop that all of them share."""
        import asyncio

        async def wait() -> object:
            return await waited

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        return self._loop.run_until_complete(wait())

    def lend(self, value: object) -> dict[str, Any]:
        """The tests may have everything."""
        about: dict[str, Any] = {"name": type(value).__name__, "package": hasattr(value, "__path__")}
        about["awaitable"] = hasattr(type(value), "__await__")
        if isinstance(value, type) and issubclass(value, BaseException):
            about["exception"] = value.__name__
            about["bases"] = [self.pack(base) for base in value.__bases__ if issubclass(base, BaseException)]
        return about

    def pack_error(self, error: BaseException) -> object:
        """Its class, its arguments and what it says."""
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - it is the code under test's own method
            text = ""
        told, arguments = error.args, []
        if isinstance(error, OSError) and error.filename is not None:
            told = (*told[:2], error.filename)
        for each in told:
            try:
                arguments.append(self.pack(each))
            except Exception:  # noqa: BLE001 - as above, or something endless
                arguments.append(None)
        return {"class": self.pack(type(error)), "args": arguments, "text": text[:_LONGEST], "self": self.pack(error)}

    def resolve(self, data: dict[str, Any]) -> object:
        """See `Exchange.resolve`."""
        return self.unpack_error(data["error"]) if "error" in data else super().resolve(data)

    def unpack_error(self, data: Any) -> BaseException:
        """What a callback of the tests raised."""
        raised, arguments = self.unpack(data["class"]), [self.unpack(each) for each in data["args"]]
        error = raised(*arguments)
        return error if isinstance(error, BaseException) else RuntimeError("a callback failed")

    def said(self) -> dict[str, object]:
        """What the code printed since the last reply."""
        told: dict[str, object] = {}
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, io.StringIO) and stream.tell():
                told[name] = stream.getvalue()[:_LONGEST]
                stream.seek(0)
                stream.truncate()
        return told


def _public_names(module: Any) -> list[str]:
    """What ``from module import *`` takes."""
    names = getattr(module, "__all__", None)
    return [str(name) for name in names] if names is not None else [n for n in vars(module) if not n.startswith("_")]


def main(line: int, roots: list[str]) -> None:
    """Serve the tests until they end.

    Args:
        line: the number of the socket they are at the other end of.
        roots: where modules under test are looked for first, relative to the current directory.
    """
    import socket

    sys.path[:0] = [os.path.abspath(root) for root in roots]
    sys.argv = [""]
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    Subject(socket.socket(fileno=line)).serve_for_ever()
