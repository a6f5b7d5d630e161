"""Exact tokens over the wire: a real tiny model behind a real server, its ids told, found again, or left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from agentdistill_environments.depot import Depot
from endpoints import client as quick_client
from students import clean_traces, depot_student, depot_tokenizer, play

from agentdistill.chat import Renderer
from agentdistill.errors import ConfigError, PolicyError
from agentdistill.policies import Request, ScoreRequest
from agentdistill.policies.endpoint import EndpointPolicy
from agentdistill.policies.inferring import byte_speller
from agentdistill.policies.local import LocalPolicy, Sampling
from agentdistill.records import Completion, Message
from agentdistill.testing import ChatServer


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    depot_tokenizer().save_pretrained(folder)
    return folder


class Remembering:
    """A policy that remembers what it was fed and what it sampled."""

    privileged = False
    name = "remembering"

    def __init__(self, policy: LocalPolicy) -> None:
        self.policy = policy
        self.turns: list[tuple[int, ...]] = []

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        completions = self.policy.act(requests)
        self.turns += [(*each.context_ids, *each.token_ids) for each in completions]
        return completions


def client(server: ChatServer, **settings: Any) -> EndpointPolicy:
    """One that waits for a real model."""
    return quick_client(server, timeout=60.0, deadline=120.0, **settings)


def serving(policy: Any = None, **settings: Any) -> ChatServer:
    return ChatServer(policy or depot_student(), tokenizer=depot_tokenizer(), **settings)


def requests_of(count: int) -> list[Request]:
    tasks = Depot().make_tasks("train", count)
    return [Request((Message(role="user", content=task.instruction),), seed=n) for n, task in enumerate(tasks)]


def taught(count: int) -> list[tuple[Request, Message]]:
    """Moments of clean traces, and what the teacher said there: turns a good model would sample."""
    moments = []
    for trace in clean_traces()[:count]:
        for number, step in enumerate(trace.steps):
            moments.append((Request(trace.messages(number)), step.completion.message))
    return moments


class Saying:
    """Says the canonical turns of clean traces, with their ids, as a model that learned them would."""

    privileged = False
    name = "saying"

    def __init__(self) -> None:
        self.renderer = Renderer(depot_tokenizer())
        self.said = {self._key(request): message for request, message in taught(6)}

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        completions = []
        for request in requests:
            message = self.said[self._key(request)]
            ids = self.renderer.turn(request.messages, message)
            context = self.renderer.extend((), 0, request.messages)
            completions.append(
                Completion(
                    message=message,
                    token_ids=tuple(ids),
                    context_ids=tuple(context),
                    logprobs=(-0.25,) * len(ids),
                    input_tokens=len(context),
                    output_tokens=len(ids),
                )
            )
        return completions

    @staticmethod
    def _key(request: Request) -> str:
        return "|".join(message.role + message.content for message in request.messages)


# ---- a server that tells its ids -------------------------------------------------------------------------------------


def test_what_a_server_tells_is_what_its_model_sampled():
    requests = requests_of(24)
    sampled = depot_student().act(requests)
    with serving() as server, client(server, token_ids=True, logprobs="raw") as policy:
        told = policy.act(requests)
    for ours, theirs in zip(told, sampled, strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.context_ids == theirs.context_ids
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)  # batches differ by rounding
        assert (ours.input_tokens, ours.output_tokens, ours.finish) == (
            theirs.input_tokens,
            theirs.output_tokens,
            theirs.finish,
        )
        assert ours.message.content == theirs.message.content
        assert not ours.inferred
        for mine, real in zip(ours.message.tool_calls, theirs.message.tool_calls, strict=True):
            assert bool(mine.problem) == bool(real.problem)
            assert mine.problem or mine == real


def test_over_whole_episodes_ids_are_exactly_what_the_model_met_or_left_out():
    """A server renders a conversation anew each turn; where that is not what was sampled before, nothing is claimed."""
    model = Remembering(depot_student(Sampling(max_new_tokens=40)))
    with serving(model) as server, client(server, token_ids=True, logprobs="raw") as policy:
        traces = play(Depot, policy, 5)
        without = policy.without_ids
    met = set(model.turns)
    exact = 0
    for trace in traces:
        assert not trace.errored
        fed: tuple[int, ...] = ()
        for step in trace.steps:
            said = step.completion
            if not said.token_ids:
                break  # from here on nothing is sealed
            fed += (*said.context_ids, *said.token_ids)
            assert fed in met
            exact += 1
    steps = sum(len(trace.steps) for trace in traces)
    assert exact > 5
    assert exact + without <= steps + without
    assert sum(not step.completion.token_ids for trace in traces for step in trace.steps) == without


def test_scores_over_the_wire_are_those_of_a_forward_pass():
    student = depot_student()

    def score(ids: Sequence[int]) -> list[float]:
        with torch.no_grad():
            logits = student.model(input_ids=torch.tensor([list(ids)])).logits[0].double()
        logprobs = torch.log_softmax(logits, dim=-1)
        return [0.0, *(logprobs[at - 1, token].item() for at, token in enumerate(ids) if at)]

    with serving(student, score=score) as server, client(server, token_ids=True, logprobs="raw") as policy:
        for completion in policy.act(requests_of(6)):
            ids = (*completion.context_ids, *completion.token_ids)
            wanted = tuple(range(len(completion.context_ids), len(ids)))
            (scores,) = policy.score([ScoreRequest(ids, wanted)])
            assert scores.logprobs == pytest.approx(completion.logprobs, abs=1e-4)


# ---- a server that does not ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gives", [("logprobs",), ()], ids=["its tokens' spelling", "text only"])
def test_ids_are_found_again_and_marked_as_inferred(tokenizer_folder, gives):
    asking = {"logprobs": "raw"} if gives else {}
    model = Saying()
    requests = [request for request, _ in taught(6)]
    with serving(model, gives=gives) as server, client(server, tokenizer=tokenizer_folder, **asking) as policy:
        told = policy.act(requests)
        assert policy.without_ids == 0
    for ours, theirs in zip(told, model.act(requests), strict=True):
        assert ours.inferred
        assert ours.token_ids == theirs.token_ids
        assert ours.context_ids == theirs.context_ids
        assert ours.logprobs == (theirs.logprobs if gives else ())


def test_what_a_model_sampled_in_another_way_is_never_taken_for_the_usual_split(tokenizer_folder):
    requests = requests_of(24)
    sampled = depot_student(steps=5).act(requests)
    server = serving(depot_student(steps=5), gives=("logprobs",))
    with server, client(server, tokenizer=tokenizer_folder, logprobs="raw") as policy:
        told = policy.act(requests)
        assert policy.without_ids == sum(not each.token_ids for each in told) > 0
    for ours, theirs in zip(told, sampled, strict=True):
        assert ours.token_ids in ((), theirs.token_ids)
        assert ours.inferred == bool(ours.token_ids)


def test_ids_that_go_missing_now_and_then_are_inferred_then_and_there(tokenizer_folder):
    model, requests = Saying(), [request for request, _ in taught(6)]
    server = serving(model, faults={"missing_ids": 0.5}, seed=2)
    with server, client(server, token_ids=True, tokenizer=tokenizer_folder) as policy:
        told = policy.act(requests)
    assert {each.inferred for each in told} == {True, False}
    assert [each.token_ids for each in told] == [each.token_ids for each in model.act(requests)]


def test_without_a_tokenizer_missing_ids_are_left_out():
    server = serving(Saying(), faults={"missing_ids": 1.0})
    with server, client(server, token_ids=True) as policy:
        (completion,) = policy.act([taught(1)[0][0]])
        assert (completion.token_ids, completion.context_ids, completion.inferred) == ((), (), False)
        assert policy.without_ids == 1
        assert completion.output_tokens > 0


def test_a_prompt_that_the_server_cut_is_told(tokenizer_folder):
    requests = requests_of(1)
    with serving(faults={"truncated_prompt": 1.0}) as server:
        with client(server, tokenizer=tokenizer_folder) as policy, pytest.raises(PolicyError, match="cut the prompt"):
            policy.act(requests)
        policy = client(server, tokenizer=tokenizer_folder, token_ids=True)
        with policy, pytest.raises(PolicyError, match=r"larger context .*num_ctx"):
            policy.act(requests)
        assert policy.ledger.totals.answered == 1  # it was paid for, so it stands in the books


def test_tokens_are_spelt_in_bytes_as_they_are():
    speller = byte_speller(depot_tokenizer())
    for text in ("plain", "Tür 🚪", "a\tb\n", "<tool_call>{}"):
        ids = depot_tokenizer().encode(text, add_special_tokens=False)
        assert b"".join(map(speller, ids)) == text.encode()
    door = depot_tokenizer().encode("🚪", add_special_tokens=False)
    assert [speller(each) for each in door] == [bytes([each]) for each in "🚪".encode()]


def test_a_folder_without_a_tokenizer_is_one_line(tmp_path):
    with ChatServer(["-"]) as server, pytest.raises(ConfigError) as caught:
        client(server, tokenizer=tmp_path)
    assert "\n" not in str(caught.value)


# ---- token ids alone -------------------------------------------------------------------------------------------------


class Continuing:
    """Continues ids with a real model, token by token, as a completions server does; remembers every exchange."""

    def __init__(self) -> None:
        self.model = depot_student().model
        self.turns: dict[tuple[int, ...], tuple[int, ...]] = {}

    def __call__(self, prompt: Sequence[int], body: dict[str, Any]) -> tuple[list[int], list[float]]:
        luck = torch.Generator().manual_seed(body["seed"])
        ids, logprobs = list(prompt), []
        while len(logprobs) < body["max_tokens"] and (not logprobs or ids[-1] != depot_tokenizer().eos_token_id):
            with torch.no_grad():
                logits = self.model(input_ids=torch.tensor([ids])).logits[0, -1].float()
            said = torch.log_softmax(logits, dim=-1)
            ids.append(int(torch.multinomial(said.exp(), 1, generator=luck)))
            logprobs.append(said[ids[-1]].item())
        self.turns[tuple(prompt)] = tuple(ids[len(prompt) :])
        return ids[len(prompt) :], logprobs


def test_with_token_ids_alone_every_turn_of_every_episode_is_exact(tokenizer_folder):
    """Nothing is rendered anew, so nothing drifts: also with a model that writes what no template would."""
    model = Continuing()
    faults = {"server_error": 0.05, "reset": 0.05, "garbage": 0.05}
    settings = {"api": "completions", "tokenizer": tokenizer_folder, "logprobs": "raw", "max_tokens": 20}
    with ChatServer(["-"], complete=model, faults=faults) as server, client(server, **settings) as policy:
        traces = play(Depot, policy, 2)
        assert server.served.faults.total() > 0
    steps = 0
    for trace in traces:
        assert not trace.errored
        fed: tuple[int, ...] = ()
        for step in trace.steps:
            said = step.completion
            assert not said.inferred
            assert model.turns[(*fed, *said.context_ids)] == said.token_ids
            assert len(said.logprobs) == len(said.token_ids) == said.output_tokens
            assert said.input_tokens == len(fed) + len(said.context_ids)
            fed += (*said.context_ids, *said.token_ids)
            steps += 1
    assert steps > 8


def test_token_ids_alone_need_a_server_that_gives_them(tokenizer_folder):
    server = ChatServer(["-"], complete=Continuing(), gives=())
    told = pytest.raises(PolicyError, match="set api = 'chat'")
    with server, client(server, api="completions", tokenizer=tokenizer_folder) as policy, told:
        policy.act(requests_of(1))
    with pytest.raises(ValueError, match="tokenizer"):
        client(server, api="completions")
    small = ChatServer(["-"], complete=Continuing(), context=5)
    with small, client(small, api="completions", tokenizer=tokenizer_folder) as policy:
        assert policy.act(requests_of(1))[0].finish == "context"
