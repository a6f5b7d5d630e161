"""The card of a data set: what is in it, where it comes from, and how it is read; the licence is left to its owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_HOW = {
    "atif": "Each line is an ATIF 1.7 trajectory. Steps with `is_copied_context` are context and are not learnt.",
    "messages": "Each row has `messages` and `tools` as in OpenAI's chat completions; learn the messages with "
    "`train = true` and no others.",
    "trl": "Each row has `input_ids` and `labels` for `trl.SFTTrainer`, as they are: set `max_length=None`, and do not "
    "tokenise again.",
    "trl-dpo": "Each row has `prompt`, `chosen` and `rejected` for `trl.DPOTrainer`: what the teacher said at the "
    "divergence against what the student said there. Where there are `prompt_ids`, `chosen_ids` and `rejected_ids`, "
    "they are the same in the student's own tokens.",
}
_TOKENS = {
    "exact": "the very ids that the student sampled",
    "inferred": "found again from the text with the student's tokenizer",
    "none": "not known: text only",
}


@dataclass(frozen=True)
class Card:
    """The figures of a data set.

    Attributes:
        form: the name of its format.
        ending: of its files.
        rows: in each split.
        tasks: in each split.
        environments: where the tasks are from.
        recoveries: traces in which a teacher took over.
        clean: traces of a teacher alone.
        verified: how many of both passed the hidden check.
        students: models whose turns are context.
        teachers: models whose turns are learnt.
        detectors: which found the divergence, and how often.
        tokens: how the tokens were come by, in how many rows.
        split: how the rows were split.
    """

    form: str
    ending: str
    rows: Mapping[str, int]
    tasks: Mapping[str, int]
    environments: list[str]
    recoveries: int
    clean: int
    verified: int
    students: list[str]
    teachers: list[str]
    detectors: Mapping[str, int]
    tokens: Mapping[str, int]
    split: str


def render_card(card: Card) -> str:
    """The card as Markdown, with the head that hubs of data sets read. Names of models are shown as code."""
    files = "\n".join(f"      - split: {split}\n        path: {split}.{card.ending}" for split in card.rows)
    traces = card.recoveries + card.clean
    share = f"{card.verified / traces:.1%}" if traces else "none"
    rows = [
        ("format", card.form),
        ("rows", _counted(card.rows)),
        ("tasks", _counted(card.tasks)),
        ("split", card.split),
        ("environments", _named(card.environments)),
        ("traces", f"{card.recoveries} recoveries, {card.clean} clean"),
        ("verified by hidden tests", f"{card.verified} of {traces} ({share})"),
        ("students (context, not learnt)", _named(card.students)),
        ("teachers (learnt)", _named(card.teachers)),
        ("divergences found by", _counted(card.detectors) or "none"),
        ("tokens of the student", "; ".join(f"{n} rows {kind}: {_TOKENS[kind]}" for kind, n in card.tokens.items())),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"""---
license: # yours to say; it has to fit the tasks, and the terms of the teacher's maker
tags:
  - agentdistill
  - agent-trajectories
  - recovery
configs:
  - config_name: default
    data_files:
{files}
---

# Recovery traces

A student acted; where its run went wrong, world and conversation were restored, and a teacher took over and climbed
out.

| | |
|---|---|
{table}

{_HOW[card.form]}

Made by agentdistill.
"""


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _named(names: list[str]) -> str:
    shown = (" ".join(name.replace("`", "'").replace("|", "/").split()) for name in names)
    return ", ".join(f"`{name}`" for name in shown) or "none"
