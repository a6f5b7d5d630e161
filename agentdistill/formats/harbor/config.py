"""``task.toml`` of schema 1.4, typed. Older files come here by way of `agentdistill.formats.harbor.versions`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StrictInt, StrictStr, ValidationInfo, field_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator

from agentdistill.formats.harbor.tables import (
    About,
    AnyArtifact,
    Collect,
    Healthcheck,
    Host,
    McpServer,
    NetworkMode,
    Number,
    PhasePolicy,
    Seconds,
    Table,
    Tpu,
    User,
    Variables,
    allowed_only_with_allowlist,
    portable_name,
    same_name,
)

VerifierMode = Literal["shared", "separate"]
Whole = Annotated[StrictInt, Field(ge=0)]


class AgentSettings(PhasePolicy):
    """``[agent]``: how the agent works."""

    timeout_sec: Seconds | None = None
    """Seconds for all its work; no limit if it is not said."""
    user: User | None = None
    """Name or number of the user it works as; the image's if it is not said."""


class EnvironmentSettings(Table):
    """``[environment]``: the world that work is done in, or judged in."""

    build_timeout_sec: Seconds = 600.0
    """Seconds for building its image."""
    docker_image: StrictStr | None = None
    """An image that is there already; a Dockerfile is not needed then."""
    os: Annotated[
        Literal["linux", "windows"], BeforeValidator(lambda said: said.lower() if isinstance(said, str) else said)
    ] = "linux"
    cpus: Annotated[Number, Field(ge=0)] | None = None
    """Processors, or a part of one."""
    memory_mb: Whole | None = None
    """MiB."""
    storage_mb: Whole | None = None
    """MiB."""
    gpus: Whole | None = None
    gpu_types: tuple[StrictStr, ...] | None = None
    """Any of these will do."""
    tpu: Tpu | None = None
    network_mode: NetworkMode = "public"
    allowed_hosts: tuple[Host, ...] | None = None
    """Names, ``*.name``, IP addresses or CIDR ranges that can be reached; with `allowlist` only."""
    env: Variables = {}
    """Variables of the world, ``${VAR}`` and ``${VAR:-default}`` taken from whoever runs the task."""
    workdir: StrictStr | None = None
    """Where commands are run; the image's own if it is not said."""
    skills_dir: StrictStr | None = None
    """A folder of skills in the world."""
    mcp_servers: tuple[McpServer, ...] = ()
    healthcheck: Healthcheck | None = None

    @field_validator("allowed_hosts")
    @classmethod
    def _with_allowlist(cls, hosts: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        return allowed_only_with_allowlist(hosts, info, "public")


class VerifierSettings(PhasePolicy):
    """``[verifier]``: how the work is judged."""

    timeout_sec: Seconds = 600.0
    """Seconds for the judging."""
    env: Variables = {}
    user: User | None = None
    environment_mode: VerifierMode | None = None
    """`shared`: where the agent worked; `separate`: in a world of its own. See `TaskConfig.verifier_mode`."""
    environment: EnvironmentSettings | None = None
    """The world of its own."""
    collect: tuple[Collect, ...] = ()
    """Run in this order after the agent and before artifacts are gathered."""

    @field_validator("environment")
    @classmethod
    def _not_shared(cls, table: EnvironmentSettings | None, info: ValidationInfo) -> EnvironmentSettings | None:
        if table is not None and info.data.get("environment_mode") == "shared":
            raise ValueError('does not go with environment_mode = "shared": leave one of them out')
        return table

    @property
    def mode(self) -> VerifierMode | None:
        """What is said here, or follows from there being a world of its own; `None` if neither."""
        return self.environment_mode or ("separate" if self.environment is not None else None)


class SolutionSettings(Table):
    """``[solution]``: how the reference solution is run."""

    env: Variables = {}


class StepSettings(Table):
    """One of ``[[steps]]``."""

    name: Annotated[StrictStr, AfterValidator(portable_name)]
    """Of its folder below ``steps/``."""
    agent: AgentSettings = AgentSettings()
    verifier: VerifierSettings = VerifierSettings()
    min_reward: Number | dict[StrictStr, Number] | None = None
    """What the step must earn for the next to be begun: its ``reward``, or each of several rewards."""
    healthcheck: Healthcheck | None = None
    """Besides the environment's own, after the step's ``setup.sh``."""
    artifacts: tuple[AnyArtifact, ...] = ()
    """Besides the task's own."""

    def goes_on(self, rewards: dict[str, float]) -> bool:
        """Whether the rewards of this step are enough for the next to be begun; one that is missing is not."""
        needed = self.min_reward if isinstance(self.min_reward, dict) else {"reward": self.min_reward}
        return all(least is None or rewards.get(key, float("-inf")) >= least for key, least in needed.items())


class TaskConfig(Table):
    """A whole ``task.toml``. Tables and keys that we do not know are kept (`model_extra`)."""

    schema_version: Annotated[StrictStr, Field(pattern=r"^1(\.\d+)*$")] = "1.4"
    task: About | None = None
    metadata: dict[str, JsonValue] = {}
    """Free form."""
    agent: AgentSettings = AgentSettings()
    verifier: VerifierSettings = VerifierSettings()
    solution: SolutionSettings = SolutionSettings()
    environment: EnvironmentSettings = EnvironmentSettings()
    source: StrictStr | None = None
    """Where the task is from."""
    multi_step_reward_strategy: Literal["mean", "final"] | None = None
    """The reward of several steps: the mean of each key, or the last step's. `None` is `mean`."""
    steps: tuple[StepSettings, ...] | None = None
    artifacts: tuple[AnyArtifact, ...] = ()

    @field_validator("steps")
    @classmethod
    def _named_apart(cls, steps: tuple[StepSettings, ...] | None) -> tuple[StepSettings, ...] | None:
        names = [same_name(step.name) for step in steps or ()]
        twice = next((step.name for step, name in zip(steps or (), names, strict=True) if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two have the name {twice!r}: give each a name of its own")
        return steps

    def verifier_mode(self, step: StepSettings | None = None) -> VerifierMode:
        """Where the work of a step, or of a task without steps, is judged: as the step says, or the task, or shared."""
        return (step.verifier.mode if step is not None else None) or self.verifier.mode or "shared"

    def verifier_environment(self, step: StepSettings | None = None) -> EnvironmentSettings | None:
        """The world of a separate verifier: the step's, the task's, or one like the agent's. `None` if it is shared."""
        if self.verifier_mode(step) == "shared":
            return None
        own = step.verifier.environment if step is not None else None
        return own or self.verifier.environment or self.environment

    def artifacts_of(self, step: StepSettings | None = None) -> Iterator[AnyArtifact]:
        """The task's artifacts, then the step's."""
        yield from self.artifacts
        yield from step.artifacts if step is not None else ()
