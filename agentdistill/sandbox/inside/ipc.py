"""Shared memory, semaphores and message queues of System V: they have no process that they would die with.

Left there, they would take memory from later commands, and carry something from one command to the next, and past a
restore, that no snapshot tells of.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_IPC_RMID = 0
_CONTROL = {"shm": ("shmctl", 7), "sem": ("semctl", 4), "msg": ("msgctl", 7)}
"""Kind → function that removes one, and the column of its owner in the kernel's table."""


def remove_ipc() -> None:
    """Remove all that this user has in this namespace, and all that others have, where this process may become them."""
    for kind, (control, column) in _CONTROL.items():
        try:
            with open(f"/proc/sysvipc/{kind}", "rb") as table:
                rows = table.read().splitlines()[1:]
        except FileNotFoundError:  # a kernel without them
            continue
        if rows:
            from _ctypes import call_function, dlopen, dlsym

            function = dlsym(dlopen(None, 2), control)  # type: ignore[arg-type]
            for row in rows:
                number = int(row.split()[1])
                arguments = (number, 0, _IPC_RMID, 0) if kind == "sem" else (number, _IPC_RMID, None)
                if call_function(function, arguments) != 0 and os.getuid() == 0:
                    _as_owner(int(row.split()[column]), call_function, function, arguments)


def _as_owner(owner: int, do: "Callable[..., object]", *arguments: object) -> None:
    """Root without privileges over others' memory becomes its owner, in a process of its own."""
    child = os.fork()
    if child == 0:
        try:
            os.setresuid(owner, owner, owner)
            do(*arguments)
        finally:
            os._exit(0)
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        pass  # buried by whoever buries the dead here
