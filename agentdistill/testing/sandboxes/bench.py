"""What a check works with: the backend under test with small limits, fresh sandboxes, and a place on the host."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from agentdistill.errors import SandboxError, printable
from agentdistill.sandbox.base import Limits, Sandbox, SandboxBackend, SnapshotId
from agentdistill.sandbox.loading import BackendSpec
from agentdistill.sandbox.whole import WholeSandbox
from agentdistill.testing.sandboxes.programs import namespace, run_bare, run_inside, working_directory

SMALL = Limits(
    seconds=60,
    memory_bytes=128 << 20,
    processes=48,
    cpus=1,
    workspace_bytes=32 << 20,
    workspace_files=2000,
    output_bytes=16 << 10,
    file_bytes=8 << 20,
)
"""What the sandboxes under test may use: little, so that an attempt to use more is soon over and hurts nobody."""

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


class Failed(Exception):
    """The backend does not do what a check asks."""


class Declined(Exception):
    """The backend says, by its capabilities, that it cannot do what a check is about."""


class Bench:
    """One backend under test. What is made here is closed after each check, but for the backend that checks share.

    Args:
        spec: the backend.
    """

    def __init__(self, spec: BackendSpec) -> None:
        self.spec = spec
        self.limits = SMALL
        self._stack = ExitStack()
        self._check = ExitStack()
        self._shared: SandboxBackend | None = None

    @property
    def backend(self) -> SandboxBackend:
        """The backend that most checks share, with small limits."""
        if self._shared is None:
            self._shared = self.spec.make(_folder(self._stack), self.limits)
            self._stack.callback(self._shared.close)
        return self._shared

    def another(self, folder: Path | None = None, **limits: float) -> SandboxBackend:
        """A backend of its own for the check that asks, with other limits or in a folder that the check chose."""
        made = self.spec.make(folder or self.folder(), self.limits.model_copy(update=limits))
        self._check.callback(made.close)
        return made

    def sandbox(self, snapshot: SnapshotId | None = None) -> Sandbox:
        """A sandbox of the shared backend, closed when the check is over; empty, or a fork of `snapshot`."""
        made = self.backend.create(snapshot)
        self._check.callback(made.close)
        if snapshot is None and made.list_files():  # the files of an image
            made.exec("rm -rf -- * .[!.]* ..?*")
        return made

    def contained(self) -> Sandbox:
        """A fresh sandbox for an attempt that would hurt the host, if commands ran there.

        Raises:
            Failed: commands run among the processes of the host, so the attempt must not be made.
        """
        sandbox = self.sandbox()
        inside = run_inside(sandbox, namespace)
        require(inside.exit_code == 0, f"a Python program does not run: {one_line(inside.output)}")
        require(
            inside.output != run_bare(namespace),
            "not tried, because commands run among the processes of the host",
        )
        return sandbox

    def folder(self) -> Path:
        """An empty folder of the host that everybody may enter and write to, so that only isolation protects it."""
        return _folder(self._check, 0o777)

    def on_close(self, act: Callable[Parameters, object], *args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        """Have something done when the check is over."""
        self._check.callback(act, *args, **kwargs)

    def needs_snapshots(self) -> None:
        """Let the check go on only where the backend keeps snapshots.

        Raises:
            Declined: it says that it does not.
        """
        if self.backend.capabilities.snapshot == "none":
            raise Declined("it keeps no snapshots (capabilities.snapshot is 'none')")

    def needs_limit(self, name: str) -> None:
        """Let the check go on only where the backend enforces the limit `name`.

        Raises:
            Declined: it says that it does not.
        """
        if name not in self.backend.capabilities.limits:
            raise Declined(f"it does not limit {name} here (capabilities.limits)")

    def end_check(self) -> None:
        """Close what the check made."""
        with suppress(SandboxError):
            self._check.close()

    def close(self) -> None:
        """Close everything."""
        self.end_check()
        self._stack.close()


def workspace_of(sandbox: Sandbox) -> str:
    """The path of the workspace, which is where the first command starts."""
    return run_inside(sandbox, working_directory).output.removeprefix("reached: ").removesuffix("\n")


def is_whole(sandbox: Sandbox) -> bool:
    """Whether all of its file system may be written to, and is kept: then there are no scratch folders beside it."""
    return isinstance(sandbox, WholeSandbox) and sandbox.is_whole


def require(condition: object, problem: str) -> None:
    """Fail the check with `problem` unless `condition` holds."""
    if not condition:
        raise Failed(problem)


def one_line(text: object) -> str:
    """A text or an exception as one printable line of bounded length."""
    said = f"{type(text).__name__}: {text}" if isinstance(text, BaseException) else str(text)
    return printable(said)[:300]


@contextmanager
def refused(kind: type[Exception] | tuple[type[Exception], ...], what: str) -> Iterator[None]:
    """Fail the check unless what is done inside raises `kind`."""
    try:
        yield
    except kind:
        return
    raise Failed(f"{what} was not refused")


def _folder(stack: ExitStack, mode: int = 0o755) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="agentdistill-check-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    os.chmod(folder, mode)
    return folder.resolve()
