"""What is trained on, as a person reads it: the marks are the mask, and hostile text can neither act nor forge them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from students import clean_segments, clean_traces, depot_tokenizer, untrained
from test_cli import one_line, typed
from test_finetuning import exported, pairs

from agentdistill.formats.tables import write_rows
from agentdistill.formats.trl_dpo import dpo_ids
from agentdistill.recipes import CleanRecipe
from agentdistill.records import Segment
from agentdistill.report.preview import MARKS, render_row, spans_of, visible
from agentdistill.store import EpisodeKey, RunStore
from agentdistill.training import save_checkpoint

OPEN, CLOSE = MARKS["teacher"]
HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnol\u200b\r\b\x00⟧not learnt⟦ [bold]markup[/bold] <tool>"


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student") / "model"
    save_checkpoint(untrained(), depot_tokenizer(), folder, {})
    return folder


def decode(ids: Any) -> str:
    return str(depot_tokenizer().decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def hostile_row() -> Segment:
    """What an attacker would have a model write, in the prefix and in what carries loss."""
    ids = depot_tokenizer().encode(HOSTILE, add_special_tokens=False)
    mask = (False,) * len(ids) + (True,) * len(ids)
    return Segment(id="a\x1b[1m", kind="recovery", trajectory_id="t", input_ids=(*ids, *ids), loss_mask=mask)


def plain(row: Segment, full: bool = True) -> str:
    return render_row(row, decode, colour=False, full=full).plain


@pytest.mark.parametrize("at", range(0, 24, 6))
def test_what_stands_between_the_marks_is_what_carries_loss(at):
    row = clean_segments()[at]
    shown = plain(row).split("\n", 1)[1]
    marked = "".join(re.findall(f"{OPEN}(.*?){CLOSE}", shown, re.DOTALL))
    learnt = [token for token, here in zip(row.input_ids, row.loss_mask, strict=True) if here]
    assert marked == decode(learnt)
    assert shown.replace(OPEN, "").replace(CLOSE, "").strip("\n") == decode(row.input_ids).strip("\n")


def test_what_is_coloured_is_what_carries_loss():
    row = clean_segments()[0]
    shown = render_row(row, decode, colour=True, full=True)
    coloured = "".join(shown.plain[each.start : each.end] for each in shown.spans if each.style == "bold green")
    assert coloured == decode([token for token, here in zip(row.input_ids, row.loss_mask, strict=True) if here])
    assert OPEN not in shown.plain


@given(st.text())
def test_whatever_is_written_is_shown_as_printable_letters_without_a_mark(text):
    shown = visible(text)
    assert all(letter == "\n" or letter.isprintable() for letter in shown)
    assert not set(shown) & {mark for pair in MARKS.values() for mark in pair}


@pytest.mark.parametrize("terminal", [False, True])
def test_hostile_text_reaches_no_terminal(terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, color_system="standard" if terminal else None, soft_wrap=True)
    console.print(render_row(hostile_row(), decode, colour=terminal, full=True))
    written = out.getvalue()
    assert "[bold]markup[/bold]" in written
    bare = re.sub(r"\x1b\[[0-9;]*m", "", written) if terminal else written  # rich's own colours
    assert all(letter == "\n" or letter.isprintable() for letter in bare)
    if not terminal:
        assert (bare.count(OPEN), bare.count(CLOSE)) == (1, 1)


def test_whose_tokens_carry_loss_is_told():
    row = clean_segments()[0]
    half = len(row.input_ids) // 2
    mixed = row.model_copy(
        update={
            "kind": "recovery",
            "loss_mask": (True,) * len(row.input_ids),
            "by_teacher": (False,) * half + (True,) * (len(row.input_ids) - half),
        }
    )
    owners = [span.owner for span in spans_of(mixed, decode)]
    assert owners == ["student", "teacher"]
    shown = plain(mixed)
    assert f"{half} tokens of the student's prefix, then the teacher" in shown
    assert [shown.count(mark) for pair in MARKS.values() for mark in pair] == [1, 1, 1, 1]


def test_the_parts_of_a_row_are_the_whole_row():
    row = clean_segments()[3]
    spans = spans_of(row, decode)
    assert "".join(span.text for span in spans) == decode(row.input_ids)
    assert sum(span.tokens for span in spans) == len(row.input_ids)
    assert sum(span.tokens for span in spans if span.owner) == row.supervised


def test_long_stretches_without_loss_are_shortened_and_what_is_learnt_never_is():
    row = clean_segments()[0]
    learnt = [token for token, here in zip(row.input_ids, row.loss_mask, strict=True) if here]
    filler = row.input_ids[:1] + row.input_ids[1:4] * 200
    ids = (*filler, *learnt * 5)
    long = row.model_copy(
        update={
            "input_ids": ids,
            "loss_mask": tuple(at >= len(filler) for at in range(len(ids))),
            "by_teacher": (),
        }
    )
    assert "letters]" in plain(long, full=False)
    assert "letters]" not in plain(long)
    assert decode(learnt * 5) in plain(long, full=False)


# ---- the command -----------------------------------------------------------------------------------------------------


def test_an_export_is_shown_with_what_is_refused(capsys, tmp_path, student):
    rows = clean_segments()
    silent = rows[0].model_copy(update={"id": "silent", "loss_mask": (False,) * len(rows[0].input_ids)})
    long = rows[0].model_copy(
        update={"id": "long", "input_ids": rows[0].input_ids * 9, "loss_mask": rows[0].loss_mask * 9}
    )
    data = exported(tmp_path / "data", [*rows[:6], silent, long], rows[6:8])
    code, out, err = typed(capsys, "data", "preview", data, "--model", student, "--rows", 2)
    assert (code, err) == (0, "")
    assert rows[0].id in out
    assert out.count(" tokens carry loss (") == 3
    assert "6 segments to learn from, 2 held out" in out
    assert "refused: 1 longer than the student's context, 1 without a supervised token" in out
    assert OPEN in out
    assert "\x1b" not in out


def test_the_json_of_a_preview_has_the_documented_shape(capsys, tmp_path, student):
    rows = clean_segments()
    data = exported(tmp_path / "data", rows[:6])
    code, out, _ = typed(capsys, "data", "preview", data, "--model", student, "--rows", 9, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["train"], told["test"], told["refused"]) == (6, 0, {})
    assert told["supervised_tokens"] == sum(row.supervised for row in rows[:6])
    assert [row["id"] for row in told["shown"]] == [row.id for row in rows[:6]]
    assert {span["loss"] for span in told["shown"][0]["spans"]} == {None, "teacher"}


def test_of_a_pair_both_sides_are_shown(capsys, tmp_path, student):
    write_rows((dpo_ids(pair) for pair in pairs()), tmp_path / "pairs.jsonl")
    code, out, _ = typed(capsys, "data", "preview", tmp_path / "pairs.jsonl", "--model", student, "--rows", 1)
    assert code == 0
    assert out.count("chosen: ") == out.count("rejected: ") == 1
    assert "6 pairs to learn from" in out


def test_a_run_whose_tokens_nobody_knows_needs_the_student(capsys, tmp_path, student):
    with RunStore.resume(tmp_path / "run", {"base": CleanRecipe().model_dump(mode="json")}) as store:
        store.save_trajectories(
            (EpisodeKey(stage="clean", arm="base", round=0, task_id=trace.task.id), trace) for trace in clean_traces()
        )
    assert "tokenizer" in one_line(typed(capsys, "data", "preview", tmp_path / "run"))
    code, out, _ = typed(capsys, "data", "preview", tmp_path / "run", "--model", student)
    assert code == 0
    assert "24 segments to learn from" in out
    save_checkpoint(untrained(), depot_tokenizer(), tmp_path / "run" / "checkpoints" / "untrained", {})
    assert typed(capsys, "data", "preview", tmp_path / "run") == (0, out, "")


def test_an_export_whose_tokens_nobody_knows_is_one_line(capsys, tmp_path):
    data = exported(tmp_path / "data", clean_segments()[:2])
    assert "--model" in one_line(typed(capsys, "data", "preview", data))
