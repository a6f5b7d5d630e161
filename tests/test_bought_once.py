"""Whatever a teacher behind a server is asked for, a killed run that goes on asks for nothing it has been given."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agentdistill.divergence.judged import ANSWER
from agentdistill.ledger import CallLedger
from agentdistill.loading import load_policy
from agentdistill.policies import Request
from agentdistill.records import Completion, Message, ToolCall
from agentdistill.results import RunReport, read_report
from agentdistill.testing import ChatServer

EXAMPLES = Path(__file__).parent.parent / "examples"
SHARED: dict[str, Any] = {
    "environment": f"{EXAMPLES / 'tank.py'}:Tank",
    "base_tokens": 3000,
    "budget_tokens": 3000,
    "most_student_episodes": 96,
    "student": {"hidden": 32, "layers": 2, "context": 256},
    "sampling": {"max_new_tokens": 24},
    "base_training": {"steps": 25, "tokens_per_step": 100},
    "training": {"steps": 3, "tokens_per_step": 100},
    "evaluation": {"tasks": 4},
}
WAYS: dict[str, dict[str, Any]] = {
    "labels": {"way": "rewrite", "beta": [0.5]},
    "proposals": {"way": "score", "by": "steps"},
    "critiques": {"way": "takeover", "detectors": ["random"], "explain": True},
    "judgements": {"way": "takeover", "detectors": [{"name": "judge", "votes": 2, "window": 4, "overlap": 1}]},
    "probes and attempts": {
        "way": "takeover",
        "detectors": ["last_recoverable"],
        "takeover": {"place": "before", "attempts": 2, "note": ["verdict"]},
    },
}
POURER = load_policy(f"{EXAMPLES / 'own_teacher.py'}:Pourer")  # it goes by the conversation alone
PROGRAM = """
import sys, torch
from pathlib import Path
torch.set_default_dtype(torch.float64)  # so that a batch's company cannot decide a token
sys.path.insert(0, sys.argv[1])
from test_recipes import Silent
from agentdistill.distillation import distill
from agentdistill.settings import RunConfig
distill(RunConfig.model_validate_json(Path(sys.argv[2]).read_text()), Path(sys.argv[3]), Silent())
"""


def answer(request: Request) -> Completion:
    """A turn for who has tools, a judgement for who offers that, and words for who offers nothing."""
    tools = {tool.name for tool in request.tools}
    if ANSWER.name in tools:
        named = ToolCall(id="call_0", name=ANSWER.name, arguments={"step": 1, "reason": "a number that fits nothing"})
        return Completion(message=Message(role="assistant", tool_calls=(named,)))
    if not tools:
        return Completion(message=Message(role="assistant", content="It poured without looking at what was ordered."))
    conversation = [each for each in request.messages if each.role != "system"]
    return POURER.act([Request(tuple(conversation))])[0]


def command(folder: Path, server: ChatServer, recipe: dict[str, Any]) -> list[str]:
    teacher = {"url": server.url, "model": "big", "backoff": 0.005, "longest_backoff": 0.05, "timeout": 5.0}
    config = folder / "config.json"
    config.write_text(json.dumps(SHARED | {"teacher": teacher, "arms": {"way": recipe}}))
    return [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(config), str(folder / "run")]


def finish(arguments: list[str]) -> RunReport:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return read_report(Path(arguments[-1]))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_what_a_server_has_answered_is_not_bought_again_after_a_kill(way, tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    with ChatServer(answer) as server:
        whole = finish(command(tmp_path / "whole", server, WAYS[way]))
        asked = dict(server.served.requests)
    base = whole.arms["base"]
    assert whole.arms["way"].teacher_tokens > base.teacher_tokens
    assert set(asked.values()) == {1}

    with ChatServer(answer, latency=0.01) as server:
        arguments = command(tmp_path / "killed", server, WAYS[way])
        for share in sorted(random.uniform(0.05, 0.95) for _ in range(3)):
            process = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.DEVNULL)
            while process.poll() is None and len(server.served.requests) < share * len(asked):
                time.sleep(0.005)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert finish(arguments) == whole
        served = dict(server.served.requests)
    with CallLedger(tmp_path / "killed" / "run") as ledger:
        totals = ledger.totals
    assert len(served) == totals.answered == len(asked)
    # What was on its way when the process died had been written down nowhere; the books have it as lost.
    assert sum(served.values()) - len(served) <= totals.lost
