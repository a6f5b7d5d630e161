"""One command, from start to end: limits, bounded output, no hang, and nobody left who should not be.

The agent is the first process of a PID namespace: `kill` reaches all others, and whatever loses its parent becomes its
child. All commands write into one pipe, so a process that lives on between commands goes on writing as into a terminal.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports half of the library
import errno
import os
import resource
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .disk import Disk
    from .root import CommandUser

TIMED_OUT = 124
NOT_EXECUTABLE = 126
NOT_FOUND = 127
CHUNK = 1 << 16
_MOST_LATE_CHUNKS = 64
_PASSED_BY = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)


class Output:
    """Head and tail of a stream in bounded memory, with a mark where the middle was cut out."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._cut = 0

    @property
    def truncated(self) -> bool:
        """True if something was cut out."""
        return self._cut > 0

    def add(self, chunk: bytes) -> None:
        """Take the next piece of the stream."""
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        # Trimmed only now and then: moving the tail for every small write would be quadratic.
        if len(self._tail) > self._tail_limit + 4 * CHUNK:
            self._trim()

    def content(self) -> bytes:
        """What is kept, with the mark."""
        self._trim()
        mark = f"\n[... {self._cut} bytes cut ...]\n".encode() if self._cut else b""
        return bytes(self._head) + mark + bytes(self._tail)

    def _trim(self) -> None:
        excess = len(self._tail) - self._tail_limit
        if excess > 0:
            del self._tail[:excess]
            self._cut += excess


class Commands:
    """Runs commands. To be made once, before the first of them.

    Args:
        connection: file descriptor that hangs up when the host is gone.
        output_bytes: of a command, kept.
        keep: whether processes live on when their command is over.
        limits: of each process, by the name of the resource such as ``AS``.
        user: who they run as, if not as this process does.
        disk: watched while they run; a command is killed when there is too much on it.
    """

    def __init__(
        self,
        connection: int,
        output_bytes: int,
        keep: bool,
        limits: "dict[str, int]",
        user: "CommandUser | None" = None,
        disk: "Disk | None" = None,
    ) -> None:
        self._user = user
        self._disk = disk
        self._connection = connection
        self._output_bytes = output_bytes
        self._keep = keep
        self._limits = [(getattr(resource, f"RLIMIT_{name}"), value) for name, value in limits.items()]
        self._nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._out, self._out_end = os.pipe()
        os.set_blocking(self._out, False)
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing_to_do)
        self._poll = select.poll()
        self._poll.register(self._connection, 0)  # tells when it hangs up, nothing else
        self._poll.register(self._out, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)
        # Opened before we hide from /proc, where it would be root's.
        self._killable = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._own_score = os.pread(self._killable, 8, 0).strip()

    def run(
        self,
        argv: "list[bytes]",
        environment: "dict[str, bytes]",
        directory: bytes,
        seconds: float,
        shown: "list[int]",
    ) -> "dict[str, Any]":
        """Run a command to its end.

        Args:
            argv: what to run; a name without a slash is looked up in the PATH of `environment`.
            environment: all the variables it gets.
            directory: where it starts.
            seconds: wall-clock time; past it everything that the command started is killed.
            shown: file descriptors it inherits.

        Returns:
            ``exit``, ``output``, ``timed_out``, ``truncated``, ``exceeded``, ``seconds``.
        """
        began = time.monotonic()
        output = Output(self._output_bytes)
        others = everyone() if self._keep else {}
        if self._disk is not None:
            self._disk.begin()
        os.chdir(directory)
        pid = self._start(argv, environment, _rounded_up(seconds) + 1, shown)
        os.chdir("/")
        status = self._attend(pid, output, began + seconds)
        timed_out = status is None and time.monotonic() >= began + seconds
        if not self._keep:
            kill_all()
        elif status is None:
            kill_since(others)
        self._drain(output)
        code = TIMED_OUT if timed_out else _code(signal.SIGKILL if status is None else status)
        is_over = status is None and not timed_out
        if self._disk is not None and not timed_out:
            is_over = is_over or self._disk.is_over(ended=not self._keep)
        return {
            "exit": code,
            "output": output.content(),
            "timed_out": timed_out,
            "truncated": output.truncated,
            "exceeded": "workspace" if is_over else _exceeded(code, timed_out),
            "microseconds": int((time.monotonic() - began) * 1e6),
        }

    def _start(self, argv: "list[bytes]", environment: "dict[str, bytes]", cpu: int, shown: "list[int]") -> int:
        # Whoever is started now is killed before us when memory runs out.
        os.pwrite(self._killable, b"1000", 0)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(argv, environment, cpu, shown)
        finally:
            os.pwrite(self._killable, self._own_score, 0)
        return pid

    def _become(self, argv: "list[bytes]", environment: "dict[str, bytes]", cpu: int, shown: "list[int]") -> None:
        """In the child: never returns."""
        code = NOT_EXECUTABLE
        try:
            signal.set_wakeup_fd(-1)
            for number in _PASSED_BY:
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            os.dup2(self._nothing, 0)
            os.dup2(self._out_end, 1)
            os.dup2(self._out_end, 2)
            os.set_blocking(1, True)
            for number in shown:
                os.set_inheritable(number, True)
            for kind, value in (*self._limits, (resource.RLIMIT_CPU, cpu), (resource.RLIMIT_CORE, 0)):
                hard = resource.getrlimit(kind)[1]
                # Who is limited already may not raise its hard limit again.
                bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.setrlimit(kind, (bound, bound))
            if self._user is not None:
                self._user.become()
            code = _execute(argv, environment)
        except BaseException as error:  # noqa: BLE001 - whatever it is, this process must not go on as an agent
            os.write(2, f"cannot start a command: {error}\n".encode())
        finally:
            os._exit(code)

    def _attend(self, pid: int, output: Output, deadline: float) -> "int | None":
        """Read what is written until the command itself has ended; its status, or `None` if it has to be ended."""
        checked = time.monotonic()
        while True:
            now = time.monotonic()
            left = deadline - now
            if left <= 0:
                return None
            if self._disk is not None:
                if now - checked >= self._disk.checked:
                    if self._disk.is_over():
                        return None
                    checked = time.monotonic()
                left = min(left, self._disk.checked)
            for number, _ in self._poll.poll(_rounded_up(left * 1000)):
                if number == self._out:
                    output.add(os.read(self._out, CHUNK))
                elif number == self._connection:
                    os._exit(1)  # nobody is there to hear how it ends; the namespace dies with us
                elif (status := self._reap(pid)) is not None:
                    return status

    def _reap(self, pid: int) -> "int | None":
        """Bury the dead; the status of `pid` if it is among them."""
        os.read(self._woken, CHUNK)
        found = None
        while True:
            try:
                ended, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if ended == 0:
                return found
            if ended == pid:
                found = status

    def _drain(self, output: Output) -> None:
        """Read what is in the pipe; somebody who lives on may write without end."""
        try:
            for _ in range(_MOST_LATE_CHUNKS):
                output.add(os.read(self._out, CHUNK))
        except BlockingIOError:
            pass


def kill_all() -> None:
    """Kill every process of the namespace but this one, and wait until they are dead."""
    if os.getpid() != 1:
        raise RuntimeError("only the first process of a namespace may do that")
    while True:
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0)


def kill_since(before: "dict[int, bytes]") -> None:
    """Kill every process that `everyone` did not find before."""
    while True:
        new = [pid for pid, start in everyone().items() if before.get(pid) != start]
        if not new:
            return
        for pid in new:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        bury()
        time.sleep(0.001)


def bury() -> None:
    """Take note of whoever has died."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def everyone() -> "dict[int, bytes]":
    """The processes that live beside this one, by number, with the time each was started."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            fields = status_of(int(name))
            if fields and fields[0] not in (b"Z", b"X"):
                found[int(name)] = fields[19]
    return found


def status_of(pid: int) -> "list[bytes]":
    """The fields of ``/proc/<pid>/stat`` from the third, its state, on; nothing if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _execute(argv: "list[bytes]", environment: "dict[str, bytes]") -> int:
    """Replace this process, or say why that cannot be and return the exit code for it."""
    name = argv[0]
    places = [name]
    if b"/" not in name:
        path = environment.get("PATH", b"/usr/local/bin:/usr/bin:/bin")
        places = [os.path.join(folder, name) for folder in path.split(b":") if folder]
    problem = b"command not found"
    for place in places:
        try:
            os.execve(place, argv, environment)
        except ValueError:
            problem = b"the command holds a NUL byte"
            break
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                problem = os.strerror(error.errno or 0).encode()
    os.write(2, name[:1000] + b": " + problem + b"\n")
    return NOT_FOUND if problem == b"command not found" else NOT_EXECUTABLE


def _rounded_up(number: float) -> int:
    return -int(-number // 1)


def _code(status: int) -> int:
    """As shells have it: 128 and the number of the signal for whoever was killed."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _exceeded(code: int, timed_out: bool) -> str:
    if timed_out or code == 128 + signal.SIGXCPU:
        return "time"
    return "file" if code == 128 + signal.SIGXFSZ else ""


def _nothing_to_do(*_: object) -> None:
    """For SIGCHLD: what counts is that the wake-up pipe can be read."""
