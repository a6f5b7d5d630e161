"""Agents without the start of an interpreter: a process of the host that has loaded all they need, and forks them.

An agent is the first process of a PID namespace, which is made for it here. It waits until bubblewrap has built the
other namespaces around that one, steps into them, and from then on is an agent like one that was started in there:
nothing of it is left outside. It can load no further modules, for their files would be looked for inside.

The host asks with descriptors alone; see `sandbox.forkserver`. Each agent has a process of the host beside it, which
dies with the process that forks, and ends when the namespace is gone.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports half of the library
import _socket  # and so does `socket`
import gc
import os
import select
import sys
from _ctypes import call_function, dlopen, dlsym

# Whatever an agent may ever need.
from . import __main__ as agent
from . import counters, hiding, lowering, processes, trees  # noqa: F401

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_REQUESTS = 0
_MOST_DESCRIPTORS = 8
_NEW_MOUNTS, _NEW_CGROUP, _NEW_UTS = 0x00020000, 0x02000000, 0x04000000
_NEW_IPC, _NEW_USER, _NEW_PID, _NEW_NET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
_BUILT = _NEW_MOUNTS | _NEW_CGROUP | _NEW_UTS | _NEW_IPC | _NEW_NET
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def serve() -> None:
    """Fork an agent for every request on descriptor 0, until whoever asks hangs up."""
    _die_with(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for anybody
    sys.meta_path[:] = [finder for finder in sys.meta_path if "Path" not in repr(finder)]
    gc.collect()
    gc.freeze()
    requests = _socket.socket(fileno=_REQUESTS)
    ourselves = os.getpid()
    while True:
        asked, descriptors = _receive(requests)
        if not asked:
            os._exit(0)
        try:
            child = os.fork()
        except OSError as error:  # nobody but who asked has to do without
            os.write(descriptors[1], f"cannot fork: {error}\n".encode())
        else:
            if child == 0:
                _guarded(_accompany, ourselves, *descriptors)
        for each in descriptors:
            os.close(each)


def _accompany(parent: int, connection: int, errors: int, control: int, users: int = -1) -> None:
    """Make a PID namespace with an agent in it, tell the host, and wait until it is gone.

    Told are the agent's process number, and descriptors: of this process, of the namespace, and of the user namespace
    it belongs to.

    Args:
        parent: number of the process that forks.
        connection: what the agent reads its requests from and answers on.
        errors: where to say what goes wrong.
        control: socket to the host for all else.
        users: the user namespace; without it, one is made in which who runs us is root.
    """
    os.dup2(errors, 0)
    os.dup2(errors, 2)
    os.close(errors)
    _die_with(parent)
    if users < 0:
        who, group = os.geteuid(), os.getegid()
        _system("unshare", _NEW_USER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {who} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    else:
        _system("setns", users, _NEW_USER)
    _system("unshare", _NEW_PID)
    line = _socket.socket(fileno=control)
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)
        _guarded(_step_in, told, connection, line)
    made = [os.pidfd_open(os.getpid())]
    made += [os.open(f"/proc/self/ns/{name}", os.O_RDONLY) for name in ("pid_for_children", "user")]
    packed = b"".join(each.to_bytes(4, sys.byteorder) for each in made)
    line.sendmsg([b"%d" % child], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
    os.close(connection)
    changes = select.poll()
    changes.register(alive := os.pidfd_open(child), select.POLLIN)
    changes.register(control, 0)
    if all(number != control for number, _ in changes.poll()):
        line.shutdown(_socket.SHUT_WR)  # the host may wait for it
        # Its number is not free before the host is done with it.
        changes.unregister(alive)
        changes.poll()
    os.waitpid(child, 0)


def _step_in(alone: int, connection: int, line: "_socket.socket") -> None:
    """Be the agent, as soon as the host sends a descriptor of a process that is in all the other namespaces.

    Args:
        alone: the end of a pipe whose other end only the process beside us has.
        connection: see `_accompany`.
        line: the socket to the host.
    """
    _system("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    gone = select.poll()
    gone.register(alone, 0)
    if gone.poll(0):
        os._exit(1)
    os.setsid()
    _, built = _receive(line)
    if not built:
        os._exit(1)
    _system("setns", built[0], _BUILT)
    _system("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.chdir("/")
    line.send(b"x")
    os.dup2(connection, 0)
    os.dup2(connection, 1)
    agent.main()


def _guarded(task: "Callable[..., None]", *arguments: "object") -> None:
    """In a child: never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        task(*arguments)
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, this process must not go on as its parent
        os.write(2, f"cannot start an agent: {error}\n".encode())
    finally:
        os._exit(code)


def _die_with(parent: int) -> None:
    """Be killed when the parent, which has the number `parent`, ends."""
    _system("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _receive(line: "_socket.socket") -> "tuple[bytes, list[int]]":
    data, ancillary, _, _ = line.recvmsg(64, _socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS))
    descriptors = []
    for level, kind, packed in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            for at in range(0, len(packed) - 3, 4):
                descriptors.append(int.from_bytes(packed[at : at + 4], sys.byteorder))
                os.set_inheritable(descriptors[-1], False)
    return data, descriptors


def _system(name: str, *arguments: int) -> None:
    if call_function(dlsym(dlopen(None, 2), name), arguments) != 0:  # type: ignore[arg-type]
        raise OSError(f"{name} is refused: user namespaces are forbidden, or the kernel is older than 5.8")
