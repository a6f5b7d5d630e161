"""The scripted teacher: from any state to the repaired package, in the words of a competent agent.

It knows the solution. What it does is what an agent does who has understood the issue: find the file, open it, put one
wrong line after the other right, delete the leftover, run the tests, submit. With little budget left it skips what is
not needed; where nothing can be won any more it submits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from agentdistill.records import Message, ToolCall

from .edits import Done, edits
from .tasks import Package


@dataclass(frozen=True)
class Situation:
    """What is true now: the files that can be read, which is open, what was edited in it, what the tests said last."""

    package: Package
    files: Mapping[str, str]
    open: str
    edited: Sequence[Done]
    tests: str
    remaining: int

    @property
    def lost(self) -> bool:
        """True if a file that must be there is gone, or has more or fewer lines: no tool makes files or lines.

        Only code run by the tests can change the number of lines; such a file counts as lost whatever it does.
        """
        return any(
            path not in self.files or self.files[path].count("\n") != text.count("\n")
            for path, text in self.package.solution.items()
        )

    @property
    def damaged(self) -> list[str]:
        """Files whose text is not what it must be: the open one first, then the one of the issue."""
        wrong = [path for path, text in self.package.solution.items() if self.files.get(path) != text]
        return sorted(wrong, key=lambda path: (path != self.open, path != self.package.path, path))

    @property
    def leftover(self) -> bool:
        """True if something that must be deleted is still there."""
        return self.package.leftover in self.files

    @property
    def cost(self) -> int | None:
        """The fewest steps that win: open each damaged file, an edit for each wrong line, delete, submit; None if lost.

        An upper bound where a text differs from the solution and yet does the same.
        """
        if self.lost:
            return None
        opens = sum(path != self.open for path in self.damaged)
        wrong = sum(len(edits(self.files[path], self.package.solution[path])) for path in self.damaged)
        return opens + wrong + self.leftover + 1


def next_call(situation: Situation, messages: Sequence[Message], style: str) -> Message:
    """The turn a competent agent takes here: one call and no words."""
    name, arguments = _choose(situation, messages, style)
    number = sum(message.role == "assistant" for message in messages)
    return Message(role="assistant", tool_calls=(ToolCall(id=f"call_{number}_0", name=name, arguments=arguments),))


def _choose(situation: Situation, messages: Sequence[Message], style: str) -> tuple[str, dict[str, JsonValue]]:
    cost = situation.cost
    if cost is None:
        return "submit", {}
    spare = situation.remaining - cost
    if situation.damaged:
        path = situation.damaged[0]
        if path != situation.open:
            return _find(situation, path, messages, style) if spare > 0 else ("open", {"path": path})
        if situation.edited and _better_undone(situation.edited[-1], situation, path, spare):
            return "undo", {}
        edit = edits(situation.files[path], situation.package.solution[path])[0]
        return "edit", {"line": edit.line, "old": edit.old, "new": edit.new}
    if situation.leftover:
        return "delete", {"path": situation.package.leftover}
    if situation.tests == "unknown" and spare > 0:
        return "test", {}
    return "submit", {}


def _better_undone(last: Done, situation: Situation, path: str, spare: int) -> bool:
    """True if a wrong line is as the last edit left it, and there is time to start again from what it said before."""
    now, goal = (text.split("\n")[last.line - 1] for text in (situation.files[path], situation.package.solution[path]))
    return now == last.after != goal and (last.before == goal or spare > 0)


def _find(situation: Situation, path: str, messages: Sequence[Message], style: str) -> tuple[str, dict[str, JsonValue]]:
    """Open `path`, or look for it first if an agent would not know by now where it is."""
    look = style == "exploring"
    looked: set[str] = set()
    for name, arguments, answer in calls_of(messages):
        if name == "open" and answer.startswith("error: no such file"):
            look, looked = True, set()
        elif name == "open" and arguments.get("path") == path and not answer.startswith("error"):
            look = False
        elif name in ("search", "list"):
            looked.add(name)
            if any(line.split(": ", 1)[0] == path for line in answer.splitlines()):
                look = False
    if look and path == situation.package.path and "search" not in looked:
        return "search", {"text": situation.package.module}
    if look and "list" not in looked:
        return "list", {}
    return "open", {"path": path}


def calls_of(messages: Sequence[Message]) -> list[tuple[str, Mapping[str, JsonValue], str]]:
    """Every call of a conversation with its answer: name, arguments, text."""
    found: list[tuple[str, Mapping[str, JsonValue], str]] = []
    waiting: list[ToolCall] = []
    for message in messages:
        if message.role == "assistant":
            waiting = list(message.tool_calls)
        elif message.role == "tool" and waiting:
            call = waiting.pop(0)
            found.append((call.name, call.arguments, message.content))
    return found
