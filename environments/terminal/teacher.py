"""The teacher that knows the solution: it gives the commands of ``solution/solve.sh`` one by one, then submits."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from agentdistill.formats.harbor import HarborFile
from agentdistill.records import Message, ToolCall

_NEEDS_OTHERS = re.compile(
    r"<<|(\\|&&|\||\()$|^(for|while|until|if|case|select|function|local|declare|trap)\b|^([{(]|[\w-]+ *\(\)|\w+=[$]\()"
)
_ASSIGNMENT = re.compile(r"\w+=")


def next_turn(messages: Sequence[Message], solutions: Sequence[Mapping[str, HarborFile]]) -> Message:
    """The next command that has not been given in this conversation; `submit` after those of each solution.

    Args:
        messages: the conversation.
        solutions: the files of a task's solution, or of each of its steps.
    """
    given = iter([_said(call) for message in messages for call in message.tool_calls])
    # `in` on an iterator goes on where the command before was found: they must have been given in this order.
    name, command = next((each for each in _lesson(solutions) if each not in given), ("submit", ""))
    number = sum(message.role == "assistant" for message in messages)
    call = ToolCall(id=f"call_{number}_0", name=name, arguments={"command": command} if name == "bash" else {})
    return Message(role="assistant", tool_calls=(call,))


def script_of(solution: Mapping[str, HarborFile]) -> str:
    """The text of ``solve.sh``; empty where there is none."""
    return solution["solve.sh"].content.decode("utf-8", "replace") if "solve.sh" in solution else ""


def _lesson(solutions: Sequence[Mapping[str, HarborFile]]) -> Iterator[tuple[str, str]]:
    for files in solutions:
        yield from (("bash", command) for command in _commands(script_of(files)))
        yield ("submit", "")


def _said(call: ToolCall) -> tuple[str, str]:
    return call.name, str(call.arguments.get("command", "")) if call.name == "bash" else ""


def _commands(script: str) -> list[str]:
    """A script line by line, or whole where a line may need others.

    So do here-documents, continued lines, open quotes, loops, conditions, functions, and variables, of which a shell
    keeps none but those that are exported from one command line to the next.
    """
    lines = [line.strip() for line in script.splitlines()]
    alone = [line for line in lines if line and not line.startswith(("#", "set "))]
    if not all(map(_is_whole, alone)):
        return [script]
    return alone


def _is_whole(line: str) -> bool:
    if _NEEDS_OTHERS.search(line):
        return False
    try:
        words = shlex.split(line)
    except ValueError:  # a quote that another line closes
        return False
    return not all(_ASSIGNMENT.match(word) for word in words)
