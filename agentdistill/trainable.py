"""Rows to train on, from any run or from an exported data set; and which of them a student cannot learn from."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy
from pydantic import ValidationError

from agentdistill.errors import ConfigError
from agentdistill.formats.tables import Split, read_rows, split_of
from agentdistill.formats.trl import read_sft_row
from agentdistill.formats.trl_dpo import read_dpo_row
from agentdistill.kept import Reader, kept_pairs, kept_rows, open_kept
from agentdistill.records import PreferencePair, Segment, Task
from agentdistill.store import FILE, RunStore
from agentdistill.training.sampling import Rows, are_pairs, sides

AnyRow = TypeVar("AnyRow", Segment, PreferencePair)
_ENDINGS = (".jsonl", ".parquet")
# What making rows of traces says, in the words that are used of rows.
EMPTY, TOO_LONG = "without a supervised token", "longer than the student's context"
_REASONS = {"NothingSupervisedError": EMPTY, "SegmentTooLongError": TOO_LONG}


@dataclass(frozen=True)
class TrainingData:
    """Segments, or preference pairs, and why others are not among them.

    Attributes:
        train: to learn from.
        test: to measure the loss on, where the data is split.
        refused: how many rows are left out, for which reason.
        reader: the tokenizer that a run's rows were made with; of an exported file nobody knows it.
    """

    train: Rows
    test: Rows = ()
    refused: Counter[str] = field(default_factory=Counter)
    reader: Reader | None = None

    @property
    def paired(self) -> bool:
        """Whether these are preference pairs."""
        return are_pairs(self.train) or are_pairs(self.test)

    @property
    def digest(self) -> str:
        """SHA-256 over what is learnt from and measured on, as 64 hex digits: ids and masks, in their order."""
        found = hashlib.sha256()
        for split in (self.train, self.test):
            found.update(b"split")
            for side in sides(split):
                found.update(len(side.input_ids).to_bytes(8, "big"))
                found.update(numpy.asarray(side.input_ids, "<i8").tobytes() + bytes(side.loss_mask))
        return found.hexdigest()


def read_training_data(
    source: Path,
    *,
    pairs: bool = False,
    arms: Sequence[str] = (),
    test_share: float | None = None,
    tokenizer: Path | None = None,
) -> TrainingData:
    """The rows of a run, or of a data set that was exported as `trl` or `trl-dpo`.

    Args:
        source: the folder of a run, that of an exported data set (`train` and, if there is one, `test`), or one file.
        pairs: of a run, its preference pairs instead of its segments; a data set holds either the one or the other.
        arms: of a run, from these arms only.
        test_share: of a run's tasks, set aside for testing, as an export of the run would (by default none).
        tokenizer: folder of the student, or of its tokenizer, where the run does not know it; checked against the run.

    Raises:
        ConfigError: there is nothing of the kind, a row cannot be read, or a setting does not go with the source.
        StoreError: the run cannot be read.
    """
    if is_run(source):
        return _read_run(source, pairs, arms, test_share or 0.0, tokenizer)
    if arms or test_share is not None:
        what = "arms" if arms else "test_share"
        raise ConfigError(f"{what} is for the folder of a run, and {source} is none")
    if source.is_file() and source.suffix in _ENDINGS:
        return TrainingData(_read_file(source))
    found = {side: _find(source, side) for side in ("train", "test")}
    if found["train"] is None:
        raise ConfigError(
            f"{source} is not the folder of a run, nor an exported data set (train.jsonl or train.parquet), nor such a "
            "file"
        )
    data = TrainingData(*(_read_file(path) if path else [] for path in found.values()))
    if data.test and isinstance(data.train[0], Segment) != isinstance(data.test[0], Segment):
        raise ConfigError(f"{source}: of train and test, one has segments and the other preference pairs")
    return data


def without_unfit(data: TrainingData, context: int, vocabulary: int) -> TrainingData:
    """The data without the rows that this student cannot learn from: refused and counted, never cut.

    Args:
        data: rows.
        context: most tokens that the student holds.
        vocabulary: how many ids it knows.

    Raises:
        ConfigError: a row has an id that the student does not know: its tokens are another tokenizer's.
    """
    refused = Counter(data.refused)
    train, test = (_fitting(rows, context, vocabulary, refused) for rows in (data.train, data.test))
    return replace(data, train=train, test=test, refused=refused)


def is_run(folder: Path) -> bool:
    """Whether a run is kept in this folder."""
    return (folder / FILE).is_file()


def told(data: TrainingData) -> str:
    """How many rows there are and how many are refused, with the reasons, in one line."""
    what = "pairs" if data.paired else "segments"
    line = f"{len(data.train):,} {what} to learn from"
    if data.test:
        line += f", {len(data.test):,} held out"
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(data.refused.items()))
    return f"{line}; refused: {reasons}" if reasons else line


def _fitting(rows: Rows, context: int, vocabulary: int, refused: Counter[str]) -> Any:
    fit = []
    for row in rows:
        both = tuple(sides([row]))  # type: ignore[arg-type]
        if (largest := max(max(side.input_ids, default=0) for side in both)) >= vocabulary:
            raise ConfigError(
                f"the row {row.id} has the id {largest}, and this student knows {vocabulary}: the rows were made with "
                "another tokenizer"
            )
        # The first token of all is predicted by nothing: it teaches nothing either.
        if not all(any(side.loss_mask[1:]) for side in both):
            refused[EMPTY] += 1
        elif max(len(side.input_ids) for side in both) > context:
            refused[TOO_LONG] += 1
        else:
            fit.append(row)
    return fit


def _read_run(
    folder: Path, pairs: bool, arms: Sequence[str], test_share: float, tokenizer: Path | None
) -> TrainingData:
    with RunStore.read(folder) as store:
        run = open_kept(store, arms, tokenizer)
        rows: Sequence[tuple[Task, Any]]
        if pairs:
            paired = kept_pairs(store, run.arms, run.kept, run.reader)
            rows, refused = paired.pairs, paired.refused
        else:
            single = kept_rows(store, run.arms, run.kept, run.reader)
            rows, refused = single.rows, single.refused
    split: dict[Split, list[Any]] = {"train": [], "test": []}
    for task, row in rows:
        split[split_of(task.content_hash, test_share)].append(row)
    told = Counter({_REASONS.get(reason, reason): count for reason, count in refused.items()})
    return TrainingData(split["train"], split["test"], told, run.reader)


def _find(folder: Path, side: str) -> Path | None:
    there = [path for ending in _ENDINGS if (path := folder / f"{side}{ending}").is_file()]
    if len(there) > 1:
        raise ConfigError(f"{folder} has both {there[0].name} and {there[1].name}: name one of them")
    return there[0] if there else None


def _read_file(path: Path) -> Any:
    """All rows of a file: segments, or preference pairs."""
    rows = list(read_rows(path))
    if not rows:
        raise ConfigError(f"{path} has no row")
    keys = rows[0].keys()
    if {"input_ids", "labels"} <= keys:
        return _read_all(rows, read_sft_row, path)
    if "prompt_ids" in keys:
        return _read_all(rows, read_dpo_row, path)
    if {"prompt", "chosen", "rejected"} <= keys:
        raise ConfigError(f"{path} has text and no ids: export it again with --tokenizer FOLDER, the student's")
    raise ConfigError(
        f"{path} has neither input_ids and labels (agentdistill export --format trl) nor prompt_ids, chosen_ids and "
        "rejected_ids (--format trl-dpo)"
    )


def _read_all(
    rows: Iterable[dict[str, Any]], read: Callable[[dict[str, Any], str], AnyRow], path: Path
) -> list[AnyRow]:
    found = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(read(row, f"{path.stem}-{number}"))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise ConfigError(f"{path}, row {number}: {where}: {problem['msg'].lower()}") from error
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{path}, row {number}: {error}") from error
    return found
