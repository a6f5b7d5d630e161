"""What a container of ours is confined to, as settings of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentdistill.errors import UsageError
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.docker.deriving import Account
from agentdistill.sandbox.docker.engine import Image
from agentdistill.sandbox.docker.shipping import mount
from agentdistill.sandbox.hardening import sizes
from agentdistill.sandbox.runtime import PLACE
from agentdistill.sandbox.shell import ENVIRONMENT, FILES, WORKSPACE

_SCRATCH = {"/tmp": "1777", "/dev/shm": "1777", FILES: "0755"}
_ULIMITS = (
    {"Name": "core", "Soft": 0, "Hard": 0},
    {"Name": "nofile", "Soft": 4096, "Hard": 4096},
    {"Name": "msgqueue", "Soft": 0, "Hard": 0},  # queues have no process they die with
)
COUNTERS: Mapping[str, Sequence[str]] = {
    "memory": ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"),
    "processes": ("/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events"),
}
"""Where a container sees how often its limits were met, in version 2 and 1 of control groups."""
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
"""What commands may that are root of a container whose whole file system is theirs; all but KILL is for package
managers: to give files away (CHOWN), to read, write and change those that were given away, as root is used to
(DAC_OVERRIDE, FOWNER), to keep setgid bits meanwhile (FSETID), and to become the user that a download or a service runs
as (SETUID, SETGID); who starts a service as another user must be able to stop it (KILL). Not among them: binding low
ports, which engines allow everybody; raw packets (NET_RAW), chroot, devices (MKNOD), attributes of programs (SETFCAP),
the kernel's log of audits (AUDIT_WRITE)."""
_AGENTS_OWN = ("MKNOD", "SETPCAP")
"""What the program inside keeps for itself; see `inside.root`."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Layout:
    """Where things are in containers of an image.

    Attributes:
        workspace: the image's working directory, or the usual place where it names none.
        emptied: writable folders that do not outlast a command.
        environment: what commands start with: the image's variables, but for HOME, and ours where it has none.
        account: who commands are, where the whole file system is theirs to write to and kept in snapshots.
    """

    image: Image
    workspace: str
    emptied: tuple[str, ...]
    environment: Mapping[str, str]
    account: Account | None = None


def layout(image: Image, variables: Mapping[str, str] | None = None, account: Account | None = None) -> Layout:
    """See `Layout`. `variables` are set besides those of the image.

    Raises:
        UsageError: the image works in a directory that cannot be a workspace.
    """
    workspace = image.directory if image.directory != "/" else WORKSPACE
    if f"{PLACE}/".startswith(f"{workspace}/") or workspace.startswith((f"{PLACE}/", "/proc", "/sys", "/dev")):
        raise UsageError(f"an image that works in {workspace} cannot be a sandbox: set another WORKDIR")
    scratch = ("/tmp", "/dev/shm") if account is None else ("/dev/shm",)
    emptied = tuple(path for path in scratch if not f"{workspace}/".startswith(f"{path}/"))
    home = workspace if account is None else account.home
    environment = {**ENVIRONMENT, "PATH": _PATH, **image.environment, **(variables or {}), "HOME": home}
    return Layout(image, workspace, emptied, environment, account)


def confined(
    where: Layout,
    volume: str,
    limits: Limits,
    *,
    uid: int,
    runtime: str,
    labels: Mapping[str, str],
    network: Literal["none", "public"] = "none",
) -> dict[str, Any]:
    """The settings of a container that is a sandbox, as `Engine.start` takes them."""
    if where.account is not None:
        return _whole(where.account, volume, limits, runtime, labels, network)
    room = sizes(limits)
    memory = {path: _tmpfs(room.scratch_bytes, room.scratch_files, "0755", uid) for path in where.image.volumes}
    memory |= _scratch(limits, uid)
    memory[where.workspace] = _tmpfs(room.workspace_bytes, room.workspace_files, "0755", uid)
    settings = _settings(volume, limits, runtime, labels)
    settings["host"]["tmpfs"] = memory
    settings["container"]["user"] = f"{uid}:{uid}"
    _give_network(settings, network)
    return settings


def _whole(
    account: Account,
    volume: str,
    limits: Limits,
    runtime: str,
    labels: Mapping[str, str],
    network: Literal["none", "public"],
) -> dict[str, Any]:
    """As `confined`, where the whole file system is the commands': what they write is on the engine's disk."""
    settings = _settings(volume, limits, runtime, labels)
    scratch = _scratch(limits, account.user)
    settings["host"] |= {
        "tmpfs": {path: scratch[path] for path in ("/dev/shm", FILES)},
        "read_only": False,
        "cap_add": [*CAPABILITIES, *_AGENTS_OWN],
    }
    # The program inside is root, who makes and gives away what a snapshot has; commands are whom they should be.
    settings["container"]["user"] = "0:0"
    _give_network(settings, network)
    return settings


def _give_network(settings: dict[str, Any], network: Literal["none", "public"]) -> None:
    if network == "public":
        settings["host"] |= {"network_mode": "bridge", "dns": None, "dns_search": None}


def looking(volume: str, limits: Limits, *, runtime: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The settings of a container that only looks at what the image has, all of which it may read.

    No command runs there, and nothing but the scratch folders can be written to.
    """
    settings = _settings(volume, limits, runtime, labels)
    settings["host"]["tmpfs"] = _scratch(limits, 0)
    settings["host"]["cap_add"] = ["DAC_READ_SEARCH"]
    settings["container"]["user"] = "0:0"
    return settings


def _settings(volume: str, limits: Limits, runtime: str, labels: Mapping[str, str]) -> dict[str, Any]:
    host = {
        "network_mode": "none",
        # Or where the engine's machine asks for names, and in which domains, would be told inside.
        "dns": ["127.0.0.1"],
        "dns_search": ["."],
        "mounts": [mount(volume)],
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "ipc_mode": "private",
        "pids_limit": limits.processes + 1,  # the agent is one
        "mem_limit": limits.memory_bytes,
        "memswap_limit": limits.memory_bytes,  # memory and swap together: no swap
        "nano_cpus": int(limits.cpus * 1e9),
        "ulimits": [*_ULIMITS],
        "runtime": runtime or None,
    }
    container = {"hostname": "sandbox", "working_dir": "/", "labels": dict(labels)}
    return {"container": container, "host": host}


def _scratch(limits: Limits, uid: int) -> dict[str, str]:
    room = sizes(limits)
    return {path: _tmpfs(room.scratch_bytes, room.scratch_files, mode, uid) for path, mode in _SCRATCH.items()}


def _tmpfs(size: int, files: int, mode: str, uid: int) -> str:
    """Options of a filesystem in memory."""
    return f"rw,exec,nosuid,nodev,size={size},nr_inodes={files},mode={mode},uid={uid},gid={uid}"
