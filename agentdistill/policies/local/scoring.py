"""Log-probabilities of given tokens under a local model, in pieces that bound what the logits take."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from agentdistill.policies.base import ScoreRequest, Scores

MOST_LOGITS = 2**26  # numbers, of one piece


def score(model: Any, requests: Sequence[ScoreRequest], most_tokens: int) -> list[Scores]:
    """Natural log-probabilities at temperature 1 of the wanted ids, each given all before it.

    Args:
        model: any causal language model.
        requests: none wants the first id.
        most_tokens: of one batch, padding included; a longer request is a batch of its own.
    """
    order = sorted(range(len(requests)), key=lambda at: len(requests[at].ids))
    scores: dict[int, Scores] = {at: Scores(()) for at in order if not requests[at].wanted}
    batch: list[int] = []
    for at in [at for at in order if at not in scores] + [-1]:
        if batch and (at < 0 or (len(batch) + 1) * len(requests[at].ids) > most_tokens):
            found = _score_batch(model, [requests[one] for one in batch])
            scores.update(zip(batch, found, strict=True))
            batch = []
        batch.append(at)
    return [scores[at] for at in range(len(requests))]


@torch.inference_mode()
def _score_batch(model: Any, requests: Sequence[ScoreRequest]) -> list[Scores]:
    """One batch, padded on the right: causal attention never looks there, and no mask is needed."""
    longest = max(len(request.ids) for request in requests) - 1  # nothing is asked behind the last id
    padded = [[*request.ids, *[0] * (longest + 1 - len(request.ids))] for request in requests]
    ids = torch.tensor(padded, device=model.device)
    begin = min(min(request.wanted) for request in requests) - 1
    vocabulary = model.config.get_text_config().vocab_size
    size = max(1, MOST_LOGITS // (len(requests) * vocabulary))
    # What comes before the first scored id is fed at once, and asked for the least that a model gives: one position.
    edges = [*([0] if begin else []), *range(begin, longest, size), longest]
    cached = {"past_key_values": DynamicCache(config=model.config), "use_cache": True}
    if "past_key_values" not in inspect.signature(model.forward).parameters:  # a recurrent one: all at once
        begin, edges, cached = 0, [0, longest], {}
    found = [torch.zeros(len(requests), begin, device=ids.device)]
    most = max(request.top for request in requests)
    likeliest: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by the position that predicts them
    for start, stop in itertools.pairwise(edges):
        output = model(input_ids=ids[:, start:stop], logits_to_keep=1 if stop <= begin else 0, **cached)
        if start >= begin:
            logprobs = torch.log_softmax(output.logits.float(), dim=-1)
            found.append(logprobs.gather(2, ids[:, start + 1 : stop + 1, None])[..., 0])
            if most:
                values, tokens = (each.cpu() for each in logprobs.topk(min(most, vocabulary - 1), dim=-1))
                likeliest |= {start + at: (tokens[:, at], values[:, at]) for at in range(stop - start)}
    told = torch.cat(found, dim=1).tolist()  # of the id behind each position
    return [
        Scores(
            tuple(row[place - 1] for place in request.wanted),
            tuple(_likeliest(*likeliest[place - 1], index, request.top) for place in request.wanted if request.top),
        )
        for index, (row, request) in enumerate(zip(told, requests, strict=True))
    ]


def _likeliest(tokens: torch.Tensor, values: torch.Tensor, row: int, top: int) -> tuple[tuple[int, float], ...]:
    return tuple(zip(tokens[row, :top].tolist(), values[row, :top].tolist(), strict=True))
