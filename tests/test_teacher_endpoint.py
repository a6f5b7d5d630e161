"""A whole small run whose teacher is behind a server that fails: the same run as without, paid once, in the books."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import TINY, one_line, typed
from transformers import PreTrainedTokenizerFast

from agentdistill.chat import Renderer
from agentdistill.config import read_config
from agentdistill.ledger import CallLedger
from agentdistill.policies import Request
from agentdistill.records import Completion
from agentdistill.settings import RunConfig
from agentdistill.store import RunStore
from agentdistill.testing import ChatServer
from agentdistill.testing.chat_server import PASSING

COMMAND = str(Path(sys.executable).with_name("agentdistill"))


def key_of(request: Request) -> str:
    return "|".join(message.role + message.content for message in request.messages)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A run with the environment's scripted teacher, and what it printed."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "tiny.toml").write_text(TINY)
    command = [COMMAND, "run", str(folder / "tiny.toml"), "--folder", str(folder / "run")]
    done = subprocess.run(command, capture_output=True, check=True)
    return folder / "run", done.stdout


@pytest.fixture(scope="module")
def teacher(plain: tuple[Path, bytes]) -> Callable[[Request], Completion]:
    """Says over the wire what the scripted teacher said in the same conversation, at the same price in tokens."""
    folder, _ = plain
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "checkpoints" / "untrained")
    renderer = Renderer(tokenizer)
    said = {}
    with RunStore.read(folder) as store:
        for _, trace in store.trajectories("clean"):
            for number, step in enumerate(trace.steps):
                said[key_of(Request(trace.messages(number)))] = step.completion.message

    def answer(request: Request) -> Completion:
        message = said[key_of(request)]
        ids = renderer.turn([request.messages[0]], message)
        return Completion(message=message, token_ids=tuple(ids), context_ids=(0,) * 100, logprobs=(-0.1,) * len(ids))

    answer.tokenizer = tokenizer  # type: ignore[attr-defined]
    return answer


def configured(folder: Path, server: ChatServer, *more: str) -> Path:
    path = folder / "tiny.toml"
    quick = 'model = "big", backoff = 0.005, longest_backoff = 0.05, timeout = 3.0'
    path.write_text("\n".join([f'teacher = {{url = "{server.url}", {quick}}}', *more, TINY]))
    return path


@pytest.mark.slow
def test_a_run_with_a_failing_server_is_killed_resumed_and_ends_as_the_run_without_one(plain, teacher, tmp_path):
    faults = {name: 0.1 / len(PASSING) for name in PASSING}
    with ChatServer(teacher, tokenizer=teacher.tokenizer, faults=faults, seed=4, latency=0.02) as server:
        config = configured(tmp_path, server, "teacher_budget = {tokens = 5_000_000}")
        command = [COMMAND, "run", str(config), "--folder", str(tmp_path / "run")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while server.served.answers < 20 and child.poll() is None:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert server.served.faults.total() > 0
        served = server.served
    with CallLedger(tmp_path / "run") as ledger, RunStore.read(tmp_path / "run") as store:
        totals = ledger.totals
        told = [trace.steps for _, trace in store.trajectories("clean") if not trace.errored]
        assert not any(trace.errored for _, trace in store.trajectories("clean"))
    with RunStore.read(plain[0]) as store:
        wanted = [trace.steps for _, trace in store.trajectories("clean")]
    assert [[step.observations for step in steps] for steps in told] == [
        [step.observations for step in steps] for steps in wanted
    ]
    assert len(served.requests) == totals.answered
    # Beyond what was written down the server gave at most what was in flight at the kill, and that stands as lost.
    assert totals.answered <= served.answers <= totals.answered + totals.lost
    if served.answers == totals.answered:
        assert totals.usage.output_tokens == served.output_tokens


def test_a_spent_budget_is_one_line_and_a_larger_one_goes_on(capsys, teacher, tmp_path):
    with ChatServer(teacher, tokenizer=teacher.tokenizer) as server:
        config = configured(tmp_path, server, "teacher_budget = {tokens = 15_000}")
        line = one_line_last(typed(capsys, "run", config, "--folder", tmp_path / "run"))
        assert "the budget is spent" in line
        bought = server.served.answers
        assert bought > 0
        raised = ("--set", "teacher_budget.tokens=5000000")
        assert typed(capsys, "run", config, "--folder", tmp_path / "run", *raised)[0] == 0
        assert set(server.served.requests.values()) == {1}


def one_line_last(said: tuple[int, str, str]) -> str:
    code, _, err = said
    assert code == 2, err
    return err.strip().splitlines()[-1]


def test_settings_of_a_teacher_that_make_no_sense_are_one_line(capsys, tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text('teacher = {url = "http://127.0.0.1:9/v1", model = "m"}\n' + TINY)
    for override, expected in {
        "teacher.api_key=sk-1": "api_key",
        "teacher.token_ids=true": "not the student's",
        "teacher.modle=x": "Did you mean 'model'",
        "teacher.price.inptu=1": "price",
        "teacher.url=nonsense": "no address",
        "teacher_budget.dollars=1": "needs the price",
        "teacher.api_key_env=NO_SUCH_KEY_HERE": "NO_SUCH_KEY_HERE",
    }.items():
        said = typed(capsys, "run", config, "--folder", tmp_path / "run", "--set", override)
        assert expected in one_line(said)
        assert not (tmp_path / "run").exists()


def test_how_a_teacher_is_reached_is_no_part_of_what_a_run_is(tmp_path):
    config = tmp_path / "tiny.toml"
    config.write_text('teacher = {url = "http://127.0.0.1:9/v1", model = "m"}\n' + TINY)
    one = read_config(config, [], RunConfig)
    other = read_config(config, ["teacher.url=http://other/v1", "teacher_budget.tokens=9"], RunConfig)
    assert one.identity() == other.identity()
    assert one.identity() != read_config(config, ["teacher.model=n"], RunConfig).identity()
    config.write_text(TINY)
    assert "teacher" not in read_config(config, [], RunConfig).identity()


def test_the_readme_shows_a_teacher_that_can_be_configured(tmp_path):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    (shown,) = (block for block in re.findall(r"```toml\n(.*?)```", readme, re.DOTALL) if "teacher =" in block)
    config = tmp_path / "shown.toml"
    config.write_text(shown + TINY)
    found = read_config(config, [], RunConfig)
    assert found.teacher is not None
    assert found.teacher.price is not None
    assert found.teacher_budget.dollars == 3.0
