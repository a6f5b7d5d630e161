"""The agent: the first process inside a sandbox. It answers one request of the host after another, until it hangs up.

Requests come on file descriptor 0 and replies go out on 1; see `wire`. A request is a dict whose ``do`` names one of
the methods of `Agent`. A reply is what the method returned, or ``error`` (``missing``, ``refused`` or ``broken``) and
``detail``. The host trusts nothing that is said here beyond its form, for a command may have got hold of the agent.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports half of the library
import os
import sys

from . import wire
from .commands import Commands, bury, everyone, kill_all
from .files import Files, Refusal
from .ipc import remove_ipc
from .removal import empty
from .shell import left_state, shell_argv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .counters import Counters
    from .disk import Disk
    from .root import Devices
    from .rootfs import RootFolders
    from .trees import Workspace
    from .wire import Body

    Reply = tuple[dict[str, Any], int, Iterable[bytes]]
    """Head of the reply, size of its body in bytes, and the body in parts."""

_INPUT, _OUTPUT = 0, 1
_DONE: "Reply" = ({}, 0, ())


class Agent:
    """What the host can ask for; each method takes the head and the body of a request. `hello` comes first."""

    def __init__(self) -> None:
        self._commands: Commands | None = None
        self._counters: Counters | None = None
        self._trees: Workspace | None = None
        self._root: RootFolders | None = None
        self._devices: Devices | None = None
        self._disk: Disk | None = None
        self._owner = (0, 0)
        self._scratch: list[tuple[str, int]] = []
        self._stopped: list[int] = []

    def hello(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Settle in.

        The request has `workspace` and `files` (folder for the files of one command), absolute paths; `scratch`, paths
        of folders that do not outlast a command; `largest`, bytes of a file; `output`, bytes; `keep`, whether processes
        outlast a command; `limits` of each process, by name; `counters` as `Counters` takes them, if there are any;
        `lower`, arguments of that name's function, if the agent was started as root; `refuse`, system calls as
        `refuse_calls` takes them, or nothing. `whole` is empty, or, where the tree is the whole file system, has
        `user`, arguments of `CommandUser`; `skipped`, folders that are not part of it; `bytes` and `files`, how much
        there may be beyond the image; and the body is a listing of the image, or empty for the first look at it.
        """
        from .hiding import hide

        self._keep: bool = request["keep"]
        self._workspace: str = request["workspace"]
        self._shown: str = request["files"]
        user, owner = None, None
        if whole := request["whole"]:
            from .disk import Disk
            from .root import CommandUser, Devices
            from .rootfs import RootFolders

            user = CommandUser(*whole["user"])
            self._owner = owner = user.user, user.group
            self._keep_workspace()
            self._root = RootFolders([os.fsencode(path) for path in whole["skipped"]], body.read(body.left))
            self._root.begin()
            self._disk = Disk(self._root, whole["bytes"], whole["files"])
            self._devices = Devices()
        self._in_workspace = Files(self._workspace, request["largest"], owner)
        scratch = [*request["scratch"], self._shown]
        self._scratch = [(path, os.stat(path).st_mode & 0o7777) for path in scratch]
        self._commands = Commands(_INPUT, request["output"], self._keep, request["limits"], user, self._disk)
        if request["counters"]:
            from .counters import Counters

            self._counters = Counters(request["counters"])
        if request["lower"] or request["refuse"]:
            from .lowering import lower, refuse_calls

            if request["lower"]:
                lower(*request["lower"])
            if request["refuse"]:
                refuse_calls(request["refuse"])
        hide()
        return {"version": list(sys.version_info[:3])}, 0, ()

    def exec(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Run a command.

        The request has `line` or `argv`, `directory`, `environment`, `microseconds`, and `files` as `upload` has it,
        which lie in the folder for files while the command runs. The reply has what `Commands.run` returns, the output
        as its body, and `shell`: the directory and the variables that a command line left, or `None`.
        """
        assert self._commands is not None
        directory: bytes = request["directory"]
        if not _can_enter(directory):
            # A command removed or closed the directory it was in: as good a way to fail as any. Root may have put
            # something else in place of the workspace, too.
            directory = os.fsencode(self._workspace) if _can_enter(os.fsencode(self._workspace)) else b"/"
        report = -1
        try:
            if request["files"]:
                self._write(Files(self._shown, body.left), request["files"], body, "")
            argv, shown = request.get("argv"), []
            if argv is None:
                report = os.memfd_create("shell", 1)
                argv, shown = shell_argv(request["line"], report), [report]
            seconds = request["microseconds"] / 1e6
            ended = self._commands.run(argv, request["environment"], directory, seconds, shown)
            left = None if report < 0 or ended["timed_out"] else left_state(report)
        finally:
            if report >= 0:
                os.close(report)
            self._sweep(bool(request["files"]))
        if self._counters is not None:
            ended["exceeded"] = self._counters.met() or ended["exceeded"]
        if ended["exit"] and not ended["exceeded"] and _is_full("/" if self._root else self._workspace):
            ended["exceeded"] = "workspace"
        ended["directory"], ended["shell"] = directory, left
        output = ended.pop("output")
        return ended, len(output), (output,)

    def read(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Read the file at `path`."""
        content = self._in_workspace.read(request["path"])
        return {}, len(content), (content,)

    def upload(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Write `files`, a list of path, size and whether it is executable; the body has their contents in order."""
        self._write(self._in_workspace, request["files"], body, request["directory"])
        return _DONE

    def remove(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Remove the file at `path`."""
        self._in_workspace.remove(request["path"])
        return _DONE

    def paths(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """The paths of all files and links below the directory at `path`, in the body with a NUL after each."""
        found = b"".join([path + b"\0" for path in self._in_workspace.below(request["path"])])
        return {}, len(found), (found,)

    def download(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """All regular files below the directory at `path`, `largest` bytes at most; listed as for `upload`."""
        files, contents = [], []
        for path, content, executable in self._in_workspace.contents(request["path"], request["largest"]):
            files.append([path, len(content), executable])
            contents.append(content)
        return {"files": files}, sum(map(len, contents)), contents

    def processes(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Command lines of the processes that live, as `commands`, and the TCP `ports` they listen on."""
        from .processes import living

        bury()
        commands, ports = living()
        return {"commands": commands, "ports": ports}, 0, ()

    def kill(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Kill every process but this one, and empty the folders that do not outlast a command."""
        kill_all()
        self._clear()
        return _DONE

    def freeze(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Stop whoever lives until `thaw`."""
        from .processes import freeze

        self._stopped = freeze()
        return _DONE

    def thaw(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """Let go on whom `freeze` stopped."""
        from .processes import thaw

        thaw(self._stopped)
        self._stopped = []
        return _DONE

    def look(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """See `Workspace.look`. Where somebody lives, all are frozen; they are listed as in `processes`."""
        if not self._keep:
            return self._tree().look(request, body)
        from .processes import living

        bury()
        head, size, parts = self._tree().look(request, body, list(everyone()))
        head["commands"], head["ports"] = living()
        return head, size, parts

    def send(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """See `Workspace.send`."""
        return self._tree().send(request, body)

    def make_over(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """See `Workspace.make_over`."""
        return self._tree().make_over(request, body)

    def image(self, request: "dict[str, Any]", body: "Body") -> "Reply":
        """What the last look found, as a listing of the image."""
        assert self._root is not None
        listing = self._root.listing()
        return {}, len(listing), (listing,)

    def _tree(self) -> "Workspace":
        if self._trees is None:
            from .trees import Workspace

            if self._root is not None:
                self._trees = Workspace(b"/", whole=self._root)
            else:
                self._trees = Workspace(os.fsencode(self._workspace))
        return self._trees

    def _write(self, place: Files, files: "list[tuple[bytes, int, bool]]", body: "Body", directory: "Any") -> None:
        for path, size, executable in files:
            if self._disk is not None and not self._disk.has_room(size):
                raise Refusal("refused", f"{path.decode('utf-8', 'replace')!r}: the workspace is full")
            place.write(b"%b/%b" % (directory, path) if directory else path, body, size, executable)

    def _sweep(self, files: bool) -> None:
        if self._root is not None:
            self._keep_workspace()
        if files:
            empty(self._shown)
            os.chmod(self._shown, 0o755)
        if not self._keep:
            self._clear()

    def _keep_workspace(self) -> None:
        """Make the workspace if there is none: root may have removed it."""
        if not os.path.lexists(self._workspace):
            os.makedirs(self._workspace)
            os.chown(self._workspace, *self._owner)

    def _clear(self) -> None:
        remove_ipc()
        if self._devices is not None:
            self._devices.put_back()
        for path, mode in self._scratch:
            if os.stat(path).st_mode & 0o7777 != mode or os.listdir(path):
                empty(path)
                os.chmod(path, mode)


def serve() -> None:
    """Answer requests until the host hangs up. The namespace dies with this process."""
    agent = Agent()
    while True:
        try:
            size, left = wire.lengths(wire.read_exactly(_receive, wire.HEADER))
            request = wire.loads(wire.read_exactly(_receive, size))
            body = wire.Body(_receive, left)
            head, length, parts = _answer(agent, request, body)
            body.drop()
            encoded = wire.dumps(head)
            _send(wire.header(encoded, length) + encoded)
            for part in parts:
                _send(part)
        except (wire.Gone, BrokenPipeError, ConnectionResetError):
            os._exit(0)


def _answer(agent: Agent, request: "dict[str, Any]", body: "Body") -> "Reply":
    try:
        reply: Reply = getattr(agent, request["do"])(request, body)
        return reply
    except Refusal as error:
        return {"error": error.kind, "detail": error.detail}, 0, ()
    except wire.Gone:
        raise
    except Exception as error:  # noqa: BLE001 - the host is told, and decides what it means
        return {"error": "broken", "detail": f"{request['do']}: {type(error).__name__}: {error}"}, 0, ()


def _can_enter(directory: bytes) -> bool:
    try:
        os.chdir(directory)
    except (OSError, ValueError):
        return False
    return True


def _is_full(folder: str) -> bool:
    room = os.statvfs(folder)
    return room.f_bavail == 0 or (room.f_files > 0 and room.f_favail == 0)


def _receive(size: int) -> bytes:
    return os.read(_INPUT, min(size, wire.CHUNK))


def _send(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(_OUTPUT, view) :]


def main() -> None:
    """Run as the first process of a PID namespace, and nowhere else."""
    if os.getpid() != 1:
        sys.exit("the agent runs as the first process of a sandbox only: it kills all others it can reach")
    # Signals from inside do not reach the first process of a namespace, unless it asks for them, as Python does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.closerange(3, 1024)
    os.umask(0o022)
    serve()


if __name__ == "__main__":
    main()
