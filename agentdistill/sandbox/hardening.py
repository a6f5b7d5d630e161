"""What a machine lets us hold sandboxes by, found out once per backend: groups, users, the filter of system calls.

Whatever cannot be had is made up for by the next best, and what then is not held is in `Hardening.known_gaps`.
"""

from __future__ import annotations

import os
import platform
import re
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from agentdistill.errors import SandboxError
from agentdistill.sandbox import seccomp
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.cgroups import ControlGroups, Group
from agentdistill.sandbox.uids import UNUSED, Uids

_MIB = 1 << 20
_SCRATCH_BYTES = 64 * _MIB
_FILE_COST = 1280  # bytes that the kernel keeps for an empty file in memory, with its name; about 1,100 were measured
_MOST_DESCRIPTORS = 4096
_GAPS = {
    "kernel bugs": "commands run on the kernel of the host, behind a filter of system calls only",
    "programs of the host": "what is below /usr can be read inside, as far as the user of a sandbox may read it",
    "hardware information": "/proc tells about the host's processors, memory and load",
    "timing": "what else runs on the machine can be told from how fast things go, and from shared caches",
    "extended attributes": "a snapshot does not keep them, nor times",
}


@dataclass(frozen=True)
class Sizes:
    """What filesystems in memory may hold, so that they never take all memory of the sandbox they count for."""

    workspace_bytes: int
    workspace_files: int
    scratch_bytes: int
    scratch_files: int


def sizes(limits: Limits) -> Sizes:
    """How large the filesystems of a sandbox are: at least an eighth of its memory stays free of files, for the agent.

    There are three scratch folders.
    """
    memory = limits.memory_bytes
    scratch = min(_SCRATCH_BYTES, memory // 8)
    scratch_files = max(100, memory // 32 // _FILE_COST)
    files = max(100, min(limits.workspace_files + 1, memory // 8 // _FILE_COST))
    free = memory - memory // 8 - 3 * (scratch + scratch_files * _FILE_COST) - files * _FILE_COST
    return Sizes(min(limits.workspace_bytes, max(_MIB, free)), files, scratch, scratch_files)


class Hardening:
    """What holds the sandboxes of one backend, until `close`.

    Args:
        limits: what each of them may use.
        users: first and last user of the host that they may be, if we are root.
        cgroup: the control group to make theirs below; see `ControlGroups`.
    """

    def __init__(self, limits: Limits, users: tuple[int, int] = UNUSED, cgroup: str | None = None) -> None:
        self._limits = limits
        self.filter = seccomp.program() if seccomp.supported() else b""
        """System calls that are refused."""
        self.users: Uids | None = None
        """Users for sandboxes, where we are root and can have them."""
        why_none = ""
        try:
            self.users = Uids(*users)
        except SandboxError as error:
            why_none = str(error)
        self.groups = ControlGroups(cgroup)
        self._spare_groups: deque[Group] = deque()
        missing = self.groups.missing
        # Message queues have no process they die with, and cannot be seen from inside: there are none.
        self.rlimits = {"FSIZE": limits.file_bytes, "NOFILE": _MOST_DESCRIPTORS, "MSGQUEUE": 0}
        """Limits of each process, by the names of the resources."""
        self.limits = frozenset(Limits.model_fields) - {"cpus", "processes"} | self.groups.limits
        """Names of the fields of `Limits` that hold."""
        gaps = dict(_GAPS)
        root = os.geteuid() == 0
        if "memory_bytes" in missing:
            self.rlimits["AS"] = limits.memory_bytes
            gaps["memory bomb"] = f"memory is limited for each process, not for all: {missing['memory_bytes']}"
        if "processes" in missing:
            if self.users is not None or (not root and _counts_by_namespace()):
                self.rlimits["NPROC"] = limits.processes + 1
                self.limits |= {"processes"}
            else:
                gaps["fork bomb"] = f"the number of processes is not limited: {missing['processes']}"
        if "cpus" in missing:
            gaps["processor time"] = f"it is not limited: {missing['cpus']}"
        if root and self.users is None:
            gaps["root"] = f"commands run as root of the host, without its privileges: {why_none}"
        if not self.filter:
            gaps["kernel attack surface"] = f"there is no filter of system calls for {platform.machine()}"
        self.known_gaps: Mapping[str, str] = gaps
        """Name of a threat that is not stopped → what that means."""

    def group(self) -> Group:
        """Control groups for one sandbox, of an earlier one if there are any: the kernel takes its time to make them.

        Raises:
            SandboxError: the kernel refuses.
        """
        with suppress(IndexError):
            return self._spare_groups.pop()
        try:
            return self.groups.create(
                memory_bytes=self._limits.memory_bytes,
                processes=self._limits.processes + 1,  # the agent is one
                cpus=self._limits.cpus,
            )
        except OSError as error:
            raise SandboxError(f"cannot make a control group: {error}") from error

    def give_back(self, group: Group) -> None:
        """The sandbox is gone, with every process of it."""
        if group.spare():
            self._spare_groups.append(group)
        else:
            group.remove()

    def close(self) -> None:
        """Give everything back."""
        try:
            self.groups.close()
        finally:
            if self.users is not None:
                self.users.close()


def _counts_by_namespace() -> bool:
    """Whether the kernel counts a user's processes for each user namespace, and not on the whole machine."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    return version is not None and (int(version[1]), int(version[2])) >= (5, 14)
