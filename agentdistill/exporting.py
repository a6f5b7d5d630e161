"""What a run has kept, as data sets that other trainers and tools read: one folder, split by task, with its card."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentdistill.errors import ConfigError
from agentdistill.formats.atif import write_atif
from agentdistill.formats.messages import messages_row
from agentdistill.formats.tables import Split, need_parquet, split_of, write_rows
from agentdistill.formats.trl import sft_row
from agentdistill.formats.trl_dpo import dpo_ids, dpo_row
from agentdistill.kept import Kept, Reader, kept_rows, open_kept
from agentdistill.pairs import fork_of, no_pair
from agentdistill.records import Task, Trajectory
from agentdistill.redaction import redact
from agentdistill.report.card import Card, render_card
from agentdistill.store import RunStore

Format = Literal["atif", "messages", "trl", "trl-dpo"]
FORMATS: tuple[Format, ...] = ("atif", "messages", "trl", "trl-dpo")
SplitBy = Literal["task", "none"]


@dataclass
class Exported:
    """What was written: the rows of each split, and why others were not."""

    folder: Path
    rows: dict[Split, int] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Row:
    """One row, the task it is of, and how its tokens were come by."""

    task: Task
    tokens: str
    value: dict[str, Any]


def export(
    folder: Path,
    form: Format,
    out: Path,
    *,
    split_by: SplitBy = "task",
    test_share: float = 0.1,
    parquet: bool = False,
    arms: Sequence[str] = (),
    tokenizer: Path | None = None,
) -> Exported:
    """Write what the run in `folder` has kept to the folder `out`: one file for each split, and `README.md`.

    Args:
        folder: of any run.
        form: one of `FORMATS`.
        out: a folder that is empty or does not exist.
        split_by: `task`: no task is on both sides; `none`: all rows are for training.
        test_share: of the tasks, for testing.
        parquet: Parquet instead of JSON lines.
        arms: of which arms; by default all.
        tokenizer: folder with the student's tokenizer, for ids, where the run does not know it.

    Raises:
        ConfigError: the folder is in use or cannot be written, or something is missing for the format; the message
            says what.
        StoreError: `folder` holds no run.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not an empty folder: name another one for --out")
    if parquet:
        need_parquet()
    with RunStore.read(folder) as store:
        run = open_kept(store, arms, tokenizer)
        kept, refused = run.kept, run.refused
        found = list(_rows(store, run.arms, kept, form, run.reader, refused))
    if not found:
        reasons = ", ".join(f"{count} {reason}" for reason, count in refused.items()) or "no trace at all"
        raise ConfigError(f"the run in {folder} has nothing to export as {form} ({reasons})")
    done = Exported(out, refused=refused)
    sides: dict[Split, list[Row]] = {"train": [], "test": []}
    for row in found:
        sides[split_of(row.task.content_hash, test_share) if split_by == "task" else "train"].append(row)
    ending = "parquet" if parquet else "jsonl"
    with _whole(out) as part:
        for side, rows in sides.items():
            if rows:
                done.rows[side] = write_rows((row.value for row in rows), part / f"{side}.{ending}")
        write_card(part, form, ending, sides, kept, split_by, test_share)
    return done


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the end: who finds `out` finds all of it."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as kept:
            part = Path(kept) / out.name
            part.mkdir()
            yield part
            part.rename(out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}") from error


def write_card(
    out: Path,
    form: Format,
    ending: str,
    sides: dict[Split, list[Row]],
    kept: Sequence[Kept],
    split_by: SplitBy,
    test_share: float,
) -> None:
    """Write the data set's card, with the figures of what was written."""
    rows = [row for side in sides.values() for row in side]
    card = Card(
        form=form,
        ending=ending,
        rows={side: len(found) for side, found in sides.items() if found},
        tasks={side: len({row.task.content_hash for row in found}) for side, found in sides.items() if found},
        environments=sorted({row.task.environment for row in rows}),
        recoveries=sum(each.recovery is not None for each in kept),
        clean=sum(each.recovery is None for each in kept),
        verified=sum(each.trajectory.succeeded for each in kept),
        students=_models(kept, "student"),
        teachers=_models(kept, "teacher"),
        detectors=Counter(each.recovery.divergence.detector for each in kept if each.recovery),
        tokens=Counter(row.tokens for row in rows),
        split=f"by task, {test_share:.0%} of them for testing" if split_by == "task" else "none",
    )
    (out / "README.md").write_text(render_card(card), "utf-8")


def _rows(
    store: RunStore, recipes: Any, kept: Sequence[Kept], form: Format, reader: Reader | None, refused: Counter[str]
) -> Iterator[Row]:
    if form == "trl":
        rows = kept_rows(store, recipes, kept, reader)
        refused += rows.refused
        for task, segment in rows.rows:
            if _spells_secret(reader, segment.input_ids):
                refused["its ids spell a secret"] += 1
                continue
            told = {"id": segment.id, "task": task.id, "kind": segment.kind, "tokens": segment.tokens}
            yield Row(task, segment.tokens, {**sft_row(segment), **told})
        return
    for each in kept:
        task, told = each.trajectory.task, _about(each)
        if form == "atif":
            yield Row(task, told["tokens"], write_atif(_without_truth(each), world=_restored_world(each)))
        elif form == "messages":
            yield Row(task, told["tokens"], {**told, **messages_row(each.trajectory, each.learnt)})
        elif each.recovery is not None and each.failure is not None:
            if reason := no_pair(each.recovery, each.failure):
                refused[f"no pair: {reason}"] += 1
                continue
            row = dpo_row(each.trajectory, each.failure, fork_of(each.recovery)[1])
            if reader is None:
                yield Row(task, "none", {**row, **told, "tokens": "none"})
                continue
            pair = reader.pair(each)
            if isinstance(pair, str):
                refused[f"no pair: {pair}"] += 1
            elif any(_spells_secret(reader, side.input_ids) for side in (pair.chosen, pair.rejected)):
                refused["its ids spell a secret"] += 1
            else:
                tokens = pair.rejected.tokens
                yield Row(task, tokens, {**row, **dpo_ids(pair), **told, "tokens": tokens})
        else:
            refused["no pair: a clean trace"] += 1


def _spells_secret(reader: Reader | None, ids: Sequence[int]) -> bool:
    """Whether these ids say what may not be written down: in text it would be replaced, in ids it cannot be."""
    if reader is None:
        return False
    text = str(reader.renderer.tokenizer.decode(list(ids), skip_special_tokens=False))
    return redact(text) != text


def _about(each: Kept) -> dict[str, Any]:
    """What every row says of its trace."""
    trace = each.trajectory
    steps = trace.steps
    told: dict[str, Any] = {
        "id": trace.id,
        "task": trace.task.id,
        "kind": "recovery" if each.recovery else "clean",
        "arm": each.arm,
        "student": each.failure.policy if each.failure else "",
        "teacher": trace.policy,
        "verified": trace.succeeded,
        "reward": trace.verdict.score if trace.verdict else None,
        "tokens": _tokens(trace),
    }
    if each.recovery:
        found = each.recovery.divergence
        told |= {"divergence": found.step, "detector": found.detector, "takeover_step": fork_of(each.recovery)[1]}
    return told | {"steps": len(steps)}


def _tokens(trace: Trajectory) -> str:
    """How the tokens of the student's turns were come by: `exact`, `inferred`, or `none` where they are not known."""
    said = [step.completion for step in trace.steps if step.actor == "student"]
    if not all(each.token_ids for each in said):
        return "none"
    return "inferred" if any(each.inferred for each in said) else "exact"


def _models(kept: Sequence[Kept], actor: str) -> list[str]:
    """Who acted, by the names that models go by."""
    return sorted(
        {
            step.completion.model or each.trajectory.policy
            for each in kept
            for step in each.trajectory.steps
            if step.actor == actor
        }
    )


def _restored_world(each: Kept) -> str:
    """The digest of the world in which a recovery began; empty where there is none."""
    parent = each.trajectory.parent
    world = each.trajectory.world(parent.step) if parent else None
    return world.world_digest if world else ""


def _without_truth(each: Kept) -> Any:
    """The trace without what only the environment knows: the task's data, the verdict's words, and the worlds.

    A world has the environment's state, which may hold verdicts of a task's earlier steps, and its luck.
    """
    trace = each.trajectory
    steps = tuple(step.model_copy(update={"snapshot": None}) for step in trace.steps)
    verdict = trace.verdict and trace.verdict.model_copy(update={"detail": ""})
    bare = trace.model_copy(
        update={
            "task": trace.task.model_copy(update={"data": {}}),
            "start": None,
            "steps": steps,
            "verdict": verdict,
        }
    )
    return bare if each.recovery is None else each.recovery.model_copy(update={"trajectory": bare})
