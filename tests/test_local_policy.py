"""Sampling with kept keys and values says what sampling without says: whoever joins, leaves, forks or is forgotten."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from agentdistill_environments.depot import Depot
from hypothesis import given, settings
from hypothesis import strategies as st
from students import SMALL, depot_student, depot_tokenizer, play, specs_of, untrained
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    Qwen3Config,
)

from agentdistill.errors import PolicyError
from agentdistill.policies import Request
from agentdistill.policies.base import Joinable, Scorer, ScoreRequest
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.local.continuous import ContinuousBatch
from agentdistill.policies.local.plain import PlainBatches
from agentdistill.policies.local.prefixes import Prefixes
from agentdistill.policies.local.probing import probe
from agentdistill.policies.local.sampling import Turn, choose
from agentdistill.records import Completion, Message
from agentdistill.rollout import Rollout

STOP = 1
GREEDY = Sampling(temperature=0.0)


def tiny_llama() -> LlamaForCausalLM:
    """Untrained, and loud: what it says depends on all it has read."""
    model = untrained(3)
    with torch.no_grad():
        for name, each in model.named_parameters():
            if "layers" in name and each.ndim == 2:
                each.mul_(4)
    return model.eval()


MODEL = tiny_llama()
SHAPE = probe(MODEL)


def plainly(model: Any, prompt: list[int], room: int, seed: int = 0, sampling: Sampling = GREEDY) -> Turn:
    """The turn of one conversation alone, with nothing kept."""
    batch = PlainBatches(model, sampling, {STOP})
    batch.submit(Turn(list(prompt), seed, room))
    (turn,) = batch.advance()
    return turn


def drain(batch: ContinuousBatch) -> None:
    """Go on until nobody is there."""
    while batch.rows or batch.waiting:
        batch.advance()


def ids(count: int, seed: int) -> list[int]:
    """Ids without the stop token."""
    return torch.randint(2, 250, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whoever_joins_leaves_forks_or_is_forgotten_every_conversation_says_what_it_says_alone(data: Any) -> None:
    assert SHAPE is not None
    room = data.draw(st.sampled_from([0, 20_000, 60_000, 10**9]), label="cache_bytes")
    sampling = Sampling(
        temperature=data.draw(st.sampled_from([0.0, 1.0])),
        batch=data.draw(st.integers(1, 4)),
        prefill_tokens=data.draw(st.sampled_from([5, 40, 4096])),
        cache_bytes=room,
    )
    batch = ContinuousBatch(MODEL, SHAPE, sampling, {STOP})
    talks = [ids(5 + number, number) for number in range(2)]
    open_turns: list[Turn] = []
    checked = 0

    def settle(done: list[Turn]) -> None:
        nonlocal checked
        for turn in done:
            alone = plainly(MODEL, turn.prompt, turn.room, turn.seed, sampling)
            assert turn.sampled == alone.sampled
            assert turn.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
            open_turns.remove(turn)
            talks.append([*turn.prompt, *turn.sampled])
            checked += 1
        assert len(batch.rows) <= sampling.batch
        assert batch.prefixes.bytes <= max(0, room - batch.slots.bytes)
        assert batch.bytes <= room or len(batch.rows) <= 1

    for number in range(data.draw(st.integers(2, 14))):
        if data.draw(st.booleans()):
            talk = data.draw(st.sampled_from(talks))
            kept = data.draw(st.integers(1, len(talk)))  # a fork, unless it is all of it
            prompt = [*talk[:kept], *ids(data.draw(st.integers(1, 12)), 100 + number)]
            turn = Turn(prompt, number, data.draw(st.integers(1, 6)))
            open_turns.append(turn)
            batch.submit(turn)
        else:
            settle(batch.advance())
    while open_turns:
        settle(batch.advance())
    assert not batch.rows
    assert not batch.waiting


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.3])
@pytest.mark.parametrize("peak", [0.1, 2.0, 6.0])
def test_the_likeliest_of_a_large_vocabulary_decide_as_all_of_it_does(monkeypatch, top_p: float, peak: float) -> None:
    logits = peak * torch.randn(40, 9000, generator=torch.Generator().manual_seed(0))
    turns = [Turn([1], seed, 1) for seed in range(40)]
    few = choose(logits, turns, Sampling(top_p=top_p))
    monkeypatch.setattr("agentdistill.policies.local.sampling.LARGE", 10**6)
    everything = choose(logits, turns, Sampling(top_p=top_p))
    assert [token for token, _ in few] == [token for token, _ in everything]
    assert [logprob for _, logprob in few] == pytest.approx([logprob for _, logprob in everything], abs=1e-5)


def test_only_what_is_new_is_fed_again() -> None:
    assert SHAPE is not None
    batch = ContinuousBatch(MODEL, SHAPE, GREEDY, {STOP})
    first = Turn(ids(50, 0), 0, 4)
    batch.submit(first)
    drain(batch)
    assert batch.fed == 50 + 3  # the last sampled id is not fed
    batch.submit(Turn([*first.prompt, *first.sampled, *ids(7, 1)], 0, 1))
    drain(batch)
    assert batch.fed == 50 + 3 + 1 + 7
    batch.submit(Turn([*first.prompt[:30], *ids(5, 2)], 0, 1))  # a fork
    drain(batch)
    assert batch.fed == 50 + 3 + 1 + 7 + 5


def test_what_was_used_the_longest_time_ago_is_forgotten_and_fed_again() -> None:
    assert SHAPE is not None
    slot = 64 * SHAPE.bytes
    batch = ContinuousBatch(MODEL, SHAPE, GREEDY.model_copy(update={"cache_bytes": slot + 45 * SHAPE.bytes}), {STOP})
    prompts = [[10 + number, *ids(19, number)] for number in range(3)]
    for number in (0, 1, 0, 2):  # 0 is used again, so that 2 drives out 1
        batch.submit(Turn(prompts[number], 0, 1))
        drain(batch)
    assert batch.bytes <= slot + 45 * SHAPE.bytes
    fed = []
    for number in (0, 2, 1):
        before = batch.fed
        batch.submit(Turn([*prompts[number], 5], 0, 1))
        drain(batch)
        fed.append(batch.fed - before)
    assert fed == [1, 1, 21]


def test_what_other_weights_left_behind_is_not_used() -> None:
    model = copy.deepcopy(MODEL)
    policy = LocalPolicy(model, depot_tokenizer(), Sampling(temperature=0.0, max_new_tokens=8))
    asked = [Request(messages=(Message(role="user", content="ship: bolt red"),))]
    policy.act(asked)
    with torch.no_grad():
        for each in model.parameters():
            each.mul_(-1.5)
    trained = LocalPolicy(copy.deepcopy(model), depot_tokenizer(), policy.sampling)
    assert policy.act(asked) == trained.act(asked)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=12), st.integers(0, 30))
def test_the_longest_kept_prefix_is_found_and_is_what_was_put_there(rows: list[list[int]], most: int) -> None:
    def told(row: list[int]) -> torch.Tensor:  # what stands for a token depends on all before it
        return torch.tensor([[[[hash(tuple(row[: at + 1])) % 10007]] for at in range(len(row))]])

    kept = Prefixes(1)
    for row in rows:
        kept.keep(row, lambda start, stop, row=row: (told(row)[:, start:stop], told(row)[:, start:stop]))
        found = kept.find(row)
        assert sum(piece.keys.shape[1] for piece in found) == len(row)
        assert torch.equal(torch.cat([piece.keys for piece in found], 1), told(row))
        assert [piece.start for piece in found] == [
            sum(piece.keys.shape[1] for piece in found[:at]) for at in range(len(found))
        ]
    assert kept.tokens == len({tuple(row[: at + 1]) for row in rows for at in range(len(row))})
    kept.shrink(most)
    assert kept.tokens <= most
    assert kept.tokens == sum(len(node.ids) for node in nodes(kept._root))


def nodes(node: Any) -> list[Any]:
    return [node, *(each for child in node.children.values() for each in nodes(child))]


def of_kind(kind: str) -> Any:
    """A tiny model of an architecture, loud enough to tell a wrong mask from a right one."""
    torch.manual_seed(0)
    size = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 256,
    }
    if kind == "mamba":
        model: Any = MambaForCausalLM(MambaConfig(vocab_size=400, hidden_size=32, num_hidden_layers=2, state_size=8))
    elif kind == "gemma3, sliding and full":
        layers = ["sliding_attention", "sliding_attention", "full_attention"]
        model = Gemma3ForCausalLM(Gemma3TextConfig(**size, sliding_window=8, layer_types=layers))
    else:
        config = {
            "qwen3": lambda: Qwen3Config(**size),
            "mistral, sliding": lambda: MistralConfig(**size, sliding_window=8),
            "gpt2": lambda: GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=256),
        }[kind]()
        model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for each in model.parameters():
            if each.ndim == 2:
                each.mul_(3)
    return model.eval()


@pytest.mark.parametrize("kind", ["qwen3", "mistral, sliding", "gemma3, sliding and full", "gpt2"])
def test_architectures_whose_keys_and_values_can_be_kept(kind: str) -> None:
    model = of_kind(kind)
    shape = probe(model)
    assert shape is not None
    batch = ContinuousBatch(model, shape, GREEDY, {STOP})
    turns = [Turn(ids(count, count), 0, 12) for count in (3, 30, 17)]
    for _ in range(3):
        for turn in turns:
            batch.submit(turn)
        drain(batch)
        for turn in turns:
            assert turn.sampled == plainly(model, turn.prompt, turn.room).sampled
        turns = [Turn([*turn.prompt, *turn.sampled, *ids(9, 5)], 0, 12) for turn in turns]


def test_a_model_whose_state_cannot_be_kept_is_sampled_plainly() -> None:
    model = of_kind("mamba")
    assert probe(model) is None
    policy = LocalPolicy(model, depot_tokenizer(), Sampling(temperature=0.0, max_new_tokens=5))
    assert isinstance(policy.batch, PlainBatches)
    (answer,) = policy.act([Request(messages=(Message(role="user", content="ship"),))])
    prompt = torch.tensor([answer.context_ids])
    expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=5)
    assert list(answer.token_ids) == expected[0, prompt.shape[1] :].tolist()
    (scores,) = policy.score([whole(answer)])
    assert list(scores.logprobs) == pytest.approx(list(answer.logprobs), abs=1e-4)


def test_a_cohort_says_greedily_what_one_batched_generate_a_turn_says() -> None:
    policy = LocalPolicy(MODEL, depot_tokenizer(), Sampling(temperature=0.0, max_new_tokens=12))
    talks = [[Message(role="user", content="ship: bolt red " * count)] for count in range(1, 9)]
    known: list[tuple[int, ...]] = [()] * len(talks)
    for turn in range(4):
        asked = [
            Request(tuple(talk), context_ids=fed, covered=2 * turn) for talk, fed in zip(talks, known, strict=True)
        ]
        answers = policy.act(asked)
        known = [(*fed, *said.context_ids) for fed, said in zip(known, answers, strict=True)]
        longest = max(map(len, known))
        prompts = torch.tensor([[0] * (longest - len(fed)) + list(fed) for fed in known])
        mask = torch.tensor([[0] * (longest - len(fed)) + [1] * len(fed) for fed in known])
        wanted = MODEL.generate(prompts, attention_mask=mask, do_sample=False, max_new_tokens=12, pad_token_id=STOP)
        for row, (talk, said) in enumerate(zip(talks, answers, strict=True)):
            assert list(said.token_ids) == wanted[row, longest:].tolist()[: len(said.token_ids)]
            assert len(said.token_ids) == 12 or said.token_ids[-1] == STOP
            known[row] = (*known[row], *said.token_ids)
            talk += [said.message, Message(role="tool", content=f"A: cup bolt {turn} " * (row + 1))]


def test_log_probabilities_of_a_whole_episode_are_those_of_one_forward_pass() -> None:
    policy = depot_student()
    for trace in play(Depot, policy, 4):
        fed: list[int] = []
        said: list[tuple[int, int, float]] = []
        for step in trace.steps:
            fed += step.completion.context_ids
            for token, logprob in zip(step.completion.token_ids, step.completion.logprobs, strict=True):
                said.append((len(fed), token, logprob))
                fed.append(token)
        with torch.no_grad():
            logprobs = torch.log_softmax(policy.model(torch.tensor([fed])).logits[0].double(), -1)
        assert max(abs(logprobs[at - 1, token].item() - logprob) for at, token, logprob in said) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_sampled_with_what_was_kept(dtype: torch.dtype) -> None:
    policy = LocalPolicy(copy.deepcopy(depot_student().model).to(dtype), depot_tokenizer(), GREEDY)
    assert isinstance(policy.batch, ContinuousBatch)
    asked = [Request(messages=(Message(role="user", content=f"ship: bolt {box}"),)) for box in ("red", "blue")]
    for answer in policy.act(asked):
        assert answer.token_ids
        assert all(logprob <= 0 for logprob in answer.logprobs)


def test_tickets_are_answered_in_whatever_order_they_end_and_act_takes_only_its_own() -> None:
    policy = LocalPolicy(MODEL, depot_tokenizer(), Sampling(temperature=0.0, max_new_tokens=20, batch=2))
    asked = [Request(messages=(Message(role="user", content="ship " * count),)) for count in (9, 3, 6, 1)]
    early = policy.submit(asked[:2])
    late = policy.act(asked[2:])
    answers: dict[int, Any] = {}
    while len(answers) < 2:
        answers |= dict(policy.advance())
    assert set(answers) == set(early)
    assert policy.advance() == []
    fresh = LocalPolicy(MODEL, depot_tokenizer(), policy.sampling)
    assert [*(answers[ticket] for ticket in early), *late] == fresh.act(asked) or [
        answer.token_ids for answer in [*(answers[ticket] for ticket in early), *late]
    ] == [answer.token_ids for answer in fresh.act(asked)]


def test_running_out_of_memory_is_the_machinerys_failure_and_leaves_nothing_behind(monkeypatch) -> None:
    policy = LocalPolicy(copy.deepcopy(MODEL), depot_tokenizer(), Sampling(temperature=0.0, max_new_tokens=4))
    asked = [Request(messages=(Message(role="user", content="ship"),))]
    before = policy.act(asked)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(policy.model, "forward", fail)
        with pytest.raises(PolicyError, match="cache_bytes"):
            policy.act(asked)
    assert policy.act(asked) == before


def test_a_local_policy_scores_what_it_is_given_as_a_forward_pass_does(monkeypatch) -> None:
    policy = LocalPolicy(MODEL, depot_tokenizer())
    assert isinstance(policy, Scorer)
    rows = [ids(count, count) for count in (2, 40, 23, 23, 8)]
    asked = [
        ScoreRequest(tuple(row), tuple(range(first, len(row))))
        for row, first in zip(rows, (1, 17, 1, 23, 5), strict=True)
    ]
    asked.append(ScoreRequest(tuple(rows[1]), (5, 6, 31)))
    monkeypatch.setattr("agentdistill.policies.local.scoring.MOST_LOGITS", 9000)  # several pieces
    for most in (1, 60, 4096):
        policy.sampling = Sampling(prefill_tokens=most)
        for request, found in zip(asked, policy.score(asked), strict=True):
            with torch.no_grad():
                logprobs = torch.log_softmax(MODEL(torch.tensor([request.ids])).logits[0].double(), -1)
            expected = [logprobs[at - 1, request.ids[at]].item() for at in request.wanted]
            assert list(found.logprobs) == pytest.approx(expected, abs=1e-4)


def test_sampled_turns_score_as_they_were_sampled() -> None:
    policy = depot_student()
    asked = [Request(messages=(Message(role="user", content=f"ship: bolt {box}"),), seed=3) for box in ("red", "blue")]
    answers = policy.act(asked)
    requests = [whole(answer) for answer in answers]
    for answer, scores in zip(answers, policy.score(requests), strict=True):
        assert list(scores.logprobs) == pytest.approx(list(answer.logprobs), abs=1e-4)


def whole(answer: Completion) -> ScoreRequest:
    """A turn, to be scored after what was fed before it."""
    ids = (*answer.context_ids, *answer.token_ids)
    return ScoreRequest(ids, tuple(range(len(answer.context_ids), len(ids))))


@pytest.mark.parametrize(
    "request_", [ScoreRequest((5, 6), (0,)), ScoreRequest((5, 6), (2,)), ScoreRequest((5,) * 700, (1,))]
)
def test_what_cannot_be_scored_is_refused(request_: ScoreRequest) -> None:
    assert SMALL.context < 700
    with pytest.raises(PolicyError, match="cannot be scored"):
        LocalPolicy(MODEL, depot_tokenizer()).score([request_])


# ---- in a rollout ----------------------------------------------------------------------------------------------------


class AllAtOnce:
    """A policy that hides that others may join."""

    privileged = False

    def __init__(self, policy: LocalPolicy) -> None:
        self.policy = policy
        self.name = policy.name

    def act(self, requests: Any) -> Any:
        return self.policy.act(requests)


def test_episodes_that_join_go_as_episodes_that_wait_for_each_other() -> None:
    sampling = Sampling(batch=3, cache_bytes=400_000)
    policy = depot_student(sampling)
    assert isinstance(policy, Joinable)
    assert not isinstance(AllAtOnce(policy), Joinable)
    joining = play(Depot, policy, 10)
    waiting = play(Depot, AllAtOnce(depot_student(sampling)), 10)
    assert [each.messages() for each in joining] == [each.messages() for each in waiting]
    assert [each.ending for each in joining] == [each.ending for each in waiting]
    assert not policy.batch.waiting


def test_a_policy_that_breaks_while_others_join_voids_only_who_was_asking() -> None:
    policy = depot_student()
    advance, broken = policy.advance, [40]

    def sometimes() -> list[tuple[int, Any]]:
        broken[:] = [left - 1 for left in broken]
        if 0 in broken:
            policy.cancel(list(range(10_000)))
            raise PolicyError("gone")
        return advance()

    policy.advance = sometimes  # type: ignore[method-assign]
    traces = play(Depot, policy, 8, retries=0, live=2)
    void = [each for each in traces if each.errored]
    assert 0 < len(void) < len(traces)
    assert {each.error for each in void} == {"PolicyError: gone"}
    policy = depot_student()
    again = {each.id: each.messages() for each in play(Depot, policy, 8)}
    assert all(each.messages() == again[each.id] for each in traces if not each.errored)


def test_a_rollout_that_is_left_early_leaves_nobody_in_the_batch() -> None:
    policy = depot_student()
    running = Rollout(Depot, policy, workers=1, live=4).run(specs_of(Depot().make_tasks("train", 8)))
    next(running)
    assert isinstance(policy.batch, ContinuousBatch)
    running.close()  # type: ignore[attr-defined]
    assert not policy.batch.rows
    assert not policy.batch.waiting
    assert policy.advance() == []
