"""Becoming an ordinary user for good, for an agent that was started as root of its user namespace."""

import os
import struct

_PR_CAPBSET_DROP = 24
_VERSION = 0x20080522  # of the structures that `capset` takes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def lower(uid: int, folders: "Iterable[str]") -> None:
    """Become user and group `uid`, without any privilege, and without a way to have one again.

    From then on the kernel does not let whoever started us take us along when they die.

    Args:
        uid: must be mapped in this user namespace.
        folders: what is to be owned by that user.

    Raises:
        OSError: the kernel did not do it.
    """
    from _ctypes import call_function, dlopen, dlsym

    library = dlopen(None, 2)  # type: ignore[arg-type]
    prctl, capset = dlsym(library, "prctl"), dlsym(library, "capset")
    for folder in folders:
        os.chown(folder, uid, uid)
    capability = 0
    while call_function(prctl, (_PR_CAPBSET_DROP, capability, 0, 0, 0)) == 0:
        capability += 1  # up to the first that the kernel does not know
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    call_function(capset, (struct.pack("=Ii", _VERSION, 0), bytes(24)))
    with open("/proc/self/status", "rb") as status:
        held = [line.split() for line in status if line.startswith(b"Cap")]
    if os.getresuid() != (uid, uid, uid) or any(int(field, 16) for _, field in held):
        raise OSError("the agent cannot give up its privileges")
