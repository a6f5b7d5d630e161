"""Training rows as a person reads them: what carries loss in colour or between marks, and whose words it is.

What models and tools wrote is hostile: nothing of it reaches the terminal but printable letters and line ends, and it
cannot draw the marks itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from rich.text import Text

from agentdistill.records import PreferencePair, Segment

Owner = Literal["teacher", "student"]
Decode = Callable[[Sequence[int]], str]
MARKS: dict[Owner, tuple[str, str]] = {"teacher": ("⟦", "⟧"), "student": ("⟪", "⟫")}
"""Around what carries loss, where there is no colour, by whose turn it is."""
_COLOURS: dict[Owner, str] = {"teacher": "bold green", "student": "bold cyan"}
_SHOWN = 400
"""Most letters of a stretch without loss that are shown, half of them from its end."""


@dataclass(frozen=True)
class Span:
    """Neighbouring tokens that are alike: their text, and of whose turn they are; of nobody's if they carry no loss."""

    text: str
    tokens: int
    owner: Owner | None


def visible(text: str) -> str:
    """`text` without anything that acts on a terminal or passes for a mark: such letters become ``<U+001B>``."""
    marks = {mark for pair in MARKS.values() for mark in pair}
    return "".join(
        letter if letter == "\n" or (letter.isprintable() and letter not in marks) else f"<U+{ord(letter):04X}>"
        for letter in text
    )


def spans_of(row: Segment, decode: Decode) -> list[Span]:
    """A row in spans, in its order; their texts together are the whole row's."""
    spans: list[Span] = []
    end, told = 0, ""
    for owner, group in groupby(_owners(row)):
        size = len(list(group))
        end += size
        # Only all of it together reads as it should: many tokenizers write a word's first token otherwise.
        whole = decode(row.input_ids[:end])
        text = whole[len(told) :] if whole.startswith(told) else decode(row.input_ids[end - size : end])
        told = whole
        spans.append(Span(text, size, owner))
    return spans


def render_row(row: Segment, decode: Decode, *, colour: bool, full: bool, title: str = "") -> Text:
    """A head that says what the row is, then its text.

    Args:
        row: what to show.
        decode: from ids to text, special tokens included.
        colour: tell what carries loss by colour; else by marks.
        full: show all that carries no loss as well, however long it is.
        title: put before the head.
    """
    shown = Text()
    shown.append(visible(f"{title}{row.id}  {_head(row)}\n"), style="bold" if colour else "")
    for span in spans_of(row, decode):
        text = visible(span.text)
        if span.owner is None:
            shown.append(text if full else _shortened(text), style="dim" if colour else "")
        elif colour:
            shown.append(text, style=_COLOURS[span.owner])
        else:
            begin, end = MARKS[span.owner]
            shown.append(f"{begin}{text}{end}")
    return shown.append("\n")


def render_rows(
    rows: Sequence[Segment] | Sequence[PreferencePair], decode: Decode, *, colour: bool, full: bool
) -> Iterator[Text]:
    """Each row as `render_row` has it; of a pair, both sides."""
    for row in rows:
        if isinstance(row, PreferencePair):
            yield render_row(row.chosen, decode, colour=colour, full=full, title=f"{row.id}, chosen: ")
            yield render_row(row.rejected, decode, colour=colour, full=full, title=f"{row.id}, rejected: ")
        else:
            yield render_row(row, decode, colour=colour, full=full)


def legend(colour: bool) -> Text:
    """What colours or marks stand for."""
    if not colour:
        return Text("carries loss: ⟦the teacher's⟧ ⟪the student's own⟫")
    shown = Text("carries loss: ").append("the teacher's", _COLOURS["teacher"])
    return (
        shown.append(" ").append("the student's own", _COLOURS["student"]).append("; not: ").append("the rest", "dim")
    )


def _owners(row: Segment) -> list[Owner | None]:
    """Whose each token is, if it carries loss. A row that does not say is known by its kind."""
    by_teacher = row.by_teacher or (row.kind not in ("own", "choice"),) * len(row.input_ids)
    return [
        None if not here else "teacher" if taught else "student"
        for here, taught in zip(row.loss_mask, by_teacher, strict=True)
    ]


def _head(row: Segment) -> str:
    """What a row is: its kind, who acted, how long it is, and how much of it carries loss."""
    length = len(row.input_ids)
    told: list[str] = [row.kind]
    if row.kind == "recovery" and any(row.by_teacher):
        told.append(f"{row.by_teacher.index(True):,} tokens of the student's prefix, then the teacher")
    share = row.supervised / length if length else 0.0
    told.append(f"{row.supervised:,} of {length:,} tokens carry loss ({share:.0%})")
    owners = Counter(owner for owner in _owners(row) if owner)
    told += [f"{count:,} the {owner}'s" for owner, count in owners.items()]
    return "; ".join([*told, f"ids {row.tokens}"])


def _shortened(text: str) -> str:
    if len(text) <= _SHOWN:
        return text
    half = _SHOWN // 2
    return f"{text[:half]} [{len(text) - 2 * half:,} letters] {text[-half:]}"


def row_facts(row: Segment | PreferencePair, decode: Decode) -> dict[str, Any]:
    """A row as plain JSON: what `render_row` shows, with its whole text."""
    if isinstance(row, PreferencePair):
        return {"id": row.id, "chosen": row_facts(row.chosen, decode), "rejected": row_facts(row.rejected, decode)}
    return {
        "id": row.id,
        "kind": row.kind,
        "ids": row.tokens,
        "tokens": len(row.input_ids),
        "supervised_tokens": row.supervised,
        "spans": [{"text": span.text, "tokens": span.tokens, "loss": span.owner} for span in spans_of(row, decode)],
    }
