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
from agentdistill.records import PreferencePair, Recovery, Segment, Task, Trajectory
from agentdistill.segments import segments_of
from agentdistill.store import RunStore
from agentdistill.teaching import with_critique

_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
OWN_TOKENIZER = Path("checkpoints") / "untrained"
"""Where a run of the whole loop has its student's tokenizer."""
_STRAY = "of a trace that is not in the store"
_NO_TOKENS = (
    "the student's tokens are not known: name the folder of its tokenizer (--tokenizer FOLDER), or export messages"
)


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


@dataclass
class KeptPairs:
    """Preference pairs to train on, each with its task; `refused` counts what did not become one."""

    pairs: list[tuple[Task, PreferencePair]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Opened:
    """What is known of a run before its rows are made.

    Attributes:
        arms: see `arms_of`.
        kept: see `kept_traces`.
        refused: how many other traces there are, for which reason.
        reader: the tokenizer of the run's student, if there is one.
    """

    arms: dict[str, Recipe]
    kept: list[Kept]
    refused: Counter[str]
    reader: Reader | None


def open_kept(store: RunStore, wanted: Sequence[str] = (), tokenizer: Path | None = None) -> Opened:
    """The arms of a run that are wanted (by default all), what they keep, and the tokenizer: the one named, or its own.

    Raises:
        ConfigError: there is no such arm, or the tokenizer is not the one whose ids are in the run.
        StoreError: what is kept of an arm cannot be read.
    """
    arms, reader = arms_of(store, wanted), open_reader(store, (), tokenizer)
    kept, refused = kept_traces(store, arms, spoken=reader is None or reader.renderer.template.form.thought is None)
    if tokenizer is not None and reader is not None:
        _refuse_foreign(reader, kept, tokenizer)
    return Opened(arms, kept, refused, reader)


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
    trained = _bought(store, arms)
    tasks = _tasks(store) if trained else {}
    for row in (row for bought in trained.values() for each in bought for row in each.segments + each.own):
        if row.trajectory_id in tasks:
            found.rows.append((tasks[row.trajectory_id], row))
        else:
            found.refused[_STRAY] += 1
    for each in (each for each in kept if each.arm not in trained):
        if reader is None:
            raise ConfigError(_NO_TOKENS)
        rows, refused = segments_of(
            [each.trajectory], reader.renderer, reader.context, trained=each.trained, prefix=each.prefix
        )
        found.rows += [(each.trajectory.task, row) for row in rows]
        found.refused += refused
    return found


def kept_pairs(store: RunStore, arms: Mapping[str, Recipe], kept: Sequence[Kept], reader: Reader | None) -> KeptPairs:
    """The preference pairs of the run: those that its arms have bought; of arms without, those of their recoveries.

    See `kept_rows`, also for what is raised.
    """
    found = KeptPairs()
    paired = {arm: each for arm, each in _bought(store, arms).items() if any(bought.pairs for bought in each)}
    tasks = _tasks(store) if paired else {}
    for pair in (pair for bought in paired.values() for each in bought for pair in each.pairs):
        if pair.trajectory_id in tasks:
            found.pairs.append((tasks[pair.trajectory_id], pair))
        else:
            found.refused[_STRAY] += 1
    for one in (one for one in kept if one.arm not in paired):
        if one.recovery is None or one.failure is None:
            found.refused["no pair: a clean trace"] += 1
        elif reader is None:
            raise ConfigError(_NO_TOKENS)
        elif isinstance(made := reader.pair(one), str):
            found.refused[f"no pair: {made}"] += 1
        else:
            found.pairs.append((one.trajectory.task, made))
    return found


@dataclass(frozen=True)
class Reader:
    """A student's tokenizer, and how many tokens it holds."""

    renderer: Renderer
    context: int

    def pair(self, each: Kept) -> PreferencePair | str:
        """Chosen and rejected at the state that a recovery began in, or why there are none."""
        assert each.recovery is not None
        assert each.failure is not None
        pairs, refused = pairs_of([(each.recovery, each.failure)], self.renderer, self.context, after=True)
        return pairs[0] if pairs else next(iter(refused))


def open_reader(store: RunStore, kept: Sequence[Kept], tokenizer: Path | None = None) -> Reader | None:
    """The tokenizer of a run's student: the one named, else the one that the run knows; `None` if there is none.

    Raises:
        ConfigError: it cannot be loaded, or is not the one whose ids are in the run.
    """
    folder = tokenizer or _known_tokenizer(store)
    if folder is None:
        return None
    reader = Reader(*renderer_in(folder))
    if tokenizer is not None:
        _refuse_foreign(reader, kept, tokenizer)
        own = store.folder / OWN_TOKENIZER
        if own.is_dir() and renderer_in(own)[0].tokenizer.get_vocab() != reader.renderer.tokenizer.get_vocab():
            raise ConfigError(f"{tokenizer} has another vocabulary than the student of the run in {store.folder}")
    return reader


def _refuse_foreign(reader: Reader, kept: Sequence[Kept], folder: Path) -> None:
    """See that a tokenizer which was named is the one whose ids are in the run.

    Raises:
        ConfigError: a turn reads otherwise with it.
    """
    for each in kept:
        for at, step in enumerate(each.trajectory.steps):
            said = step.completion
            if said.token_ids and not _reads(reader.renderer, said.token_ids, said.message.content):
                raise ConfigError(
                    f"{folder} is not the tokenizer of this run's student: the ids of turn {at + 1} of "
                    f"{each.trajectory.id} read otherwise with it"
                )


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


def _bought(store: RunStore, arms: Mapping[str, Recipe]) -> dict[str, list[Bought]]:
    """What arms that were trained have bought, round by round."""
    found: dict[str, list[Bought]] = {}
    for name, value in store.results().items():
        stage, _, rest = name.partition("/")
        arm = rest.rpartition("/")[0]
        if stage == "bought" and arm in arms:
            found.setdefault(arm, []).append(Bought.load(value))
    return found


def _tasks(store: RunStore) -> dict[str, Task]:
    """The task of every trace in the store, by the trace's id."""
    tasks = {trace.id: trace.task for _, trace in store.trajectories()}
    return tasks | {recovery.trajectory.id: recovery.trajectory.task for _, recovery in store.recoveries()}


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
