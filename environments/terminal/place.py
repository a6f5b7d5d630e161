"""The world of a task: which sandboxes it needs, and what is done in each new one before anybody acts in it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ValidationError

from agentdistill.errors import TaskError, UsageError
from agentdistill.formats.harbor import (
    EnvironmentSettings,
    HarborFile,
    HarborStep,
    HarborTask,
    StepSettings,
    VerifierSettings,
)
from agentdistill.formats.harbor.dockerfile import Stage, plain_world
from agentdistill.formats.harbor.tables import PhasePolicy
from agentdistill.formats.harbor.variables import wanted_variables
from agentdistill.sandbox import Sandbox, SandboxBackend
from agentdistill.sandbox.base import SandboxFile
from agentdistill.sandbox.shell import WORKSPACE
from agentdistill.sandbox.worlds import World, world_of
from agentdistill.verification.crossing import HIDDEN
from agentdistill.verification.scripts import LINKS, LOGS, make_folder

_COMPOSED = ("docker-compose.yaml", "docker-compose.yml")
_WORKDIR = re.compile(r"^\s*WORKDIR\s+(/[\w./@+-]*)\s*$", re.MULTILINE | re.IGNORECASE | re.ASCII)
SHELL = 'exec "$(command -v bash || command -v sh)"'
"""A shell line that becomes bash, or else sh; its arguments follow."""


@dataclass(frozen=True)
class Place:
    """Sandboxes of one kind, and what is done in each new one.

    Attributes:
        root: the environment's backend.
        world: what sandboxes are to be like; `None` where those of `root` are used as they are.
        files: laid into the working directory.
        stages: what a Dockerfile says that no image was built of.
        workdir: where commands begin, if not in the workspace itself.
        folders: of the workspace, made at the start.
    """

    root: SandboxBackend
    world: World | None
    files: Mapping[str, SandboxFile] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    workdir: str = ""
    folders: tuple[str, ...] = ()

    @property
    def backend(self) -> SandboxBackend:
        """Where its sandboxes come from."""
        return self.root if self.world is None else world_of(self.root, self.world)

    def begin(self, sandbox: Sandbox) -> None:
        """Do in a new sandbox what there is to be done.

        Raises:
            TaskError: a command of the Dockerfile needs more than a sandbox without images has.
        """
        for stage in self.stages:
            if stage.files:
                home = sandbox.workspace
                sandbox.upload({path[len(home) + 1 :]: _file(file) for path, file in stage.files.items()})
            if stage.command:
                exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in stage.env.items())
                there = shlex.quote(stage.workdir)
                line = f"{exports}mkdir -p {there} && cd {there} && {stage.command}"
                ended = sandbox.exec(["/bin/sh", "-c", line])
                if ended.exit_code:
                    last = ended.output.strip().rsplit("\n", 1)[-1][-200:]
                    raise TaskError(
                        f"Dockerfile line {stage.line}, RUN: ended with {ended.exit_code} ({last}): "
                        "run it on the docker backend"
                    )
        sandbox.upload(self.files)
        for folder in self.folders:
            make_folder(sandbox, folder)
        if self.workdir:
            there = shlex.quote(self.workdir)
            if sandbox.exec(f"mkdir -p {there} && cd {there}").exit_code:
                raise TaskError(f"no command can work in {self.workdir}: run it on the docker backend")

    def enter(self, sandbox: Sandbox) -> str:
        """A shell line for argument vectors that goes to the working directory."""
        return f"cd {shlex.quote(self.workdir or sandbox.workspace)}"


def agents_place(root: SandboxBackend, harbor: HarborTask) -> Place:
    """Where the agent works.

    Raises:
        TaskError: the task needs what `root` does not have; says in one line which backend has it.
    """
    settings, first = harbor.settings, harbor.steps[0] if harbor.steps else None
    for step in harbor.steps[1:]:
        if _agent(harbor, step) != _agent(harbor, first):
            raise TaskError(
                f"{harbor.name}: steps[{step.name}].agent: user and network_mode cannot change from step to step here"
            )
    user, network = _agent(harbor, first)
    wanted = wanted_variables(settings.environment.env)
    if wanted:
        raise TaskError(
            f"{harbor.name}: environment.env takes {wanted[0]} from this machine: what an agent can see is stored with "
            "its snapshots, so write a value, or give it to verifier.env"
        )
    separate = any(harbor.settings.verifier_mode(_settings(step)) == "separate" for step in harbor.steps or (None,))
    return _place(
        root,
        harbor.name,
        settings.environment,
        harbor.environment,
        user=user,
        network=network,
        needs_image=bool(harbor.table("metadata", "agentdistill").get("needs_image", True)),
        links={"/logs": LOGS} if separate else {},
        folders=(f"{LOGS}/artifacts", f"{LOGS}/agent") if separate else (),
    )


def verifiers_place(
    root: SandboxBackend, harbor: HarborTask, step: HarborStep | None, environment: Mapping[str, str]
) -> tuple[Place, bool]:
    """Where the verifier of a task, or of one of its steps, works; and whether the tests must be laid there.

    Args:
        root: the environment's backend.
        harbor: the task.
        step: the step, if it has several.
        environment: the verifier's variables, resolved.

    Raises:
        TaskError: as for `agents_place`.
    """
    settings, own = harbor.settings, _settings(step)
    phases = [settings.verifier] if own is None else [own.verifier, settings.verifier]
    user = next((each.user for each in phases if each.user is not None), None)
    tests = step.tests if step is not None else harbor.tests
    world, files, lay = settings.environment, harbor.environment, True
    links, where = dict(LINKS), "environment"
    if settings.verifier_mode(own) == "separate":
        named = next((each.environment for each in phases if each.environment is not None), None)
        built = any(name in tests for name in ("Dockerfile", *_COMPOSED))
        if named is not None and not named.docker_image and not built:
            raise TaskError(
                f"{harbor.name}: verifier.environment has no image: name docker_image, or write tests/Dockerfile"
            )
        if named is not None or built:
            world, files, lay = named or settings.environment, tests if built else {}, False
            del links["/tests"]
        if built:
            where = "tests"
            world = world.model_copy(update={"docker_image": None})
        for artifact in settings.artifacts_of(own):
            if artifact.source.startswith("/") and not artifact.source.startswith("/logs"):
                links[artifact.source] = f"{HIDDEN}/artifacts{artifact.source}"
    place = _place(
        root,
        harbor.name,
        world,
        files,
        user=user,
        network=_network(harbor.name, "verifier", phases, world),
        needs_image=not lay or bool(harbor.table("metadata", "agentdistill").get("needs_image", True)),
        links=links,
        where=where,
        environment=environment,
        seconds=max(1.0, _seconds(phases)),
        judging=True,
    )
    return place, lay


def _seconds(phases: Sequence[VerifierSettings]) -> float:
    """What the step says, if it says it, else the task."""
    said = next((phase for phase in phases if "timeout_sec" in phase.model_fields_set), phases[-1])
    return said.timeout_sec


def _place(
    root: SandboxBackend,
    name: str,
    settings: EnvironmentSettings,
    files: Mapping[str, HarborFile],
    *,
    user: str | int | None,
    network: Literal["none", "public"],
    needs_image: bool,
    links: Mapping[str, str],
    where: str = "environment",
    folders: tuple[str, ...] = (),
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
    judging: bool = False,
) -> Place:
    _refuse_what_nobody_has(name, settings, files)
    variables = {**settings.env, **(environment or {})}
    image, directory, context = settings.docker_image or "", settings.workdir or "", dict[str, SandboxFile]()
    stages: tuple[Stage, ...] = ()
    workdir, laid = "", {path: _file(file) for path, file in files.items()}
    needs_image = needs_image and bool(image)
    if "Dockerfile" in files:
        laid = {}
        if image:
            pass  # it was built of the Dockerfile before
        elif root.capabilities.images:
            context, needs_image = {path: _file(file) for path, file in files.items()}, True
        else:
            directory = _first_workdir(files["Dockerfile"]) or directory or WORKSPACE
            plain = plain_world(files, root=directory, where=where)
            stages, variables = plain.stages, {**plain.env, **variables}
            workdir = settings.workdir or plain.workdir
            workdir = "" if workdir in ("/", directory) else workdir
    if needs_image and not root.capabilities.images:
        raise TaskError(f"{name}: needs the container image {image!r}: run it on the docker backend")
    try:
        world = World(
            image=image,
            context=context,
            any_image=not needs_image,
            directory="" if directory == WORKSPACE and not needs_image else directory,
            environment=variables,
            user="" if user is None else str(user),
            network=network,
            links=links,
            cpus=settings.cpus or None,
            memory_bytes=(settings.memory_mb << 20) if settings.memory_mb else None,
            workspace_bytes=(settings.storage_mb << 20) if settings.storage_mb else None,
            seconds=seconds,
            build_seconds=max(1.0, settings.build_timeout_sec),
            judging=judging,
        )
        plain_is_enough = world.is_plain(has_image=True) and not root.capabilities.images
        place = Place(root, None if plain_is_enough else world, laid, stages, workdir, folders)
        place.backend  # noqa: B018 - refused now, not when somebody has begun
    except ValidationError as error:
        raise TaskError(f"{name}: {error.errors(include_url=False)[0]['msg']}: change environment.workdir") from error
    except TaskError:
        raise
    except UsageError as error:
        raise TaskError(f"{name}: {error}") from error
    return place


def _refuse_what_nobody_has(name: str, settings: EnvironmentSettings, files: Mapping[str, HarborFile]) -> None:
    composed = next((each for each in _COMPOSED if each in files), None)
    problems = {
        f"{composed} describes several containers": composed,
        "gpus are asked for": settings.gpus,
        "a tpu is asked for": settings.tpu,
        "mcp_servers are asked for": settings.mcp_servers,
    }
    for problem, there in problems.items():
        if there:
            raise TaskError(f"{name}: environment: {problem}, which no backend here has")


def _agent(harbor: HarborTask, step: HarborStep | None) -> tuple[str | int | None, Literal["none", "public"]]:
    """The user and the network of the agent in a step."""
    own = _settings(step)
    phases = [harbor.settings.agent] if own is None else [own.agent, harbor.settings.agent]
    user = next((each.user for each in phases if each.user is not None), None)
    return user, _network(harbor.name, "agent", phases, harbor.settings.environment)


def _network(
    name: str, phase: str, policies: Sequence[PhasePolicy], world: EnvironmentSettings
) -> Literal["none", "public"]:
    """The network of a phase: as it says, else the environment. None where nobody says anything."""
    said = next((each.network_mode for each in policies if each.network_mode is not None), None)
    mode = said or (world.network_mode if "network_mode" in world.model_fields_set else "no-network")
    if mode == "allowlist":
        raise TaskError(f"{name}: {phase}: network_mode = 'allowlist' is what no backend here can hold to")
    return "public" if mode == "public" else "none"


def _settings(step: HarborStep | None) -> StepSettings | None:
    return step.settings if step is not None else None


def _first_workdir(dockerfile: HarborFile) -> str:
    found = _WORKDIR.search(dockerfile.content.decode("utf-8", "replace"))
    return found[1].rstrip("/") if found else ""


def _file(file: HarborFile) -> SandboxFile:
    return SandboxFile(file.content, file.executable)
