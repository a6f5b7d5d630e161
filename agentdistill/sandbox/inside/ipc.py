"""Shared memory, semaphores and message queues of System V: they have no process that they would die with.

Left there, they would take memory from later commands, and carry something from one command to the next, and past a
restore, that no snapshot tells of.
"""

_IPC_RMID = 0
_CONTROL = {"shm": "shmctl", "sem": "semctl", "msg": "msgctl"}


def remove_ipc() -> None:
    """Remove all that this user has in this namespace."""
    for kind, control in _CONTROL.items():
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
                call_function(function, arguments)
