"""A weak student that makes the mistakes that tasks ship, and a teacher that knows the way out of each: both scripted.

Neither sees more than a server is sent: the task is found by its instruction, the mess by what has been done so far.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentdistill.divergence.judged import ANSWER
from agentdistill.policies import Request
from agentdistill.records import Completion, Message, ToolCall

TASK = """schema_version = "1.4"
[task]
name = "ours/{name}"
description = "Mend add."
[metadata]
split = "{split}"
difficulty = "easy"
family = "arithmetic"
[metadata.agentdistill]
needs_image = false
[metadata.agentdistill.verifier]
modules = ["adder"]
packages = false
[environment]
workdir = "/workspace"
network_mode = "no-network"
"""
TESTS = """import unittest

from adder import add


class AddTest(unittest.TestCase):
    def test_adds(self):
        self.assertEqual([add(2, {n}), add(-1, 1)], [2 + {n}, 0])
"""
MESS = """description = "Made it worse."
by = "hand"
[[actions]]
tool = "bash"
arguments = {{ command = "cat adder.py; echo looking {number}" }}
[[actions]]
tool = "bash"
say = "It has to multiply."
arguments = {{ command = "sed -i s/-/*/ adder.py" }}
[[actions]]
tool = "bash"
arguments = {{ command = "mv adder.py add{number}.py; ls" }}
"""
RECOVER = """#!/bin/bash
set -e
mv add{number}.py adder.py
sed -i 's/*/+/' adder.py
"""


def write_task(root: Path, name: str, messes: int = 1, split: str = "train") -> Path:
    """A task folder: a module of one line that is wrong, and messes in which it is made worse and moved away."""
    folder = root / name
    number = sum(map(ord, name))
    files = {
        "task.toml": TASK.format(name=name, split=split),
        "instruction.md": f"Make add(a, b) in adder.py add. This is task {name}.\n",
        "environment/adder.py": "def add(a, b):\n    return a - b\n",
        "tests/test_add.py": TESTS.format(n=number),
        "tests/test.sh": '#!/bin/bash\nPYTHONPATH="$(dirname "$0"):$PWD" python3 -B -m unittest test_add\n',
        "solution/solve.sh": "#!/bin/bash\nsed -i s/-/+/ adder.py\n",
    }
    for mess in range(messes):
        files[f"messes/mess-{mess}/mess.toml"] = MESS.format(number=mess)
        files[f"messes/mess-{mess}/recover.sh"] = RECOVER.format(number=mess)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@dataclass(frozen=True)
class Mess:
    """A recorded wrong start: the calls in order, and the script that leads out."""

    name: str
    actions: tuple[dict[str, Any], ...]
    recover: str


class Book:
    """The messes of all tasks below a folder, by the tasks' instructions."""

    def __init__(self, root: Path) -> None:
        self.messes: dict[str, list[Mess]] = {}
        for path in sorted(root.rglob("instruction.md")):
            found = [self._read(each) for each in sorted((path.parent / "messes").glob("*"))]
            if found:
                self.messes[path.read_text().strip()] = found

    def _read(self, folder: Path) -> Mess:
        actions = tomllib.loads((folder / "mess.toml").read_text())["actions"]
        return Mess(folder.name, tuple(actions), (folder / "recover.sh").read_text())

    def find(self, request: Request) -> tuple[Mess, list[ToolCall]]:
        """The mess that a conversation is in, and the calls made so far; a new one draws it by the request's seed."""
        text = "\n".join(message.content for message in request.messages if message.role in ("system", "user"))
        (messes,) = (found for instruction, found in self.messes.items() if instruction in text)
        made = [call for message in request.messages for call in message.tool_calls]
        fitting = [mess for mess in messes if _begins(mess, made)]
        return fitting[request.seed % len(fitting)] if not made else fitting[0], made


def _begins(mess: Mess, made: Sequence[ToolCall]) -> bool:
    return all(
        (action["tool"], action["arguments"]) == (call.name, call.arguments)
        for action, call in zip(mess.actions, made, strict=False)
    )


def turn(request: Request, name: str, say: str = "", **arguments: Any) -> Message:
    number = sum(message.role == "assistant" for message in request.messages)
    call = ToolCall(id=f"call_{number}_0", name=name, arguments=arguments)
    return Message(role="assistant", content=say, tool_calls=(call,))


class Messy:
    """The student: makes a mess as it is recorded, then hands it in."""

    name = "messy"
    privileged = False

    def __init__(self, root: Path) -> None:
        self.book = Book(root)

    def __call__(self, request: Request) -> Message:
        mess, made = self.book.find(request)
        if len(made) >= len(mess.actions):
            return turn(request, "submit")
        action = mess.actions[len(made)]
        return turn(request, action["tool"], action.get("say", ""), **action["arguments"])

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        return [Completion(message=self(request), model=self.name) for request in requests]


class Solving(Messy):
    """The teacher: runs the script that leads out of the mess, then hands it in; asked for a step, names the last."""

    name = "solving"

    def __call__(self, request: Request) -> Message:
        if request.tools and request.tools[0].name == ANSWER.name:
            (last,) = re.findall(r"^Steps \d+ to \d+ of (\d+):$", request.messages[-1].content, re.MULTILINE)
            return turn(request, ANSWER.name, step=int(last) - 1, reason="the module is gone")
        mess, made = self.book.find(request)
        if len(made) > len(mess.actions):
            return turn(request, "submit")
        return turn(request, "bash", command=f"bash <<'RECOVER'\n{mess.recover.rstrip()}\nRECOVER")
