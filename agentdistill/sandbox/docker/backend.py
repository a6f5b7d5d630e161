"""Sandboxes in containers.

A container has no capabilities and can gain none, system calls are filtered by the engine's default profile and by ours
(see `seccomp`), its root is read-only, its user is not root, its network has no interface but loopback; it gets nothing
of the host, no folder, no socket, no variable. What it can write to are the workspace, `/tmp`, `/dev/shm` and
`/run/files`, in memory and of limited size; memory (swap included), processes and processor time are limited by control
groups of the engine.

With ``root = true`` a container is more like those of other tools. Its root can be written to, on the engine's disk,
and all of it is part of snapshots, as what differs from the image. Commands are the image's user, root as a rule, with
the few capabilities that package managers need (`container.CAPABILITIES`). What else is said above holds: no new
privileges, both filters of system calls, no network, nothing of the host, the limits. The program inside is root, too;
commands cannot trace it, nor end it, and it has two capabilities more, with which it puts ``/dev`` back as it was. It
is no user namespace of ours: unless the engine remaps users, root inside has root's number outside.

What this does not protect against: a bug in the Linux kernel, since containers run on the engine's own (a runtime such
as gVisor or Kata puts something in between); whoever can reach the engine, who is root there; reading what `/proc`
and `/sys` tell of the engine's hardware; telling from timing what else runs there. `DockerBackend.capabilities` names
the same gaps for programs.
"""

from __future__ import annotations

import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from agentdistill.errors import SandboxError, UsageError
from agentdistill.sandbox import seccomp
from agentdistill.sandbox.agent_backend import AgentBackend
from agentdistill.sandbox.agent_sandbox import AgentSandbox, LiveProcessPolicy, Started, Whole
from agentdistill.sandbox.base import Capabilities, Limits, SnapshotId
from agentdistill.sandbox.docker.building import build
from agentdistill.sandbox.docker.container import CAPABILITIES, COUNTERS, Layout, confined, layout, looking
from agentdistill.sandbox.docker.deriving import account_of, derive
from agentdistill.sandbox.docker.engine import Engine
from agentdistill.sandbox.docker.leftovers import Owner, become_owner, of_this_process, reap, sweep
from agentdistill.sandbox.docker.shipping import ship
from agentdistill.sandbox.guest import agent_line
from agentdistill.sandbox.runtime import PLACE, Runtime, portable_python
from agentdistill.sandbox.shell import FILES
from agentdistill.sandbox.worlds import World

_DAY = 86400.0
_NO_ROOT = "commands in a container do not run as {}: name another user, or allow it by root = true"
_NEEDS_IMAGE = "the docker sandbox needs an image, or a folder to build one from, and not both"
_CAPABILITIES = Capabilities(
    snapshot="workspace",
    network=frozenset({"none"}),
    limits=frozenset(Limits.model_fields),
    images=True,
    known_gaps={
        "kernel bugs": "commands run on the engine's kernel, behind filters of system calls only",
        "hardware information": "/proc and /sys tell about the engine's machine, its devices, where it keeps its files",
        "timing": "what else runs on the engine's machine can be told from how fast things go, and from shared caches",
        "filesystem scope": "a snapshot keeps the workspace; the rest of the image is read-only, /tmp is not kept",
        "extended attributes": "a snapshot does not keep them, nor times and owners",
        "image volumes": "directories that an image declares as volumes are empty, in memory, and not kept",
    },
)
_DISK_GAP = (
    "what commands write is on the engine's disk, and bounded by looking at it now and then: who is fast writes past "
    "the limit until then; files that are open but have no name are not seen"
)
_WHOLE_GAPS = {
    "filesystem scope": "/dev/shm is emptied after each command, /dev is put back as it was; neither is kept",
    "extended attributes": "a snapshot does not keep them, nor times",
    "capabilities are empty": "commands may be root of their container, with the capabilities "
    f"{', '.join(CAPABILITIES)}: more of the kernel is in their reach, and they can break the container they are in",
    "system folders are read only": "commands may write anywhere in their container, and snapshots keep it",
    "disk fill": _DISK_GAP,
    "many files": _DISK_GAP,
}


@dataclass(frozen=True)
class _Ready:
    """What it takes to start sandboxes; base and listing of the image, where the whole file system is kept."""

    python: Runtime
    layout: Layout
    volume: str
    uid: int
    base: bytes = b""
    listing: bytes = b""


class DockerBackend(AgentBackend):
    """Makes sandboxes in containers of one image, and of those of other worlds; see `SandboxBackend`, `WorldBackend`.

    The workspace is the image's working directory, or `/workspace` where it names none; what the image has there
    is what a fresh sandbox begins with. The variables that the image sets are those of commands, but for HOME.

    Args:
        folder: where snapshots are kept; without it, in a temporary place until `close`.
        limits: what a sandbox and each command in it may use.
        image: the image, which must be on the engine; nothing is pulled. Or use `build`. Without both, there are
            sandboxes of worlds with an image of their own only.
        build: folder with a Dockerfile to make the image of, in place of `image`.
        build_network: what its lines may reach; ``default`` is what the engine gives containers that ask for nothing.
        public_network: whether a world that asks for the public network gets it, through the engine's usual bridge.
        host: the engine, as in ``DOCKER_HOST``, which counts without it, as do ``DOCKER_TLS_VERIFY`` and
            ``DOCKER_CERT_PATH``.
        runtime: what the engine runs containers with, such as ``runsc`` or ``kata``; without it, the engine's default.
            gVisor counts all memory of a sandbox as one process: who exhausts it there loses the sandbox.
        uid: user and group that commands run as, a number other than 0.
        root: sandboxes are as an engine makes them: the whole file system can be written to, and snapshots keep all of
            it; commands run as the user that a world names, or else as the image's own, who may be root of the
            container, with `container.CAPABILITIES`. `uid` has no meaning then. `limits.workspace_bytes` is how much
            there may be beyond the image. `Capabilities.known_gaps` says what is weaker.
        ttl: seconds after which other machines that use the engine may remove a sandbox of ours.
        background: what becomes of processes that outlive their command: ``kill`` ends them with it, ``keep`` lets them
            live on, as in a terminal.
        on_live_processes: what to do when a world is restored in which processes lived: ``refuse``, ``accept`` (see
            `Sandbox.lost_processes`), or ``restart`` them by running `restart`.
        restart: a command line, run in the restored world.
    """

    def __init__(
        self,
        folder: Path | None = None,
        limits: Limits | None = None,
        *,
        image: str = "",
        build: Path | str = "",
        build_network: Literal["none", "default"] = "none",
        public_network: bool = False,
        host: str = "",
        runtime: str = "",
        uid: int = 1000,
        root: bool = False,
        ttl: float = _DAY,
        background: Literal["kill", "keep"] = "kill",
        on_live_processes: Literal["refuse", "accept", "restart"] = "refuse",
        restart: str = "",
    ) -> None:
        super().__init__(folder, limits, LiveProcessPolicy(background, on_live_processes, restart))
        if image and build:
            raise UsageError(_NEEDS_IMAGE)
        if uid <= 0:
            raise UsageError("commands in a container do not run as root: give another uid, or allow it by root = true")
        self._named = image
        self._build = build
        self._build_network: Literal["none", "default"] = build_network
        self._public_network = public_network
        self._world = World()
        self._engine = Engine(host)
        self._oci_runtime = runtime
        self._uid = uid
        self._root = root
        self._ttl = ttl
        self._shipping = threading.Lock()
        self._owner: Owner | None = None
        self._prepared: _Ready | None = None
        self._seed: SnapshotId | None = None
        self._engine_is_mine = True
        self._gaps: dict[str, str] = {}

    @property
    def capabilities(self) -> Capabilities:
        """See `SandboxBackend.capabilities`. Some gaps are known once the engine has been asked."""
        network: frozenset[Literal["none", "public"]] = _CAPABILITIES.network
        if self._public_network:
            network |= {"public"}
        gaps = {**_CAPABILITIES.known_gaps, **self._gaps}
        if not self._root:
            return replace(_CAPABILITIES, network=network, known_gaps=gaps)
        del gaps["image volumes"]
        return replace(_CAPABILITIES, snapshot="filesystem", network=network, known_gaps={**gaps, **_WHOLE_GAPS})

    def prepare(self, home: Path) -> None:
        """See `AgentBackend.prepare`. What dead runs left on the engine is removed."""
        self._gaps = self._engine.check(self._oci_runtime, root=self._root)
        if self._owner is None:
            self._owner = become_owner()
        reap(self._engine, self._owner)
        # No sandbox uses more than there are, and the engine refuses to promise more.
        self.limits = self.limits.model_copy(update={"cpus": min(self.limits.cpus, self._engine.processors())})
        where = self._layout(self._owner)
        uid = self._uid
        if self._world.user and where.account is None:
            account = account_of(self._engine, where.image, self._owner, self._world.user)
            if account.user == 0:
                raise UsageError(_NO_ROOT.format(self._world.user))
            uid = account.user
        python = portable_python()
        self._prepared = _Ready(python, where, ship(self._engine, python, where.image.digest, self._owner), uid)
        if where.account is not None:
            self._look_at_image()
        elif where.image.directory != "/":
            self._seed = self._image_files()
            self._seeds.add(self._seed)

    @property
    def has_image(self) -> bool:
        """See `AgentBackend.has_image`."""
        return bool(self._named or self._build)

    def in_world(self, world: World) -> DockerBackend:
        """See `AgentBackend.in_world`."""
        named = bool(world.image or world.context)
        if world.image and world.context:
            raise UsageError(_NEEDS_IMAGE)
        if world.network == "public" and not self._public_network:
            raise UsageError("the public network is not given to sandboxes: allow it by public_network = true")
        if world.user.partition(":")[0] in ("root", "0") and not self._root:
            raise UsageError(_NO_ROOT.format(world.user))
        takes_own = self.has_image and (world.any_image or not named)
        made = DockerBackend(
            None,
            world.limited(self.limits),
            image=self._named if takes_own else world.image,
            build=self._build if takes_own else "",
            build_network=self._build_network,
            host=self._engine.host,
            runtime=self._oci_runtime,
            uid=self._uid,
            root=self._root,
            ttl=self._ttl,
        )
        made._engine, made._engine_is_mine = self._engine, False
        made._world = world.model_copy(update={"context": {}}) if takes_own else world
        made._processes = LiveProcessPolicy() if world.judging else self._processes
        return made

    def start(self) -> Started:
        """See `AgentBackend.start`."""
        ready, owner = self._state()
        try:
            return self._start(ready, owner)
        except SandboxError as error:
            if "no such file" not in str(error):
                raise
        # Somebody has removed the volume, and the engine made an empty one of its name.
        with self._shipping:
            if self._prepared is ready:
                volume = ship(self._engine, ready.python, ready.layout.image.digest, owner)
                self._prepared = replace(ready, volume=volume)
        return self._start(*self._state())

    def create(self, snapshot: SnapshotId | None = None) -> AgentSandbox:
        """See `SandboxBackend.create`. The first call removes what dead runs left, and ships our Python."""
        sandbox = super().create(snapshot)
        if snapshot is None and self._seed is not None:
            try:
                sandbox.restore(self._seed)
            except BaseException:
                sandbox.close()
                raise
        return sandbox

    def leftovers(self) -> list[str]:
        """What this process has on the engine now; for checks that nothing is left behind."""
        return of_this_process(self._engine)

    def stop(self) -> None:
        """See `AgentBackend.stop`."""
        if self._owner is not None:
            with suppress(SandboxError):  # the engine is gone: a later run cleans up
                sweep(self._engine, self._owner)
            self._owner.leave()
        if self._engine_is_mine:
            self._engine.close()

    def _state(self) -> tuple[_Ready, Owner]:
        assert self._prepared is not None
        assert self._owner is not None
        return self._prepared, self._owner

    def _start(self, ready: _Ready, owner: Owner) -> Started:
        settings = confined(
            ready.layout,
            ready.volume,
            self.limits,
            uid=ready.uid,
            runtime=self._oci_runtime,
            labels=owner.labels("sandbox", self._ttl),
            network=self._world.network,
        )
        return self._started(ready, settings)

    def _look_at_image(self) -> None:
        """Find out what the image has, in a container in which no command runs."""
        ready, owner = self._state()
        store, _ = self._open()
        settings = confined(
            ready.layout,
            ready.volume,
            self.limits,
            uid=0,
            runtime=self._oci_runtime,
            labels=owner.labels("sandbox", self._ttl),
        )
        with AgentSandbox(self._started(ready, settings), self.limits, LiveProcessPolicy(), store, _nobody) as sandbox:
            kept, base, listing = sandbox.look_at_image()
        self._seeds.add(kept)
        self._prepared = replace(ready, base=base, listing=listing)

    def _started(self, ready: _Ready, settings: dict[str, dict[str, object]]) -> Started:
        line = agent_line(ready.python.python, PLACE)
        attached = self._engine.start(ready.layout.image.digest, line, **settings)
        whole, account = None, ready.layout.account
        if account is not None:
            numbers = account.user, account.group, list(account.groups)
            whole = Whole(numbers, (FILES, PLACE), ready.listing, ready.base, self.start)
        return Started(
            attached,
            ready.python.python,
            environment=ready.layout.environment,
            scratch=ready.layout.emptied,
            workspace=ready.layout.workspace,
            counters=COUNTERS,
            refuse=seccomp.program() if seccomp.supported() else b"",
            whole=whole,
        )

    def _layout(self, owner: Owner) -> Layout:
        """The image, made if it has to be, and where things are in it."""
        engine, world, name = self._engine, self._world, self._named
        if self._build:
            name = build(engine, Path(self._build), owner, network=self._build_network)
        elif world.context:
            with tempfile.TemporaryDirectory() as folder:
                for path, file in world.context.items():
                    laid = Path(folder, path)
                    laid.parent.mkdir(parents=True, exist_ok=True)
                    laid.write_bytes(file.content)
                    laid.chmod(0o755 if file.executable else 0o644)
                name = build(engine, Path(folder), owner, network=self._build_network, seconds=world.build_seconds)
        elif not name:
            raise UsageError(_NEEDS_IMAGE)
        where = layout(engine.image(name), world.environment)
        directory = world.directory or where.workspace
        links = world.links_from(directory)
        if directory != where.workspace or links:
            derived = derive(engine, where.image, owner, directory=directory, links=links)
            where = layout(engine.image(derived), world.environment)
        if not self._root:
            return where
        account = account_of(engine, where.image, owner, world.user or where.image.user or "0")
        return layout(where.image, world.environment, account)

    def _image_files(self) -> SnapshotId:
        """A snapshot of what the image has in its working directory."""
        ready, owner = self._state()
        store, _ = self._open()
        labels = owner.labels("sandbox", self._ttl)
        settings = looking(ready.volume, self.limits, runtime=self._oci_runtime, labels=labels)
        with AgentSandbox(self._started(ready, settings), self.limits, LiveProcessPolicy(), store, _nobody) as sandbox:
            return sandbox.snapshot()


def _nobody(sandbox: AgentSandbox) -> None:
    """Nobody has to be told that it is closed."""
