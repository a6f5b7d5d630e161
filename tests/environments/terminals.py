"""What tests of the terminal share: a task of the house, and turns taken by hand."""

from __future__ import annotations

from pathlib import Path

from agentdistill_environments.terminal import Terminal
from pydantic import JsonValue

from agentdistill.records import Message, ToolCall, Verdict

TASKS = Path(__file__).parents[2] / "tasks"
RENAME = TASKS / "recover" / "interrupted-rename"
HEAD = "[metadata.agentdistill.verifier]"
SUBMIT = Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name="submit"),))
VERIFIER = f'{HEAD}\nmodules = ["stock"]\npackages = false\n'


def use(env: Terminal, name: str, **arguments: JsonValue) -> str:
    """Call a tool; returns what it answers."""
    call = ToolCall(id="call_0_0", name=name, arguments=arguments)
    said, *_ = env.step(Message(role="assistant", tool_calls=(call,)))
    return said[0].content


def bash(env: Terminal, command: str) -> str:
    return use(env, "bash", command=command)


def submit(env: Terminal) -> Verdict:
    *_, info = env.step(SUBMIT)
    verdict = info["verdict"]
    assert isinstance(verdict, Verdict)
    return verdict
