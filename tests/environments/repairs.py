"""What the tests of Repair share: acting, finding a task of a kind, rewriting a file through the tool."""

from __future__ import annotations

from agentdistill_environments.repair import Repair
from agentdistill_environments.repair.edits import edits
from agentdistill_environments.repair.tasks import Package, make_tasks
from pydantic import JsonValue

from agentdistill.records import Message, Task, ToolCall

CONDITIONS = {
    "conventional": lambda p: p.path.count("/") == 1 and not p.leftover and len(p.combos) == 1,
    "elsewhere": lambda p: p.path.count("/") == 2 and not p.leftover,
    "leftover": lambda p: bool(p.leftover),
    "two bugs": lambda p: len(p.combos) == 2,
}


def package(task: Task) -> Package:
    return Package.model_validate(task.data)


def task_with(condition: str, gap: float = 0.5) -> Task:
    """The first training task for which a property of its package holds."""
    return next(task for task in make_tasks("train", 300, gap=gap) if CONDITIONS[condition](package(task)))


def act(name: str, **arguments: JsonValue) -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name=name, arguments=dict(arguments)),))


def say(repair: Repair, name: str, **arguments: JsonValue) -> str:
    observations, *_ = repair.step(act(name, **arguments))
    return observations[0].content


def write(repair: Repair, path: str, text: str) -> None:
    """Write a file as code run in the sandbox could: any text, with any number of lines."""
    assert repair.sandbox is not None
    repair.sandbox.write_file(path, text.encode())


def fix(repair: Repair) -> int:
    """Open the module of the issue and edit it until it is right; how many edits that took."""
    made = repair.package
    say(repair, "open", path=made.path)
    todo = edits(made.files[made.path], made.solution[made.path])
    for edit in todo:
        assert say(repair, "edit", **edit._asdict()).startswith(f"{edit.line} ")
    return len(todo)


def finish(repair: Repair, messages: tuple[Message, ...], style: str = "knowing") -> tuple[tuple[Message, ...], bool]:
    """Let the teacher act to the end; the conversation and whether it won."""
    while True:
        turn = repair.teach(messages, style)
        observations, reward, terminated, truncated, _ = repair.step(turn)
        messages = (*messages, turn, *observations)
        if terminated or truncated:
            return messages, reward == 1.0
