"""The local policy: what it samples depends on conversation and seed, and is what the model says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from agentdistill_environments.depot import Depot
from students import SMALL, depot_student, depot_tokenizer, play, untrained

from agentdistill.errors import ConfigError
from agentdistill.policies import Policy, Request
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.policies.tiny import save_student
from agentdistill.records import Completion, Message


def requests(count: int, seed: int = 0) -> list[Request]:
    """Conversations of very different lengths: a few words, or several turns."""
    asked = []
    for number, task in enumerate(Depot().make_tasks("train", count)):
        messages = [Message(role="user", content=task.instruction)]
        for turn in range(number % 5 * 2):
            messages += [Message(role="assistant", content=f"turn {turn}"), Message(role="tool", content="A: bolt cup")]
        asked.append(Request(messages=tuple(messages), seed=seed + number))
    return asked


def said(completions: list[Completion]) -> list[tuple[int, ...]]:
    return [each.token_ids for each in completions]


def logits_of(policy: LocalPolicy, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return policy.model(input_ids=torch.tensor([ids])).logits[0].double()


def prompt_and_turn(policy: LocalPolicy, request: Request, completion: Completion) -> tuple[list[int], list[int]]:
    return [*request.context_ids, *completion.context_ids], list(completion.token_ids)


def test_a_local_policy_is_a_policy():
    assert isinstance(depot_student(), Policy)


def test_the_same_seeds_give_the_same_ids():
    assert said(depot_student().act(requests(8))) == said(depot_student().act(requests(8)))


def test_other_seeds_give_other_ids():
    policy = depot_student()
    one, other = said(policy.act(requests(8))), said(policy.act(requests(8, seed=100)))
    assert sum(a != b for a, b in zip(one, other, strict=True)) >= 6


@pytest.mark.parametrize("batch", [1, 3, 128])
def test_the_company_in_a_batch_does_not_change_what_is_sampled(batch):
    asked = requests(12)
    together = depot_student().act(asked)
    policy = depot_student(Sampling(batch=batch))
    order = np.random.default_rng(batch).permutation(len(asked))
    apart = policy.act([asked[i] for i in order])
    assert said(apart) == [together[i].token_ids for i in order]
    assert [each.finish for each in apart] == [together[i].finish for i in order]


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_log_probabilities_are_those_of_a_plain_forward_pass(temperature):
    policy = depot_student(Sampling(temperature=temperature))
    asked = requests(10)
    for request, completion in zip(asked, policy.act(asked), strict=True):
        prompt, turn = prompt_and_turn(policy, request, completion)
        logprobs = torch.log_softmax(logits_of(policy, prompt + turn) / temperature, dim=-1)
        expected = [logprobs[len(prompt) + at - 1, token].item() for at, token in enumerate(turn)]
        assert completion.logprobs == pytest.approx(expected, abs=1e-4)


def test_log_probabilities_are_under_the_distribution_that_was_sampled_from():
    policy = depot_student(Sampling(top_p=0.8))
    asked = requests(10)
    for request, completion in zip(asked, policy.act(asked), strict=True):
        prompt, turn = prompt_and_turn(policy, request, completion)
        logits = logits_of(policy, prompt + turn)
        for at, (token, logprob) in enumerate(zip(turn, completion.logprobs, strict=True)):
            probabilities, order = torch.softmax(logits[len(prompt) + at - 1], dim=-1).sort(descending=True)
            kept = order[: int((probabilities.cumsum(0) - probabilities < 0.8).sum())].tolist()
            assert token in kept
            total = probabilities[: len(kept)].sum()
            assert logprob == pytest.approx((probabilities[kept.index(token)] / total).log().item(), abs=1e-3)


def test_a_model_is_sampled_as_often_as_it_says():
    policy = depot_student(Sampling(max_new_tokens=1))
    (request,) = requests(1)
    many = [Request(messages=request.messages, seed=seed) for seed in range(2000)]
    completions = policy.act(many)
    drawn = np.bincount([each.token_ids[0] for each in completions], minlength=len(depot_tokenizer())) / len(many)
    prompt = list(completions[0].context_ids)
    expected = torch.softmax(logits_of(policy, prompt)[-1], dim=-1).numpy()
    assert np.abs(drawn - expected).max() < 4 * np.sqrt(0.25 / len(many))


def test_without_temperature_it_says_what_generate_says():
    policy = depot_student(Sampling(temperature=0.0, max_new_tokens=24))
    asked = requests(10)
    for request, completion in zip(asked, policy.act(asked), strict=True):
        prompt, turn = prompt_and_turn(policy, request, completion)
        ids = torch.tensor([prompt])
        wanted = policy.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24, pad_token_id=0
        )
        assert turn == wanted[0, len(prompt) :].tolist()


def test_a_turn_ends_with_the_stop_token_or_at_the_limit():
    finishes = set()
    for limit in (3, 64):
        for completion in depot_student(Sampling(max_new_tokens=limit)).act(requests(12)):
            stopped = completion.token_ids[-1] == depot_tokenizer().eos_token_id
            assert completion.finish == ("stop" if stopped else "length")
            assert depot_tokenizer().eos_token_id not in completion.token_ids[:-1]
            assert stopped or len(completion.token_ids) == limit
            assert completion.output_tokens == len(completion.token_ids) == len(completion.logprobs)
            finishes.add(completion.finish)
    assert finishes == {"stop", "length"}


def test_a_turn_never_leaves_the_context_and_a_full_context_is_said_to_be_full():
    config = SMALL.model_copy(update={"context": 60})
    policy = LocalPolicy(untrained(config=config), depot_tokenizer(), Sampling(max_new_tokens=50))
    completions = policy.act(requests(20))
    finishes = {each.finish for each in completions}
    assert finishes >= {"length", "context"}
    for completion in completions:
        if completion.finish == "context":
            assert completion.token_ids == () == completion.logprobs
            assert completion.output_tokens == 0
        else:
            assert completion.input_tokens + completion.output_tokens <= 60


def test_the_ids_of_earlier_turns_are_fed_again_as_they_were():
    policy = depot_student()
    for trace in play(Depot, policy, 4):
        fed: list[int] = []
        for number, step in enumerate(trace.steps):
            known = Request(trace.messages(number), context_ids=tuple(fed), covered=len(trace.messages(number - 1)) + 1)
            request = known if fed else Request(trace.messages(number))
            assert tuple(policy.renderer.extend(request.context_ids, request.covered, request.messages)) == (
                step.completion.context_ids
            )
            fed += [*step.completion.context_ids, *step.completion.token_ids]
            assert step.completion.input_tokens == len(fed) - len(step.completion.token_ids)


def test_a_student_that_was_saved_says_the_same(tmp_path):
    policy = depot_student()
    save_student(policy.model, depot_tokenizer(), tmp_path / "student")
    loaded = LocalPolicy.load(tmp_path / "student")
    assert loaded.name == "student"
    assert said(loaded.act(requests(6))) == said(policy.act(requests(6)))


@pytest.mark.parametrize("broken", ["nothing", "config.json only", "pickled weights"])
def test_a_folder_without_a_model_is_one_line(tmp_path, broken):
    if broken != "nothing":
        save_student(untrained(), depot_tokenizer(), tmp_path)
        (tmp_path / "model.safetensors").unlink()
    if broken == "pickled weights":
        torch.save(untrained().state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError) as caught:
        LocalPolicy.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
