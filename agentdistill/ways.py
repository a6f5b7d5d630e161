"""The ways of a teacher, each as one function: from a budget to rows and pairs that a student can learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentdistill.chat import Renderer
from agentdistill.collection import CHUNK, Bought, Collector
from agentdistill.curation import curate
from agentdistill.curriculum import at, delayed
from agentdistill.divergence import detector
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ConfigError
from agentdistill.pairs import pairs_of
from agentdistill.policies import Policy, Scorer
from agentdistill.policies.erring import Erring
from agentdistill.policies.informed import Informed
from agentdistill.policies.mixture import Mixture
from agentdistill.probing import Prober
from agentdistill.recipes import ChooseRecipe, CleanRecipe, Recipe, RewriteRecipe, ScoreRecipe, TakeoverRecipe
from agentdistill.records import Divergence, Recovery, Trajectory
from agentdistill.rollout import Rollout
from agentdistill.segments import segments_of
from agentdistill.takeover import Takeover
from agentdistill.teaching import choose, explain, rewrite, score_tokens, step_scores


@dataclass(frozen=True)
class People:
    """Who acts in a round.

    Attributes:
        student: its policy and its world; snapshots are kept.
        renderer: of the student's tokenizer.
        context: longest row it can hold, in tokens.
        teacher: makes the run's teacher of a style in a world with these options changed.
        scorer: the run's learned teacher, if it has one.
        named: makes any teacher that a recipe names, in the student's world.
    """

    student: Rollout
    renderer: Renderer
    context: int
    teacher: Callable[[str, Mapping[str, Any]], Rollout]
    scorer: Policy | None
    named: Callable[[str], Rollout]
    seed: int


def gather(recipe: Recipe, collector: Collector, people: People) -> Bought:
    """Spend the collector's budget in the recipe's way.

    Raises:
        ConfigError: the recipe needs somebody whom the run does not have.
    """
    if isinstance(recipe, CleanRecipe):
        _demonstrate(recipe, collector, people)
    elif isinstance(recipe, TakeoverRecipe):
        _take_over(recipe, collector, people)
    elif isinstance(recipe, RewriteRecipe):
        _rewrite(recipe, collector, people)
    elif isinstance(recipe, ChooseRecipe):
        _choose(recipe, collector, people)
    else:
        _score(recipe, collector, people)
    return collector.bought
