"""Recipes: what an arm's teacher tokens buy, and how its student learns from it. One small TOML file each.

A recipe names one of the teacher's `way`s and sets it up; everything else (environment, student, budget, steps) belongs
to the run, so that recipes can be compared in the same one. Lists of numbers are one per round; the last one stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from agentdistill.config import read_values, validated
from agentdistill.curation import CurationConfig
from agentdistill.curriculum import Curriculum
from agentdistill.divergence import DetectorSpec, detector
from agentdistill.errors import ConfigError, nearest
from agentdistill.losses import LossSpec, load_loss, needs_of
from agentdistill.takeover import TakeoverConfig

Share = Annotated[float, Field(ge=0, le=1)]
Style = Literal["knowing", "exploring"]
_SCORED = ('"likelihood_gap"', '"surprise"')
"""Names of detectors that may ask it."""
CROSS_ENTROPY = LossSpec(name="masked_cross_entropy")


class Stale(BaseModel):
    """What becomes of rows whose context today's student would hardly write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lowest: float = Field(default=-0.5, le=0)
    """The least mean log-probability ratio (natural, per token) that is still as good as new."""
    how: Literal["drop", "weight"] = "drop"
    """Leave them out, or let them count for less."""


class _Recipe(BaseModel):
    """What every recipe has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: str = ""
    """The paper it follows."""
    replay: Share = 0.5
    """Share of each step's supervised tokens drawn from the base's clean traces; the rest is what was bought."""
    replay_loss: LossSpec = CROSS_ENTROPY
    """The loss on those."""
    loss: LossSpec = CROSS_ENTROPY
    """The loss on what was bought."""
    rounds: int | None = Field(default=None, gt=0)
    """How often to gather and train; by default the run's."""
    curation: CurationConfig = CurationConfig()
    """What of it is kept."""
    stale: Stale | None = None
    """What to do, in later rounds, about rows of earlier ones; by default they are all kept."""
    curriculum: Curriculum = Curriculum()
    """Which tasks, how early, how much, and when to stop."""


class CleanRecipe(_Recipe):
    """The teacher works from the tasks' start."""

    way: Literal["clean"] = "clean"
    style: Style = "knowing"
    """Of a scripted teacher: `knowing` what the student cannot, or `exploring`, held to the student's information."""
    world: dict[str, JsonValue] = Field(default_factory=dict)
    """What is different in the teacher's world from the student's: environment options such as ``slips = false``."""
    mistakes: Share = 0.0
    """Share of the turns in which the teacher errs at random, then mends it. The mistake is context, never learnt."""
    once_within: int | None = Field(default=None, gt=0)
    """Err at most once in an episode, at one of its first so many turns; `mistakes` is then the share of episodes."""


class TriageConfig(BaseModel):
    """Which failures are worth what it costs to look closer and to take over (ThriftyDAgger, 2109.08273)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: tuple[DetectorSpec, ...]
    """Cheap detectors: the more sure they are, the more a failure is worth; what they give as reason is its kind."""
    keep: Share = 0.5
    """Share of the failures' expected cost that is paid."""
    quotas: dict[str, Share] = Field(default_factory=dict)
    """Share of that which is set aside for a kind of failure."""


class _Finds(_Recipe):
    """Looks for the divergence in what the student did."""

    detectors: tuple[DetectorSpec, ...] = ("first_tool_error", "failing_visible_test", "loop")
    """The earliest of these is the point of divergence."""
    on: Literal["failures", "all"] = "failures"
    """Whether runs that succeed are taken over too."""
    triage: TriageConfig | None = None
    """Which of them are worth it; by default all are."""

    @field_validator("detectors")
    @classmethod
    def _are_known(cls, names: tuple[DetectorSpec, ...]) -> tuple[DetectorSpec, ...]:
        detector(names)  # a wrong name is told now, not when the base student has been trained
        return names


class TakeoverRecipe(_Finds):
    """The teacher takes over where the student's run diverged."""

    way: Literal["takeover"] = "takeover"
    takeover: TakeoverConfig = TakeoverConfig()
    teachers: tuple[str, ...] = ("teacher",)
    """In order of price, each tried where the one before failed: `self` (the student itself, told the private note),
    `scorer` (the run's learned teacher), `teacher` (the run's), or a policy of yours, `module:Name`."""
    train: Literal["teacher", "all"] = "teacher"
    """Whose turns carry loss: `all` is the ablation in which the student's mistakes are learnt too."""
    pairs: Share = 0.0
    """Share of what was bought that is learnt as pairs: the teacher's turn against the student's, in one state."""
    pair_loss: LossSpec = LossSpec(name="dpo")
    """The loss on pairs."""
    explain: bool = False
    """Whether the teacher says what went wrong, as the reasoning of the recovery's first turn."""
    own: Share = 0.0
    """Share of what was bought that is the student's own successes."""


class RewriteRecipe(_Recipe):
    """The teacher labels every state that the student, or a mixture of both, visits."""

    way: Literal["rewrite"] = "rewrite"
    beta: tuple[Share, ...] = (0.0,)
    """Share of the turns that the teacher takes itself."""


class ChooseRecipe(_Finds):
    """The student tries several times from the point of divergence; the best is learnt, or preferred to the others."""

    way: Literal["choose"] = "choose"
    states: int = Field(default=128, gt=0)
    """From how many states: no budget of the teacher's ends this way."""
    attempts: int = Field(default=4, gt=1)
    """Tries from each state."""
    pairs: Share = 0.0
    """Share of what was bought that is learnt as pairs: a try that succeeded against one that failed."""
    pair_loss: LossSpec = LossSpec(name="dpo")
    """The loss on pairs."""


class ScoreRecipe(_Recipe):
    """The teacher scores what the student did: every token (the run's scorer), or every step."""

    way: Literal["score"] = "score"
    by: Literal["tokens", "steps"] = "tokens"
    """`steps`: those the teacher would not have taken stay in the context and carry no loss."""
    beta: tuple[Share, ...] = (0.0,)
    """Share of the turns that the teacher takes itself."""


Recipe = Annotated[
    CleanRecipe | TakeoverRecipe | RewriteRecipe | ChooseRecipe | ScoreRecipe, Field(discriminator="way")
]


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a TOML file, with overrides such as ``takeover.steps=5``.

    Raises:
        ConfigError: in one line, which key or value is wrong and what would be right.
    """
    values = read_values(path, overrides)
    classes = {each.model_fields["way"].default: each for each in get_args(get_args(Recipe)[0])}
    way = values.get("way")
    if way not in classes:
        raise ConfigError(
            f"{path}: a recipe needs way = one of {', '.join(classes)}, not {way!r}.{nearest(str(way), classes)}"
        )
    found: Recipe = validated(path, values, classes[way])
    return found


def needs_scorer(recipe: Recipe) -> bool:
    """Whether a recipe cannot be followed without the run's learned teacher."""
    needs = needs_of(load_loss(recipe.loss)) | needs_of(load_loss(recipe.replay_loss))
    scored = isinstance(recipe, ScoreRecipe) and recipe.by == "tokens"
    named = isinstance(recipe, TakeoverRecipe) and "scorer" in recipe.teachers
    return scored or named or bool(needs & {"teacher_logits", "teacher_logprobs"})


def asks_scorer(recipe: Recipe) -> bool:
    """Whether a recipe's results depend on who the run's learned teacher is."""
    return needs_scorer(recipe) or any(word in recipe.model_dump_json() for word in _SCORED)
