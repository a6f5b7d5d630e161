"""The endpoint policy over real HTTP: every fault is got over or told in one line, and nothing is asked too often."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from endpoints import LOOK, QUICK, asked, calling, client, echo
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdistill.errors import ConfigError, PolicyError, UsageError
from agentdistill.policies import Policy, Request, Scorer, ScoreRequest
from agentdistill.policies.chat_format import (
    Answer,
    FormatError,
    read_answer,
    read_completion,
    read_echo_logprobs,
    read_prompt_logprobs,
)
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy
from agentdistill.policies.pacing import Throttle, backoff, retry_after
from agentdistill.records import Completion, Message, ToolCall
from agentdistill.testing import ChatServer
from agentdistill.testing.chat_server import PASSING

NEVER = {"bad_request": 400, "unauthorized": 401, "forbidden": 403, "not_found": 404}


def texts(completions: list[Completion]) -> list[str]:
    return [each.message.content for each in completions]


def test_an_endpoint_is_a_policy_and_a_scorer():
    with ChatServer(["hello"]) as server, client(server) as policy:
        assert isinstance(policy, Policy)
        assert isinstance(policy, Scorer)
        assert policy.name == "fake"
        assert not policy.privileged


def test_answers_come_in_the_order_of_the_requests():
    with ChatServer(echo) as server, client(server) as policy:
        requests = asked(*(f"number {n}" for n in range(40)))
        assert texts(policy.act(requests)) == [echo(each) for each in requests]
        assert policy.act([]) == []


def test_requests_of_one_batch_are_asked_at_once():
    with ChatServer(echo, latency=0.2) as server, client(server, concurrency=16) as policy:
        began = time.monotonic()
        policy.act(asked(*(f"number {n}" for n in range(16))))
        assert time.monotonic() - began < 16 * 0.2 / 3
        assert server.served.peak > 8


# ---- what goes over the wire -----------------------------------------------------------------------------------------


def test_a_conversation_with_tools_is_written_as_the_format_has_it():
    said = Message(
        role="assistant",
        reasoning="hm",
        tool_calls=(
            ToolCall(id="a", name="look", arguments={"at": "Tür"}),
            ToolCall(id="b", name="", problem="unreadable"),
        ),
    )
    messages = (
        Message(role="system", content="be brief"),
        Message(role="user", content="look"),
        said,
        Message(role="tool", content="a door", tool_call_id="a", name="look"),
        Message(role="tool", content="error", tool_call_id="b"),
    )
    with ChatServer(["done"]) as server, client(server, extra={"top_k": -1}, max_tokens=9) as policy:
        policy.act([Request(messages, (LOOK,), seed=5)])
        (body,) = server.seen
    assert body["messages"][2] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"at": "T\\u00fcr"}'}},
            {"id": "b", "type": "function", "function": {"name": "unreadable_call", "arguments": "{}"}},
        ],
    }
    assert body["messages"][3] == {"role": "tool", "content": "a door", "tool_call_id": "a"}
    assert body["tools"][0]["function"]["parameters"] == LOOK.parameters
    assert (body["model"], body["max_tokens"], body["seed"], body["top_k"]) == ("fake", 9, 5, -1)


def test_a_strict_server_is_sent_nothing_it_did_not_ask_for():
    with ChatServer(["done"]) as server, client(server, send_seed=False) as policy:
        policy.act(asked("hello"))
        assert server.seen[0].keys() == {"model", "messages", "max_tokens", "temperature", "top_p"}


def test_parallel_calls_and_reasoning_are_read():
    answer = calling("door", "window", content="both").model_copy(update={"reasoning": "first the door"})
    with ChatServer([answer]) as server, client(server) as policy:
        (completion,) = policy.act(asked("look", tools=[LOOK]))
    assert completion.message == answer
    assert completion.finish == "stop"


def test_a_call_with_broken_arguments_is_a_problem_and_no_exception():
    with ChatServer([calling("a", "b")], faults={"malformed_call": 1.0}) as server, client(server) as policy:
        (completion,) = policy.act(asked("look", tools=[LOOK]))
    assert [each.name for each in completion.message.tool_calls] == ["look", "look"]
    assert all("not valid JSON" in each.problem for each in completion.message.tool_calls)


@pytest.mark.parametrize(
    "arguments", ['"text"', "[1]", '{"a": NaN}', '{"a": 1e999}', "[" * 100_000, '{"a": "\\ud800"}', "{", "", 7, None]
)
def test_whatever_a_model_writes_as_arguments_becomes_a_record(arguments):
    call = {"id": 3, "function": {"name": "look", "arguments": arguments}}
    body = {"choices": [{"message": {"content": None, "tool_calls": [call, call, {}, "x", None]}}]}
    message = read_answer(body, 2).message
    assert Message.model_validate_json(message.model_dump_json()) == message
    assert len({each.id for each in message.tool_calls}) == 5
    assert all(each.problem for each in message.tool_calls[2:])


def test_a_turn_cut_by_the_token_limit_is_said_to_be_cut():
    said = Completion(message=Message(role="assistant", content="and then"), finish="length")
    with ChatServer(lambda _: said) as server, client(server) as policy:
        assert policy.act(asked("go"))[0].finish == "length"


def test_a_conversation_that_no_longer_fits_is_a_full_context_and_no_failure_of_the_server():
    with ChatServer(echo, context=20) as server, client(server) as policy:
        (short, long) = policy.act(asked("hi", "word " * 50))
        assert (short.finish, long.finish) == ("stop", "context")
        assert server.served.answers == 1


# ---- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes_is_got_over(fault):
    with (
        ChatServer(echo, faults={fault: 0.6}, seed=1) as server,
        client(server, timeout=0.5 if fault == "hang" else 10.0) as policy,
    ):
        requests = asked(*(f"number {n}" for n in range(6)))
        assert texts(policy.act(requests)) == [echo(each) for each in requests]
        assert server.served.faults[fault] > 0
        assert fault == "hang" or server.served.answers == 6


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_does_not_pass_is_one_line_within_the_deadline(fault):
    settings = {"deadline": 1.0, "timeout": 0.2, "longest_backoff": 0.3, "breaker_failures": 1000}
    with ChatServer(echo, faults={fault: 1.0}) as server, client(server, **settings) as policy:
        began = time.monotonic()
        with pytest.raises(PolicyError) as caught:
            policy.act(asked("hello"))
        assert time.monotonic() - began < 2.0
        assert server.served.faults[fault] > 2
        assert "\n" not in str(caught.value)
        assert server.url in str(caught.value)
        assert "given up after" in str(caught.value)


@pytest.mark.parametrize("fault", NEVER)
def test_what_asking_again_does_not_mend_is_asked_once(fault):
    with ChatServer(echo, faults={fault: 1.0}) as server, client(server) as policy:
        with pytest.raises(PolicyError, match=f"HTTP {NEVER[fault]}"):
            policy.act(asked("hello"))
        assert server.served.faults[fault] == 1


def test_a_server_that_is_not_there_is_asked_until_the_deadline():
    with ChatServer(["gone"]) as server:
        url = server.url
    config = EndpointConfig(url=url, model="m", **QUICK | {"deadline": 0.5})
    with EndpointPolicy(config) as policy, pytest.raises(PolicyError, match="no connection"):
        policy.act(asked("hello"))


def test_a_pause_that_a_server_asks_for_is_kept():
    with ChatServer(echo, faults={"rate_limit": 0.5}, seed=4, retry_after=0.4) as server, client(server) as policy:
        began = time.monotonic()
        policy.act(asked(*(f"number {n}" for n in range(4))))
        assert server.served.faults["rate_limit"] > 0
        assert time.monotonic() - began > 0.4


def test_a_pause_longer_than_the_deadline_ends_at_once():
    with ChatServer(echo, faults={"rate_limit": 1.0}, retry_after=3600) as server, client(server) as policy:
        began = time.monotonic()
        with pytest.raises(PolicyError, match="HTTP 429"):
            policy.act(asked("hello"))
        assert time.monotonic() - began < 2.0


def test_one_failure_in_a_batch_leaves_the_others_answers_in_the_ledger():
    good = asked(*(f"number {n}" for n in range(8)))
    with ChatServer(echo, faults={"bad_request": 0.4}, seed=1) as server, client(server) as policy:
        with pytest.raises(PolicyError, match="HTTP 400"):
            policy.act(good)
        bought = server.served.answers
        assert 0 < bought < 8
        server.faults = {}
        assert texts(policy.act(good)) == [echo(each) for each in good]
        assert server.served.answers == 8
        assert policy.caller.replayed == bought


def test_a_key_that_is_refused_again_and_again_is_not_sent_any_more(monkeypatch):
    monkeypatch.setenv("WRONG_PASS", "wrong-key-0123456789")
    with ChatServer(echo, key="right") as server, client(server, api_key_env="WRONG_PASS") as policy:
        for n in range(6):
            with pytest.raises(PolicyError, match="WRONG_PASS") as caught:
                policy.act(asked(f"number {n}"))
            assert "wrong-key" not in str(caught.value)
        assert policy.ledger.totals.refused == 3


def test_a_server_that_is_down_is_left_alone_and_then_tried_again():
    settings = {"breaker_failures": 5, "breaker_pause": 0.6, "deadline": 5.0}
    with ChatServer(echo, faults={"server_error": 1.0}) as server, client(server, **settings) as policy:
        with pytest.raises(PolicyError, match="not asked"):
            policy.act(asked("hello"))
        struck = server.served.faults["server_error"]
        began = time.monotonic()
        with pytest.raises(PolicyError, match="failed 5 times in a row"):
            policy.act(asked("another"))
        assert time.monotonic() - began < 0.2
        assert server.served.faults["server_error"] == struck == 5
        server.faults = {}
        time.sleep(0.7)
        assert texts(policy.act(asked("hello"))) == [echo(asked("hello")[0])]


# ---- pace ------------------------------------------------------------------------------------------------------------


def test_fewer_calls_are_in_flight_when_the_server_has_too_many_and_more_when_it_has_not():
    with ChatServer(echo, latency=0.02, capacity=4) as server:
        with client(server, concurrency=32) as policy:
            requests = asked(*(f"number {n}" for n in range(120)))
            assert texts(policy.act(requests)) == [echo(each) for each in requests]
            assert policy.caller.throttle.limit < 16
            refused_early = server.served.faults["capacity"]
        assert refused_early < 120
    with ChatServer(echo, latency=0.01) as server, client(server, concurrency=2, most_concurrency=12) as policy:
        policy.act(asked(*(f"number {n}" for n in range(200))))
        assert policy.caller.throttle.limit > 8
        assert 2 < policy.caller.throttle.peak <= 12


def test_one_crowd_of_refusals_halves_once():
    throttle = Throttle(32, 64)
    sent = time.monotonic()
    for _ in range(20):
        throttle.overloaded(sent, 0.0)
    assert throttle.limit == 16
    throttle.overloaded(time.monotonic(), 0.0)
    assert throttle.limit == 8


def test_waits_are_spread_over_the_whole_interval():
    waits = [backoff(3, 1.0, 60.0) for _ in range(2000)]
    assert 0 <= min(waits) < 0.2
    assert 7.8 < max(waits) <= 8.0
    assert max(backoff(1000, 1.0, 60.0) for _ in range(200)) <= 60.0


def test_both_forms_of_retry_after_are_read():
    from datetime import UTC, datetime, timedelta
    from email.utils import format_datetime

    assert retry_after("1.5") == 1.5
    assert retry_after("-3") == retry_after(None) == retry_after("soon") == 0.0
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 27 < retry_after(later) <= 30


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://", "http://u:p@host/v1", "http://h:99999999"])
def test_an_address_that_makes_no_sense_is_one_line(url):
    with pytest.raises(ConfigError) as caught:
        EndpointPolicy(EndpointConfig(url=url, model="m"))
    assert "\n" not in str(caught.value)


def test_a_key_that_is_not_set_is_one_line(monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UsageError, match="NO_SUCH_KEY"):
        EndpointPolicy(EndpointConfig(url="http://localhost:1/v1", model="m", api_key_env="NO_SUCH_KEY"))


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="api_key"):
        EndpointConfig(url="http://localhost:1/v1", model="m", api_key="sk-123")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="logprobs-mode"):
        EndpointConfig(url="http://localhost:1/v1", model="m", logprobs="raw", temperature=0.5)


# ---- log-probabilities of given tokens -------------------------------------------------------------------------------


def fake_scores(ids: list[int]) -> list[float]:
    return [-0.01 * each - at for at, each in enumerate(ids)]


@pytest.mark.parametrize("scoring", ["prompt_logprobs", "echo"])
def test_wanted_tokens_are_scored(scoring):
    with ChatServer(["-"], score=fake_scores) as server, client(server, scoring=scoring) as policy:
        requests = [ScoreRequest((5, 6, 7, 8), (1, 3)), ScoreRequest((9, 9), ()), ScoreRequest((1, 2), (1,))]
        scores = [each.logprobs for each in policy.score(requests)]
    assert scores == [pytest.approx((-1.06, -3.08)), (), pytest.approx((-1.02,))]


@pytest.mark.parametrize("scoring", ["prompt_logprobs", "echo"])
def test_a_server_that_gives_none_is_told_from_one_that_does(scoring):
    told = pytest.raises(PolicyError, match="no log-probabilities of given tokens")
    with ChatServer(["-"], gives=()) as server, client(server, scoring=scoring) as policy, told:
        policy.score([ScoreRequest((1, 2), (1,))])


def test_asking_for_log_probabilities_that_are_not_given_is_one_line():
    told = pytest.raises(PolicyError, match="no log-probabilities")
    with ChatServer(["hello"], gives=()) as server, client(server, logprobs="raw") as policy, told:
        policy.act(asked("hi"))


def test_the_server_makes_no_use_of_threads_that_outlive_it():
    before = threading.active_count()
    with ChatServer(echo, faults={"hang": 0.5}, seed=2) as server, client(server, timeout=0.1) as policy:
        policy.act(asked(*(f"number {n}" for n in range(6))))
    time.sleep(0.2)
    assert threading.active_count() <= before + 1
    assert json.dumps(server.seen)


# ---- whatever comes back ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    ("message", "logprobs", "finish_reason", "token_ids", "prompt_logprobs", "text"),
    ("content", "tool_calls", "reasoning_content", "reasoning"),
    ("prompt_tokens", "completion_tokens", "prompt_tokens_details"),
    ("id", "function"),
    ("name", "arguments"),
)


def shaped(names: Sequence[str], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have these parts, and any of the other keys with anything under it."""
    return st.fixed_dictionaries(parts, optional={name: JSON for name in names if name not in parts})


CALL = shaped(KEYS[3], function=shaped(KEYS[4], name=st.text(max_size=3))) | shaped(KEYS[3]) | JSON
SAID = shaped(KEYS[1], tool_calls=st.lists(CALL, max_size=3) | JSON)
TOKENS = shaped((), content=st.lists(shaped(("token", "logprob", "bytes")), max_size=3) | JSON)
CHOICE = shaped(KEYS[0], message=SAID, logprobs=TOKENS) | shaped(KEYS[0], text=st.text(max_size=3))
BODY = shaped(("usage", "prompt_token_ids"), choices=st.lists(CHOICE | JSON, min_size=1, max_size=2))


@settings(max_examples=400)
@given(BODY | JSON)
def test_whatever_a_server_answers_is_a_record_or_told_as_no_answer(body):
    for read in (
        lambda: read_answer(body, 0),
        lambda: read_completion(body),
        lambda: read_prompt_logprobs(body, (1, 2)),
        lambda: read_echo_logprobs(body, (1, 2)),
    ):
        try:
            answer = read()
        except FormatError:
            continue
        if isinstance(answer, Answer):
            message = answer.message
            assert Message.model_validate_json(message.model_dump_json()) == message
            assert len(answer.pieces) in (len(answer.logprobs), 0)


def test_numbers_that_nothing_can_hold_are_no_counts():
    huge = {"choices": [{"message": {}}], "usage": {"prompt_tokens": 10**30, "completion_tokens": 1}}
    assert read_answer(huge, 0).usage is None
