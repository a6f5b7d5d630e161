"""A backend that isolates nothing: commands are processes of the host. For the suite, which has to notice."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from agentdistill.errors import SandboxLostError, SnapshotError
from agentdistill.sandbox.base import Capabilities, ExecResult, Limits, LiveProcesses, SandboxFile


class NakedSandbox:
    python = sys.executable
    lost_processes = LiveProcesses()

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="naked-"))

    def exec(
        self, command: str | Sequence[str], *, timeout: float | None = None, files: Mapping[str, bytes] | None = None
    ) -> ExecResult:
        if not self.folder.exists():
            raise SandboxLostError("it is closed")
        line = ["sh", "-c", command] if isinstance(command, str) else command
        try:
            done = subprocess.run(
                line,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout or 20,
                close_fds=False,
            )
        except subprocess.TimeoutExpired as late:
            return ExecResult(124, (late.stdout or b"").decode(errors="replace"), timed_out=True, exceeded="time")
        return ExecResult(done.returncode, done.stdout.decode(errors="replace"))

    def read_file(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def write_file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_bytes(content)

    def remove_file(self, path: str) -> None:
        (self.folder / path).unlink()

    def list_files(self, path: str = ".") -> list[str]:
        found = (self.folder / path).rglob("*")
        return sorted(str(each.relative_to(self.folder)) for each in found if not each.is_dir())

    def upload(self, files: Mapping[str, SandboxFile], directory: str = ".") -> None:
        for path, file in files.items():
            self.write_file(os.path.join(directory, path), file.content)

    def download(self, directory: str = ".", *, largest: int | None = None) -> dict[str, SandboxFile]:
        return {path: SandboxFile(self.read_file(path)) for path in self.list_files(directory)}

    def processes(self) -> LiveProcesses:
        return LiveProcesses()

    def snapshot(self, owner: str = "") -> str:
        raise SnapshotError("it keeps none")

    def restore(self, snapshot: str) -> None:
        raise SnapshotError("it keeps none")

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class NakedBackend:
    """`gaps` are those it owns up to; `limits_held` those it says it enforces, which is not true of any."""

    def __init__(
        self,
        folder: Path | None = None,
        limits: Limits | None = None,
        *,
        gaps: Mapping[str, str] | None = None,
        limits_held: Sequence[str] = tuple(Limits.model_fields),
    ) -> None:
        self.capabilities = Capabilities(known_gaps=gaps or {}, limits=frozenset(limits_held))
        self.sandboxes: list[NakedSandbox] = []

    def create(self, snapshot: str | None = None) -> NakedSandbox:
        if snapshot is not None:
            raise SnapshotError("it keeps none")
        self.sandboxes.append(NakedSandbox())
        return self.sandboxes[-1]

    def drop(self, snapshots: Sequence[str]) -> None:
        pass

    def release(self, owner: str) -> None:
        pass

    def close(self) -> None:
        for sandbox in self.sandboxes:
            sandbox.close()
