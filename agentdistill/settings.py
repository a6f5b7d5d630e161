"""All settings of a run, in one model that a TOML file fills."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from agentdistill.divergence import DetectorSpec, detector
from agentdistill.ledger import Budget
from agentdistill.policies.calling import ConnectionConfig
from agentdistill.policies.endpoint import EndpointConfig
from agentdistill.policies.local import Checkpoint, Sampling
from agentdistill.policies.tiny import TinyConfig
from agentdistill.sandbox import Limits
from agentdistill.training import TrainingConfig

Arm = Literal["clean", "clean-explore", "recovery"]
REPLAY: dict[Arm, float] = {"clean": 0.5, "clean-explore": 0.0, "recovery": 0.5}


class EvaluationConfig(BaseModel):
    """What every arm is measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: int = Field(default=300, gt=0)
    """Held-out tasks; the base student's failures on them make the bank."""
    seed: int = 0
    """Decides the held-out tasks and the luck met in them: the same for every arm, and for every seed of a run."""


class RunConfig(BaseModel):
    """One run of the loop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    environment: str
    """Which one: `repair`, `agentdistill/Repair-v0`, `module:Class` or `file.py:Class`."""
    environment_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Handed to the environment's constructor, `gap` for one."""
    seed: int = 0
    """Decides everything but the evaluation tasks."""
    student: TinyConfig = TinyConfig()
    """A tiny model made here, unless there is a `checkpoint`."""
    checkpoint: Checkpoint | None = None
    """A model of yours to begin with: its `model` is a folder, or a hub id with a `revision`."""
    sampling: Sampling = Sampling()
    teacher: EndpointConfig | None = None
    """A model behind a server in place of the environment's scripted teacher, for all arms: its `url` and `model`."""
    teacher_budget: Budget = Budget()
    """What that teacher may cost in all, over every resumption of the run: `tokens`, `dollars`, or both."""
    base_tokens: int = Field(default=30_000, gt=0)
    """Teacher tokens of clean traces that the base student learns from; charged to every arm."""
    base_training: TrainingConfig = TrainingConfig()
    budget_tokens: int = Field(default=20_000, gt=0)
    """Teacher tokens that each arm may spend beyond the base, over all its rounds."""
    rounds: int = Field(default=1, gt=0)
    """How often: sample, take over, train, again with the student that came of it."""
    training: TrainingConfig = TrainingConfig()
    """Per arm; its steps are divided among the rounds."""
    arms: tuple[Arm, ...] = ("clean", "clean-explore", "recovery")
    replay: dict[Arm, Annotated[float, Field(ge=0, le=1)]] = REPLAY
    """Share of each step's supervised tokens drawn from the base's clean traces; the rest is what the arm bought."""
    detectors: tuple[DetectorSpec, ...] = ("first_tool_error", "failing_visible_test", "loop")
    """The earliest of these is the point of divergence: names, tables `{name = "student_value", tries = 4}`, or
    your own as `module:Name` or `file.py:Name`."""
    most_student_episodes: int = Field(default=20_000, gt=0)
    """Per round of the recovery arm, in case the student fails too seldom to spend the budget."""
    evaluation: EvaluationConfig = EvaluationConfig()
    live: int = Field(default=256, gt=0)
    """Most episodes in flight."""
    sandbox: str = "bubblewrap"
    """Where commands run, if any do: `bubblewrap`, `docker`, an entry point's name or `module:Name`."""
    sandbox_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Handed to that backend, `image` for one."""
    sandbox_limits: Limits = Limits()
    """What a sandbox, and each command in it, may use."""

    @field_validator("teacher")
    @classmethod
    def _has_ids_of_its_own(cls, teacher: EndpointConfig | None) -> EndpointConfig | None:
        if teacher is not None and teacher.gives_ids:
            raise ValueError("a teacher's token ids are not the student's: token_ids = false, infer_ids = false")
        return teacher

    @field_validator("replay")
    @classmethod
    def _fill_in(cls, shares: dict[Arm, float]) -> dict[Arm, float]:
        return REPLAY | shares  # `--set replay.clean=0.3` says nothing of the other arms

    @field_validator("detectors")
    @classmethod
    def _are_known(cls, specs: tuple[DetectorSpec, ...]) -> tuple[DetectorSpec, ...]:
        detector(specs)  # a wrong name is told now, not when the base student has been trained
        return specs

    def identity(self) -> dict[str, JsonValue]:
        """The settings that decide what comes out of a run; how a teacher is reached, and what it may cost, do not."""
        kept: dict[str, JsonValue] = self.model_dump(mode="json", exclude={"teacher", "teacher_budget"})
        if self.teacher is not None:
            kept["teacher"] = self.teacher.model_dump(mode="json", exclude=set(ConnectionConfig.model_fields))
        return kept
