"""A tiny student behind a real server that gives neither ids nor log-probabilities: `transformers serve`.

It needs `transformers[serving]`, which the extra `dev` brings.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
import torch
from agentdistill_environments.depot import Depot
from students import depot_student, depot_tokenizer, diverging, play

from agentdistill.chat import Renderer
from agentdistill.divergence import RandomStep
from agentdistill.ledger import Budget, CallLedger
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.policies.tiny import save_student
from agentdistill.records import Divergence, Message, Recovery, Trajectory
from agentdistill.rollout import Rollout
from agentdistill.segments import segments_of
from agentdistill.takeover import Takeover, TakeoverConfig
from agentdistill.testing import ChatServer
from agentdistill.testing.chat_server import PASSING

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server, and the folder of its model."""
    folder = tmp_path_factory.mktemp("served") / "student"
    save_student(depot_student().model, depot_tokenizer(), folder)
    _show_the_frame_of_calls(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        server.kill()
        server.wait()


def _show_the_frame_of_calls(folder: Path) -> None:
    """This server leaves special tokens out of its text; a call without its frame could not be told from an answer."""
    path = folder / "tokenizer.json"
    whole = json.loads(path.read_text())
    for token in whole["added_tokens"]:
        token["special"] = token["special"] and "tool_call" not in token["content"]
    path.write_text(json.dumps(whole))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    for key in ("additional_special_tokens", "extra_special_tokens"):
        config[key] = [each for each in config.get(key) or [] if "tool_call" not in each]
    path.write_text(json.dumps(config))


def greedy(prompt: Sequence[int], most: int) -> tuple[int, ...]:
    """What the model itself says, token by token, where it is most certain."""
    model, ids = depot_student().model, list(prompt)
    while len(ids) < len(prompt) + most and (len(ids) == len(prompt) or ids[-1] != depot_tokenizer().eos_token_id):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return tuple(ids[len(prompt) :])


def test_a_student_acts_and_its_ids_are_found_again_as_they_were(served, tmp_path):
    url, folder = served
    config = EndpointConfig(
        url=url, model=str(folder), tokenizer=folder, temperature=0.0, max_tokens=40, most_concurrency=2, concurrency=2
    )
    with CallLedger(tmp_path) as ledger, EndpointPolicy(config, ledger) as policy:
        traces = play(Depot, policy, 3)
        steps = [step for trace in traces for step in trace.steps]
        assert not [trace.error for trace in traces if trace.errored]
        assert ledger.totals.usage.output_tokens >= sum(step.completion.output_tokens for step in steps)
        without = policy.without_ids
        again = play(Depot, policy, 3)
        assert policy.caller.replayed >= len(steps)
        assert [each.steps for each in again] == [each.steps for each in traces]
    found = 0
    for trace in traces:
        fed: tuple[int, ...] = ()
        for step in trace.steps:
            said = step.completion
            if not said.token_ids:
                break
            assert said.inferred
            fed += said.context_ids
            assert said.token_ids == greedy(fed, 40)
            fed += said.token_ids
            found += 1
    assert found > 3
    assert any(step.completion.message.tool_calls for step in steps)
    print(f"{len(steps)} turns, ids found again in {found} of them and left out in {without}")


def test_student_and_teacher_are_both_behind_servers_one_of_which_fails_and_nothing_is_lost_or_paid_twice(
    served, tmp_path
):
    url, folder = served
    student = EndpointConfig(url=url, model=str(folder), tokenizer=folder, temperature=0.0, max_tokens=40)
    with CallLedger(tmp_path / "student") as ledger, EndpointPolicy(student, ledger) as policy:
        failures = diverging([trace for trace in play(Depot, policy, 8) if trace.failed], RandomStep())
    assert len(failures) >= 4
    # The scripted teacher sees the world, which does not go over the wire: the server says what it said.
    expected = recoveries(Rollout(Depot, ScriptedTeacher("knowing"), workers=1), failures)
    said = {
        key_of(climbed.trajectory.messages(number)): step.completion.message
        for climbed in expected
        for number, step in enumerate(climbed.trajectory.steps)
        if step.actor == "teacher"
    }
    faults = {name: 0.1 / len(PASSING) for name in PASSING}
    settings = {"backoff": 0.005, "longest_backoff": 0.05, "timeout": 3.0}
    with (
        ChatServer(lambda request: said[key_of(request.messages)], faults=faults, seed=2) as server,
        CallLedger(tmp_path / "teacher", Budget(tokens=2_000_000)) as ledger,
        EndpointPolicy(EndpointConfig(url=server.url, model="fake", **settings), ledger) as teacher,
    ):
        got = recoveries(Rollout(Depot, teacher, workers=1), failures)
        again = recoveries(Rollout(Depot, teacher, workers=1), failures)
        totals, books = ledger.totals, server.served
    assert books.faults.total() > 0
    assert [each.trajectory.error for each in got] == [""] * len(failures)
    for one, same, other in zip(expected, got, again, strict=True):
        assert [step.observations for step in one.trajectory.steps] == [
            step.observations for step in same.trajectory.steps
        ]
        assert same.trajectory.verdict == one.trajectory.verdict
        assert other.trajectory.steps == same.trajectory.steps
    # Every different request was answered once, and the second time came out of the books.
    assert len(books.requests) == books.answers == totals.answered
    assert totals.usage.output_tokens == books.output_tokens
    assert totals.usage.input_tokens == books.input_tokens
    rows, refused = segments_of([each.trajectory for each in got], Renderer(depot_tokenizer()), 400)
    assert len(rows) + refused.total() == len(got)
    assert rows


def key_of(messages: Sequence[Message]) -> str:
    """A conversation, told from others by what was said."""
    return "|".join(message.role + message.content for message in messages)


def recoveries(rollout: Rollout, failures: list[tuple[Trajectory, Divergence]]) -> list[Recovery]:
    """In the order of `failures`."""
    done = {each.divergence.trajectory_id: each for each in Takeover(TakeoverConfig(), [rollout]).run(failures)}
    return [done[trace.id] for trace, _ in failures]
