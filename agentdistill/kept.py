"""What a run has kept, read from its store alone: traces as its recipes have curated them, and the rows they learnt.

It reads runs of `agentdistill run` and of `agentdistill collect` alike. What was not kept is counted with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from agentdistill.bought import Bought
from agentdistill.chat import Renderer, Trained
from agentdistill.curation import Curated, curate
from agentdistill.errors import ConfigError, StoreError, nearest
from agentdistill.opening import renderer_in
from agentdistill.pairs import pairs_of
from agentdistill.recipes import CleanRecipe, Recipe, TakeoverRecipe
from agentdistill.records import Recovery, Segment, Task, Trajectory
from agentdistill.segments import segments_of
from agentdistill.store import RunStore
from agentdistill.teaching import with_critique

_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
OWN_TOKENIZER = Path("checkpoints") / "untrained"
"""Where a run of the whole loop has its student's tokenizer."""


@dataclass(frozen=True)
class Kept:
    """One trace that is kept: a recovery with the failure it left, or a clean trace.

    Attributes:
        trajectory: what happened, as it may be learnt from: of a teacher that was told a note, without its words.
        arm: of which arm of the run it is.
        trained: whose turns are learnt.
        prefix: whether a recovery's copied prefix is learnt too.
        recovery: the takeover that it is the trajectory of.
        failure: the student's run that was taken over.
    """

    trajectory: Trajectory
    arm: str
    trained: Trained = "teacher"
    prefix: bool = False
    recovery: Recovery | None = None
    failure: Trajectory | None = None

    @property
    def learnt(self) -> tuple[bool, ...]:
        """For each step, whether its turn carries loss: as `Renderer.rows` has it."""
        first = self.trajectory.parent.step if self.trajectory.parent and not self.prefix else 0
        return tuple(
            at >= first and self.trained in ("all", step.actor) and not step.completion.mistaken
            for at, step in enumerate(self.trajectory.steps)
        )


@dataclass
class KeptRows:
    """Rows to train on, each with its task; `refused` counts what did not become one."""

    rows: list[tuple[Task, Segment]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


def arms_of(store: RunStore, wanted: Sequence[str] = ()) -> dict[str, Recipe]:
    """The arms of a run with their recipes, or those of them that are wanted.

    Raises:
        ConfigError: the run has no arm of that name.
        StoreError: what is kept of an arm cannot be read.
    """
    config, arms = store.config, {}
    found = {name.removeprefix("arm/"): kept["recipe"] for name, kept in store.results().items() if name[:4] == "arm/"}
    if "base" in config:
        found = {"base": config["base"], **found}
    for name in wanted:
        if name not in found:
            raise ConfigError(f"the run in {store.folder} has no arm {name!r}.{nearest(name, found)}")
    for name, kept in found.items():
        if not wanted or name in wanted:
            try:
                arms[name] = _RECIPE.validate_python(kept)
            except ValueError as error:
                raise StoreError(f"{store.folder}: the recipe of arm {name!r} is of another version") from error
    return arms


def kept_traces(store: RunStore, arms: Mapping[str, Recipe], *, spoken: bool = True) -> tuple[list[Kept], Counter[str]]:
    """The traces that these arms keep, in the order of the store, and how many others there are for which reason.

    Args:
        store: of the run.
        arms: see `arms_of`.
        spoken: whether a critique is said aloud, where a recipe has it said: so for a student without thoughts.
    """
    kept: list[Kept] = []
    refused: Counter[str] = Counter()
    for arm, recipe in arms.items():
        if isinstance(recipe, CleanRecipe):
            clean = curate([trace for _, trace in store.trajectories("clean", arm)], recipe.curation)
            kept += [Kept(trace, arm) for trace in clean.kept]
            refused += clean.refused
        elif isinstance(recipe, TakeoverRecipe):
            found = _recoveries(store, arm, recipe, spoken)
            failures = {trace.id: trace for _, trace in store.trajectories("rollout", arm)}
            prefix = recipe.train == "all"
            kept += [
                Kept(each.trajectory, arm, recipe.train, prefix, each, failures.get(each.divergence.trajectory_id))
                for each in found.kept
            ]
            refused += found.refused
        else:
            refused[f"arm {arm} ({recipe.way}) keeps rows, and no traces"] += 1
    return kept, refused


def kept_rows(store: RunStore, arms: Mapping[str, Recipe], kept: Sequence[Kept], reader: Reader | None) -> KeptRows:
    """The rows of the run: those it has trained on, where it did; else those of its traces, for a student's tokenizer.

    Args:
        store: of the run.
        arms: of which rows are wanted.
        kept: traces of these arms.
        reader: the tokenizer for traces that no row has been made of.

    Raises:
        ConfigError: rows are to be made, and there is no tokenizer.
    """
    found = KeptRows()
    trained: set[str] = set()
    tasks = {trace.id: trace.task for _, trace in store.trajectories()}
    tasks |= {recovery.trajectory.id: recovery.trajectory.task for _, recovery in store.recoveries()}
    for name, value in store.results().items():
        stage, _, rest = name.partition("/")
        arm = rest.rpartition("/")[0]
        if stage != "bought" or arm not in arms:
            continue
        trained.add(arm)
        for row in (bought := Bought.load(value)).segments + bought.own:
            if row.trajectory_id in tasks:
                found.rows.append((tasks[row.trajectory_id], row))
            else:
                found.refused["of a trace that is not in the store"] += 1
    for each in (each for each in kept if each.arm not in trained):
        if reader is None:
            raise ConfigError(
                "the student's tokens are not known: name the folder of its tokenizer (--tokenizer FOLDER), or export "
                "messages"
            )
        rows, refused = segments_of(
            [each.trajectory], reader.renderer, reader.context, trained=each.trained, prefix=each.prefix
        )
        found.rows += [(each.trajectory.task, row) for row in rows]
        found.refused += refused
    return found


@dataclass(frozen=True)
class Reader:
    """A student's tokenizer, and how many tokens it holds."""

    renderer: Renderer
    context: int

    def pair(self, each: Kept) -> tuple[Segment, Segment] | str:
        """The ids of chosen and rejected at the state that a recovery began in, or why there are none."""
        assert each.recovery is not None
        assert each.failure is not None
        pairs, refused = pairs_of([(each.recovery, each.failure)], self.renderer, self.context, after=True)
        return (pairs[0].chosen, pairs[0].rejected) if pairs else next(iter(refused))


def open_reader(store: RunStore, kept: Sequence[Kept], tokenizer: Path | None = None) -> Reader | None:
    """The tokenizer of a run's student: the one named, else the one that the run knows; `None` if there is none.

    Raises:
        ConfigError: it cannot be loaded, or is not the one whose ids are in the run.
    """
    folder = tokenizer or _known_tokenizer(store)
    if folder is None:
        return None
    reader = Reader(*renderer_in(folder))
    for each in kept if tokenizer else ():
        for at, step in enumerate(each.trajectory.steps):
            said = step.completion
            if said.token_ids and not _reads(reader.renderer, said.token_ids, said.message.content):
                raise ConfigError(
                    f"{folder} is not the tokenizer of this run's student: the ids of turn {at + 1} of "
                    f"{each.trajectory.id} read otherwise with it"
                )
    return reader


def _known_tokenizer(store: RunStore) -> Path | None:
    own = store.folder / OWN_TOKENIZER
    if own.is_dir():
        return own
    told = store.config.get("tokenizer")
    return Path(told) if told else None


def _reads(renderer: Renderer, ids: Sequence[int], content: str) -> bool:
    """Whether these ids hold this text: all of it, since what else they hold may be calls and marks."""
    if max(ids) >= len(renderer.tokenizer):
        return False
    return content.strip() in str(renderer.tokenizer.decode(list(ids), skip_special_tokens=False))


def _recoveries(store: RunStore, arm: str, recipe: TakeoverRecipe, spoken: bool) -> Curated[Recovery]:
    """The takeovers of an arm as its recipe keeps them: each round on its own, as they were bought."""
    rounds: dict[int, list[Recovery]] = {}
    for key, recovery in store.recoveries("takeover", arm):
        rounds.setdefault(key.round, []).append(with_critique(recovery, spoken=spoken) if recipe.explain else recovery)
    together: Curated[Recovery] = Curated()
    for number, found in sorted(rounds.items()):
        success = _success(store, arm, number, recipe.curriculum.tasks != "fresh")
        curated = curate(found, recipe.curation, success=success)
        together.kept += curated.kept
        together.reasons |= curated.reasons
    return together


def _success(store: RunStore, arm: str, number: int, since_ever: bool) -> dict[str, float]:
    """The student's success rate on each task up to a round, or in that round alone, by the task's content hash."""
    ended: dict[str, list[bool]] = {}
    for key, trace in store.trajectories("rollout", arm):
        if not trace.errored and (key.round == number or (since_ever and key.round < number)):
            ended.setdefault(trace.task.content_hash, []).append(trace.succeeded)
    return {task: sum(runs) / len(runs) for task, runs in ended.items()}
