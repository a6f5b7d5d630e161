"""Preference pairs: two ways to go on from one state, and the trees that all runs of one task make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from agentdistill.chat import Renderer
from agentdistill.errors import NothingSupervisedError, SegmentError, TemplateError
from agentdistill.records import Fork, Message, PreferencePair, Recovery, Segment, Trajectory, digest_of
from agentdistill.segments import Kind, rows_of
from agentdistill.teaching import Choice

Extent = Literal["step", "continuation"]


def pairs_of(
    found: Iterable[tuple[Recovery, Trajectory] | Choice],
    renderer: Renderer,
    context: int,
    *,
    extent: Extent = "step",
    unverified: bool = False,
    after: bool = False,
) -> tuple[list[PreferencePair], Counter[str]]:
    """Pairs at the very state of divergence, and how many candidates were refused for which reason.

    A recovery from before the mistake, with the failure it came from, gives the teacher's turn against the student's
    mistaken one (2602.03412). One that was kept although it began further back gives the pair at the state in which it
    began. A choice gives each better continuation against each worse one.

    Args:
        found: recoveries with the failed trajectories they left, and choices.
        renderer: of the student's tokenizer.
        context: longest row, in tokens; a pair with a longer one is refused.
        extent: `step`: only the first turns after the state differ and carry loss. `continuation`: all turns after it.
        unverified: whether recoveries that the hidden check did not pass give pairs too.
        after: whether recoveries from after the mistake do: the student's turn there is not known to be mistaken, only
            its run is known to have failed.
    """
    pairs: list[PreferencePair] = []
    refused: Counter[str] = Counter()
    for each in found:
        if isinstance(each, Choice):
            for better, worse in each.pairs:
                _add(
                    pairs, refused, (each.trajectory_id, each.step), better, worse, "choice", renderer, context, extent
                )
            continue
        recovery, failure = each
        reason = _unfit(recovery, failure, unverified, after)
        if reason:
            refused[reason] += 1
        else:
            state = fork_of(recovery)
            _add(pairs, refused, state, recovery.trajectory, failure, "takeover", renderer, context, extent)
    return pairs, refused


def fork_of(recovery: Recovery) -> tuple[str, int]:
    """The state that a recovery began in: which trajectory it left, and after how many steps."""
    fork = recovery.trajectory.parent
    return (fork.trajectory_id, fork.step) if fork else ("", 0)


def no_pair(recovery: Recovery, failure: Trajectory) -> str:
    """Why the two first turns after the state a recovery began in, the teacher's and the student's, are no pair.

    Empty if they are one. It is what `pairs_of` asks, `after` included, but for what a tokenizer has to say.
    """
    step = fork_of(recovery)[1]
    return _unfit(recovery, failure, unverified=False, after=True) or _alike(
        recovery.trajectory, failure, step, extent="step"
    )


def _unfit(recovery: Recovery, failure: Trajectory, unverified: bool, after: bool) -> str:
    """Why a recovery and the failure it came from give no pair, whatever was said in them; empty if they may."""
    climb = recovery.trajectory
    if climb.errored:
        return "infrastructure error"
    if recovery.place != "before" and not after:
        return "taken over after the mistake"
    if not (recovery.verified or unverified):
        return "not verified"
    if climb.parent is None or climb.parent.trajectory_id != failure.id:
        return "not of this failure"
    return ""


def _alike(better: Trajectory, worse: Trajectory, step: int, extent: Extent) -> str:
    """Why what two trajectories say after `step` steps cannot be told apart; empty if it can."""
    if min(len(better.steps), len(worse.steps)) <= step:
        return "nothing said after the state"
    if _same(better.steps[step].completion.message, worse.steps[step].completion.message) and (
        extent == "step" or better.messages() == worse.messages()
    ):
        return "both say the same"
    return ""


def _add(
    pairs: list[PreferencePair],
    refused: Counter[str],
    state: tuple[str, int],
    better: Trajectory,
    worse: Trajectory,
    source: Literal["takeover", "choice"],
    renderer: Renderer,
    context: int,
    extent: Extent,
) -> None:
    """Append the pair of these two, or count why there is none."""
    trajectory_id, step = state
    if reason := _alike(better, worse, step, extent):
        refused[reason] += 1
        return
    kind: Kind = "recovery" if source == "takeover" else "choice"
    try:
        chosen, rejected = (_row(each, step, renderer, context, extent, kind) for each in (better, worse))
        shared = min(chosen.loss_mask.index(True), rejected.loss_mask.index(True))
        if chosen.input_ids[:shared] != rejected.input_ids[:shared]:
            raise TemplateError("the two do not begin with the same ids")
    except SegmentError as error:
        refused[type(error).__name__] += 1
        return
    name = digest_of([source, extent, trajectory_id, step, better.id, worse.id])[:20]
    pairs.append(
        PreferencePair(id=name, trajectory_id=trajectory_id, step=step, chosen=chosen, rejected=rejected, source=source)
    )


def _row(trajectory: Trajectory, step: int, renderer: Renderer, context: int, extent: Extent, kind: Kind) -> Segment:
    """What was said after `step` steps as one row with loss: the first turn, or all of them."""
    last = step + 1 if extent == "step" else len(trajectory.steps)
    cut = trajectory.model_copy(
        update={"steps": trajectory.steps[:last], "parent": Fork(trajectory_id=trajectory.id, step=step)}
    )
    rows = rows_of(cut, renderer, context, kind=kind, trained="all")
    if len(rows) > 1:
        raise TemplateError("the continuation is more than one row: compare step by step")
    if not rows:
        raise NothingSupervisedError(f"trajectory {trajectory.id}: nothing after step {step}")
    return rows[0]


def _same(one: Message, other: Message) -> bool:
    """Whether two turns say the same; the names of calls do not count."""
    return one.content == other.content and [(c.name, c.arguments) for c in one.tool_calls] == [
        (c.name, c.arguments) for c in other.tool_calls
    ]


# ---- trees -----------------------------------------------------------------------------------------------------------


@dataclass
class Tree:
    """All that went on from one conversation: `runs` are those that pass here, `children` what they say next.

    `step` is how many turns lie behind; children are in the order in which they were first met.
    """

    step: int
    runs: list[Trajectory] = field(default_factory=list)
    children: list[Tree] = field(default_factory=list)

    def branches(self) -> Iterator[Tree]:
        """This node and all below it from which more than one way leads on."""
        if len(self.children) > 1:
            yield self
        for child in self.children:
            yield from child.branches()

    @property
    def value(self) -> float:
        """The share of the runs through here that succeeded."""
        return sum(run.succeeded for run in self.runs) / max(1, len(self.runs))


def tree_of(trajectories: Iterable[Trajectory]) -> Tree:
    """The runs of one task as a tree: what they have in common once, then each way on.

    Runs are the same up to where what they say or what the world answers differs. Errored, paused and repeated ones are
    left out.
    """
    root = Tree(0)
    branch: dict[tuple[int, str], Tree] = {}
    seen: set[str] = set()
    for run in trajectories:
        if run.errored or run.paused or run.id in seen:
            continue
        seen.add(run.id)
        here = root
        here.runs.append(run)
        for number, step in enumerate(run.steps, 1):
            said = step.completion.message.model_dump_json(exclude={"tool_calls": {"__all__": {"id"}}})
            answers = "".join(each.content for each in step.observations)
            key = (id(here), digest_of([said, answers]))
            if key not in branch:
                branch[key] = Tree(number)
                here.children.append(branch[key])
            here = branch[key]
            here.runs.append(run)
    return root


def pairs_in(
    tree: Tree, renderer: Renderer, context: int, *, extent: Extent = "step"
) -> tuple[list[PreferencePair], Counter[str]]:
    """All pairs of a tree: at each branching, a way on with a success against each that always failed.

    Of each way on, its first run that succeeded (or failed) stands for it.
    """
    pairs: list[PreferencePair] = []
    refused: Counter[str] = Counter()
    for node in tree.branches():
        good = [next(run for run in child.runs if run.succeeded) for child in node.children if child.value > 0]
        bad = [child.runs[0] for child in node.children if child.value == 0]
        for better in good:
            for worse in bad:
                state = (worse.id, node.step)
                _add(pairs, refused, state, better, worse, "takeover", renderer, context, extent)
    return pairs, refused


def forest_of(trajectories: Iterable[Trajectory]) -> Mapping[str, Tree]:
    """A tree for each task."""
    of: dict[str, list[Trajectory]] = {}
    for each in trajectories:
        of.setdefault(each.task.content_hash, []).append(each)
    return {task: tree_of(runs) for task, runs in of.items()}
