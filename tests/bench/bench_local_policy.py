"""Tokens per second of local sampling: `python tests/bench/bench_local_policy.py [episodes] [turns]`.

The same conversations, one model, one process, three ways, in turn: `LocalPolicy.act`; one batched `model.generate` per
turn, which feeds every conversation from its beginning; and the continuous batching of transformers (`generate_batch`,
its manager and its shared blocks kept between turns). Greedy, so that all must say the same: it is compared. Ours is
timed with its chat template and tokenizer, the other two without. Settings by environment: THREADS, ROUNDS, HIDDEN,
LAYERS, NEW (tokens a turn), RESULT (longest tool result, in words).
"""

from __future__ import annotations

import logging
import os
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from agentdistill.policies import Request
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.tiny import TinyConfig, make_student, make_tokenizer
from agentdistill.records import Message

THREADS, ROUNDS = int(os.environ.get("THREADS", "1")), int(os.environ.get("ROUNDS", "3"))
HIDDEN, LAYERS = int(os.environ.get("HIDDEN", "128")), int(os.environ.get("LAYERS", "4"))
NEW, RESULT = int(os.environ.get("NEW", "24")), int(os.environ.get("RESULT", "80"))
OPENING = 100
WORDS = [
    f"{head}{tail}" for head in ("bolt", "cup", "shelf", "crate", "lamp") for tail in ("s", "ing", "ed", "er", "ly")
]
Say = Callable[[list[list[int]]], list[list[int]]]
Prompts = list[list[list[int]]]


def words(luck: np.random.Generator, count: int) -> str:
    """So many words, by chance."""
    return " ".join(luck.choice(WORDS, count))


def play(policy: LocalPolicy, episodes: int, turns: int) -> tuple[float, Prompts, Prompts]:
    """Seconds in `act`, and what each conversation was fed and said in each turn."""
    luck = np.random.default_rng(0)
    system = Message(role="system", content="You put things where they belong.")
    talks = [[system, Message(role="user", content=words(luck, OPENING))] for _ in range(episodes)]
    known: list[list[int]] = [[] for _ in talks]
    covered = [0] * episodes
    fed: Prompts = []
    said: Prompts = []
    spent = 0.0
    for _ in range(turns):
        asked = [
            Request(messages=tuple(talk), context_ids=tuple(ids), covered=count)
            for talk, ids, count in zip(talks, known, covered, strict=True)
        ]
        began = time.perf_counter()
        answers = policy.act(asked)
        spent += time.perf_counter() - began
        fed.append([[*ids, *answer.context_ids] for ids, answer in zip(known, answers, strict=True)])
        said.append([list(answer.token_ids) for answer in answers])
        for row, answer in enumerate(answers):
            known[row] = [*fed[-1][row], *answer.token_ids]
            covered[row] = len(talks[row]) + 1
            result = Message(role="tool", content=words(luck, int(luck.integers(10, RESULT))))
            talks[row] += [answer.message, result]
    return spent, fed, said


def again(say: Say, fed: Prompts, said: Prompts) -> tuple[float, int]:
    """Seconds for the same turns said another way, and how many of them differ."""
    spent, differing = 0.0, 0
    for prompts, expected in zip(fed, said, strict=True):
        began = time.perf_counter()
        found = say(prompts)
        spent += time.perf_counter() - began
        differing += sum(a != b for a, b in zip(found, expected, strict=True))
    return spent, differing


def generating(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Say:
    """One padded `generate` for all."""

    def say(prompts: list[list[int]]) -> list[list[int]]:
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        out = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW, pad_token_id=0)
        return [cut(row, tokenizer.eos_token_id) for row in out[:, longest:].tolist()]

    return say


def cut(ids: list[int], stop: int) -> list[int]:
    """A turn without the padding behind its stop token."""
    return ids[: ids.index(stop) + 1] if stop in ids else ids


def continuous(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tokens: int) -> Say:
    """The continuous batching of transformers."""
    config = GenerationConfig(
        do_sample=False, max_new_tokens=NEW, eos_token_id=tokenizer.eos_token_id, pad_token_id=0, use_cuda_graph=False
    )
    batching = ContinuousBatchingConfig(
        page_size=16, num_blocks=2 * tokens // 16, max_batch_tokens=4096, return_logprobs=True
    )

    def say(prompts: list[list[int]]) -> list[list[int]]:
        out = model.generate_batch(
            prompts, generation_config=config, continuous_batching_config=batching, persistent_manager=True
        )
        return [list(each.generated_tokens) for each in out.values()]

    return say


def main() -> None:
    """Print the table."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    torch.set_num_threads(THREADS)
    episodes, turns = (int(number) for number in [*sys.argv[1:], "16", "10"][:2])
    config = TinyConfig(vocabulary=2000, hidden=HIDDEN, layers=LAYERS, heads=HIDDEN // 32, context=8192)
    luck = np.random.default_rng(1)
    tokenizer = make_tokenizer([words(luck, 50) for _ in range(50)], config)
    model = make_student(tokenizer, config, 0)
    times: dict[str, list[float]] = {"ours": [], "generate": [], "generate_batch": []}
    differing = dict.fromkeys(times, 0)
    for number in range(ROUNDS + 1):  # the first one warms up
        policy = LocalPolicy(model, tokenizer, Sampling(temperature=0.0, max_new_tokens=NEW))
        spent, fed, said = play(policy, episodes, turns)
        longest = max(len(prompt) for prompt in fed[-1])
        ways: dict[str, Say] = {"generate": generating(model, tokenizer)}
        if os.environ.get("PEER", "1") == "1":
            ways["generate_batch"] = continuous(model, tokenizer, episodes * (longest + 64))
        found = {"ours": (spent, 0)} | {name: again(say, fed, said) for name, say in ways.items()}
        print({name: round(seconds, 1) for name, (seconds, _) in found.items()}, file=sys.stderr, flush=True)
        for name, (seconds, wrong) in found.items():
            if number:
                times[name].append(seconds)
                differing[name] += wrong
    tokens = sum(len(turn) for row in said for turn in row)
    parameters = sum(each.numel() for each in model.parameters())
    print(
        f"{episodes} episodes x {turns} turns, {tokens} sampled tokens, contexts up to {longest}, Llama of "
        f"{parameters:,} parameters ({LAYERS} x {HIDDEN}), {THREADS} thread(s), medians of {ROUNDS} rounds"
    )
    print(f"{'':16} {'tokens/s':>9} {'slowest':>9} {'fastest':>9} {'ours is':>8} {'turns that differ':>18}")
    base = statistics.median(times["ours"])
    for name, values in times.items():
        if values:
            rates = [tokens / value for value in sorted(values, reverse=True)]
            ratio = statistics.median(values) / base
            print(
                f"{name:16} {statistics.median(rates):9.0f} {rates[0]:9.0f} {rates[-1]:9.0f} {ratio:7.2f}x "
                f"{differing[name]:18}"
            )


if __name__ == "__main__":
    main()
