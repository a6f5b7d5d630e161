"""TRL's supervised fine-tuning: token ids, and labels that are -100 wherever there is no loss.

`trl.SFTTrainer` takes a data set with `input_ids` and `labels` as it is (seen in TRL 1.16): nothing is tokenised or
masked again. Set `max_length=None`, or rows are cut at 1024 tokens.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field

from agentdistill.records import Segment

Kind = Literal["clean", "recovery", "label", "choice", "own"]
Token = Annotated[int, Field(ge=0, strict=True)]

IGNORED = -100
"""The label of a token without loss, as PyTorch's cross entropy ignores it."""


def sft_row(segment: Segment) -> dict[str, Any]:
    """A training row: exactly the ids and the mask of the segment."""
    labels = [token if here else IGNORED for token, here in zip(segment.input_ids, segment.loss_mask, strict=True)]
    return {"input_ids": list(segment.input_ids), "labels": labels}


def read_sft_row(row: dict[str, Any], name: str) -> Segment:
    """The segment of a row with `input_ids` and `labels`, ours or anybody's; other keys may be there.

    A label on the first token of all is left out, as every trainer does: nothing stands before it to predict it from.

    Args:
        row: as it is in the file.
        name: what to call it, where the row has no `id`.

    Raises:
        ValueError: it has no ids or labels, or a label is neither -100 nor the token at its place.
    """
    said = _Labelled.model_validate(row)
    if len(said.labels) != len(said.input_ids):
        raise ValueError(f"{len(said.input_ids)} input_ids and {len(said.labels)} labels")
    mask = tuple(label != IGNORED for label in said.labels)
    if any(here and label != token for here, label, token in zip(mask, said.labels, said.input_ids, strict=True)):
        raise ValueError("a label is neither -100 nor the token at its place")
    called, kind = str(row.get("id") or name), row.get("kind")
    return Segment(
        id=called,
        kind=kind if kind in get_args(Kind) else "clean",
        trajectory_id=called,
        input_ids=said.input_ids,
        loss_mask=(False, *mask[1:]) if mask else (),
        tokens="inferred" if row.get("tokens") == "inferred" else "exact",
    )


class _Labelled(BaseModel):
    input_ids: tuple[Token, ...]
    labels: tuple[int, ...]
