"""All settings of a run, in one model that a TOML file fills."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from agentdistill.ledger import Budget
from agentdistill.policies.calling import ConnectionConfig
from agentdistill.policies.endpoint import EndpointConfig
from agentdistill.policies.local import Checkpoint, Sampling
from agentdistill.policies.tiny import TinyConfig
from agentdistill.recipes import CleanRecipe, Recipe, TakeoverRecipe, asks_scorer
from agentdistill.sandbox import Limits
from agentdistill.training import TrainingConfig

ARMS: dict[str, Recipe] = {
    "clean": CleanRecipe(),
    "clean-explore": CleanRecipe(style="exploring", replay=0.0),
    "recovery": TakeoverRecipe(),
}


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
    teacher: EndpointConfig | str | None = None
    """In place of the environment's scripted teacher, for all arms: a model behind a server (its `url` and `model`), or
    a policy of yours, `module:Name` or `file.py:Name`."""
    teacher_budget: Budget = Budget()
    """What that teacher may cost in all, over every resumption of the run: `tokens`, `dollars`, or both."""
    scorer: Checkpoint | None = None
    """A learned teacher with the student's vocabulary, for what needs log-probabilities: scores and divergences."""
    base: CleanRecipe = CleanRecipe(replay=0.0)
    """What the base student learns from."""
    base_tokens: int = Field(default=30_000, gt=0)
    """Teacher tokens of clean traces that the base student learns from; charged to every arm."""
    base_training: TrainingConfig = TrainingConfig()
    budget_tokens: int = Field(default=20_000, gt=0)
    """Teacher tokens that each arm may spend beyond the base, over all its rounds."""
    rounds: int = Field(default=1, gt=0)
    """How often: sample, take over, train, again with the student that came of it. A recipe may say otherwise."""
    training: TrainingConfig = TrainingConfig()
    """Per arm; its steps are divided among the rounds."""
    arms: dict[str, Recipe] = ARMS
    """What is compared, recipes by name; none for the base student alone. A list names ready ones."""
    most_student_episodes: int = Field(default=20_000, gt=0)
    """Per arm and round, in case the student fails too seldom to spend the budget."""
    evaluation: EvaluationConfig = EvaluationConfig()
    live: int = Field(default=256, gt=0)
    """Most episodes in flight."""
    sandbox: str = "bubblewrap"
    """Where commands run, if any do: `bubblewrap`, `docker`, an entry point's name or `module:Name`."""
    sandbox_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Handed to that backend, `image` for one."""
    sandbox_limits: Limits = Limits()
    """What a sandbox, and each command in it, may use."""
    trackers: tuple[str, ...] = ()
    """Where the steps of training are shown besides: `tensorboard`, `trackio`, `wandb` or `module:Name`."""

    @field_validator("teacher")
    @classmethod
    def _has_ids_of_its_own(cls, teacher: EndpointConfig | str | None) -> EndpointConfig | str | None:
        if isinstance(teacher, EndpointConfig) and teacher.gives_ids:
            raise ValueError("a teacher's token ids are not the student's: token_ids = false, infer_ids = false")
        return teacher

    @field_validator("arms", mode="before")
    @classmethod
    def _are_ready(cls, arms: object) -> object:
        if not isinstance(arms, list | tuple):
            return arms
        for name in arms:
            if name not in ARMS:
                known = ", ".join(ARMS)
                raise ValueError(f"there is no ready arm {name!r}: name {known}, or write a table [arms.NAME]")
        return {name: ARMS[name] for name in arms}

    @field_validator("arms")
    @classmethod
    def _have_names(cls, arms: dict[str, Recipe]) -> dict[str, Recipe]:
        for name in arms:
            if name == "base" or not name or "/" in name:
                raise ValueError(f"an arm cannot be called {name!r}")
        return arms

    def identity(self) -> dict[str, JsonValue]:
        """The settings that all arms of a run share and that decide what comes out of it.

        How a teacher is reached, and what it may cost, does not; what is an arm's own is in `arm_identity`.
        """
        own = {"teacher", "teacher_budget", "scorer", "arms", "budget_tokens", "rounds", "training", "trackers"}
        kept: dict[str, JsonValue] = self.model_dump(mode="json", exclude=own)
        if isinstance(self.teacher, EndpointConfig):
            kept["teacher"] = self.teacher.model_dump(mode="json", exclude=set(ConnectionConfig.model_fields))
        elif self.teacher is not None:
            kept["teacher"] = self.teacher
        return kept

    def arm_identity(self, name: str) -> dict[str, JsonValue]:
        """What decides an arm's results beside the run's `identity`."""
        recipe = self.arms[name]
        scorer = self.scorer.model_dump(mode="json") if self.scorer and asks_scorer(recipe) else None
        return {
            "recipe": recipe.model_dump(mode="json"),
            "scorer": scorer,
            "budget_tokens": self.budget_tokens,
            "rounds": self.rounds,
            "training": self.training.model_dump(mode="json"),
        }
