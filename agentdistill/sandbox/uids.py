"""A user of its own for each sandbox that root starts, so that nothing inside is root's, and limits bind.

Root is no user to run a stranger's program as: the kernel exempts it from the limit of processes, files of the host
and the kernel's own settings are its property, and all sandboxes would be one user. So root makes a user namespace in
which user 1000 is one of the host's that nobody has, out of a range far above those that are handed out. bwrap builds
the sandbox in it as root, who may look at every folder that is shown; the agent then becomes user 1000 and gives up
every privilege, before it runs anything else (see `inside.lowering`). No further user namespace can be made in there.

What this does not protect against: the user namespace has root in it, so a bug of the kernel that makes somebody root
there makes them root of the host in what they can reach. Who is not root cannot have more than one user: their commands
run as themselves.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass

from agentdistill.errors import SandboxError

INSIDE = 1000
"""Number of the user and the group inside."""
UNUSED = (0x70000000, 0x7FFFFFFE)
"""First and last number of the users taken. No distribution hands these out, nor does systemd to anything it starts."""

# Makes the namespace in a child; a namespace outlives it as long as somebody holds its descriptor.
_MAKE = """
import os, socket, sys
from _ctypes import call_function, dlopen, dlsym
outside, inside, line = map(int, sys.argv[1:])
told, tell = os.pipe()
go_on, let_go_on = os.pipe()
child = os.fork()
if child == 0:
    os.close(let_go_on)
    if call_function(dlsym(dlopen(None, 2), "unshare"), (0x10000000,)):
        os._exit(1)
    os.write(tell, b"x")
    if os.read(go_on, 1):
        with open("/proc/sys/user/max_user_namespaces", "w") as most:
            most.write("0")
        os.write(tell, b"x")
        os.read(go_on, 1)
    os._exit(0)
os.close(tell)
if not os.read(told, 1):
    sys.exit("user namespaces are forbidden")
for kind in ("uid", "gid"):
    with open(f"/proc/{child}/{kind}_map", "w") as map:
        map.write(f"0 0 1\\n{inside} {outside} 1\\n")
os.write(let_go_on, b"x")
if not os.read(told, 1):
    sys.exit("further user namespaces cannot be forbidden")
socket.send_fds(socket.socket(fileno=line), [b"x"], [os.open(f"/proc/{child}/ns/user", os.O_RDONLY)])
os.close(let_go_on)
os.waitpid(child, 0)
"""


@dataclass(frozen=True)
class Uid:
    """A user of the host, and the descriptor of a user namespace in which it is user `INSIDE`."""

    number: int
    namespace: int


class Uids:
    """The users of one backend's sandboxes; one that a sandbox is done with goes to the next. Thread-safe.

    Args:
        first: the first user of the range they are taken from.
        last: the last one.

    Raises:
        SandboxError: this process cannot have them; the message says why.
    """

    def __init__(self, first: int = UNUSED[0], last: int = UNUSED[1]) -> None:
        if not 0 < first <= last:
            raise SandboxError(f"no users from {first} to {last}")
        if os.geteuid() != 0:
            raise SandboxError("only root has users to give away")
        self._first, self._last = first, last
        self._lock = threading.Lock()
        self._free: list[Uid] = []
        self._numbers: set[int] = set()
        self._closed = False
        self.give_back(self.take())

    def take(self) -> Uid:
        """A user that nobody of us has, until `give_back`.

        Raises:
            SandboxError: the machine does not let us, or the range is used up.
        """
        with self._lock:
            if self._free:
                return self._free.pop()
            if len(self._numbers) > self._last - self._first:
                raise SandboxError(f"all users from {self._first} to {self._last} are taken")
            # By chance, so that other programs' sandboxes hardly ever have the same; those would not meet anyway.
            while (number := random.SystemRandom().randint(self._first, self._last)) in self._numbers:
                pass
            self._numbers.add(number)
        try:
            return Uid(number, _namespace(number))
        except BaseException:
            with self._lock:
                self._numbers.discard(number)
            raise

    def give_back(self, uid: Uid) -> None:
        """The sandbox is gone, with every process of it."""
        with self._lock:
            if not self._closed:
                self._free.append(uid)
                return
        os.close(uid.namespace)

    def close(self) -> None:
        """Let go of all that were given back; others as they are. May be called twice."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for uid in free:
            os.close(uid.namespace)


def _namespace(number: int) -> int:
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        line = [sys.executable, "-I", "-S", "-c", _MAKE, str(number), str(INSIDE), str(theirs.fileno())]
        try:
            ended = subprocess.run(line, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxError(f"cannot make a user namespace: {error}") from error
        said = ended.stderr.strip().splitlines()
        if ended.returncode != 0:
            raise SandboxError(f"cannot make a user namespace: {said[-1] if said else ended.returncode}")
        ours.setblocking(False)
        with suppress(BlockingIOError):
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
            if descriptors:
                return descriptors[0]
    raise SandboxError("cannot make a user namespace")
