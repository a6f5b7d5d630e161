"""A typed method becomes a tool: what the model is told, and what it reads when it calls it wrongly."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ToolError
from agentdistill.records import Message, Task, ToolCall, Verdict
from agentdistill.tools import tool, tools_of


class Desk(ToolEnvironment):
    """Tools of every kind of argument."""

    state: list[str]

    def make_task(self, rng: Any) -> Task:
        return Task(id="t", environment="desk", instruction="Write.")

    def setup(self, task: Task) -> None:
        self.state = []

    @tool
    def write(self, line: str, times: int = 1, where: Literal["top", "end"] = "end") -> str:
        """Write a line
        on the paper.

        Args:
            line: what to write;
                it may be long
            times (int): how often

        Returns:
            What is written.
        """
        for _ in range(times):
            self.state.insert(0 if where == "top" else len(self.state), line)
        return "|".join(self.state)

    @tool
    def tick(self, boxes: list[int]) -> str:
        """Tick boxes."""
        if 13 in boxes:
            raise ToolError("no box 13")
        return f"ticked {sum(boxes)}"

    def helper(self) -> None:
        """Not a tool."""

    def verify(self) -> Verdict:
        return Verdict(passed=False, score=0.0)


class BiggerDesk(Desk):
    @tool
    def wait(self) -> str:
        """Wait."""
        raise ToolError("too slow")


def step(*calls: tuple[str, dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Texts and statuses that these calls, all in one turn, are answered with."""
    env = BiggerDesk()
    env.reset(seed=0)
    made = tuple(ToolCall(id=f"c{n}", name=name, arguments=arguments) for n, (name, arguments) in enumerate(calls))
    said, *_, info = env.step(Message(role="assistant", tool_calls=made))
    return [message.content for message in said], [outcome.status for outcome in info["outcomes"]]


def test_the_schema_is_the_signature_with_the_docstrings_words() -> None:
    spec = tools_of(Desk)["write"].spec
    assert (spec.name, spec.description) == ("write", "Write a line on the paper.")
    assert spec.parameters == {
        "type": "object",
        "additionalProperties": False,
        "required": ["line"],
        "properties": {
            "line": {"type": "string", "description": "what to write; it may be long"},
            "times": {"type": "integer", "default": 1, "description": "how often"},
            "where": {"type": "string", "enum": ["top", "end"], "default": "end"},
        },
    }


def test_tools_are_found_in_the_order_written_base_class_first() -> None:
    assert list(tools_of(BiggerDesk)) == ["write", "tick", "wait"]


def test_a_good_call_gets_its_defaults_and_is_answered() -> None:
    assert step(("write", {"line": "a"}), ("write", {"line": "b", "times": 2, "where": "top"})) == (
        ["a", "b|b|a"],
        ["ok", "ok"],
    )


@pytest.mark.parametrize(
    ("name", "arguments", "status", "text"),
    [
        ("wirte", {}, "unknown_tool", "error: there is no tool 'wirte'; the tools are write, tick, wait"),
        ("helper", {}, "unknown_tool", "error: there is no tool 'helper'; the tools are write, tick, wait"),
        ("verify", {}, "unknown_tool", "error: there is no tool 'verify'; the tools are write, tick, wait"),
        ("write", {}, "bad_argument", "error: write: argument 'line' is missing"),
        ("write", {"line": "a", "x": 1}, "bad_argument", "error: write: there is no argument 'x'"),
        ("write", {"line": "a", "self": 1}, "bad_argument", "error: write: there is no argument 'self'"),
        ("write", {"line": 3}, "bad_argument", "error: write: argument 'line': input should be a valid string"),
        ("write", {"line": "a", "times": "2"}, "bad_argument", "'times': input should be a valid integer"),
        ("write", {"line": "a", "times": True}, "bad_argument", "'times': input should be a valid integer"),
        ("write", {"line": "a", "where": "left"}, "bad_argument", "'where': input should be 'top' or 'end'"),
        ("tick", {"boxes": [1, "x"]}, "bad_argument", "'boxes.1': input should be a valid integer"),
        ("tick", {"boxes": [13]}, "failed", "error: no box 13"),
        ("wait", {}, "failed", "error: too slow"),
    ],
)
def test_a_bad_call_is_an_observation_that_says_what_is_wrong(
    name: str, arguments: dict[str, Any], status: str, text: str
) -> None:
    (said,), (found,) = step((name, arguments))
    assert found == status
    assert text in said
    assert "\n" not in said


def test_of_parallel_calls_each_is_answered_in_order_and_a_bad_one_does_not_stop_the_rest() -> None:
    env = Desk()
    env.reset(seed=0)
    calls = (
        ToolCall(id="x", name="write", arguments={"line": "a"}),
        ToolCall(id="y", name="nonsense"),
        ToolCall(id="z", name="", problem="the call is not JSON"),
        ToolCall(id="x", name="write", arguments={"line": "b"}),
    )
    said, *_, info = env.step(Message(role="assistant", tool_calls=calls))
    assert [(m.role, m.tool_call_id) for m in said] == [("tool", "x"), ("tool", "y"), ("tool", "z"), ("tool", "x")]
    assert [o.status for o in info["outcomes"]] == ["ok", "unknown_tool", "malformed", "ok"]
    assert said[-1].content == "a|b"
    assert env.steps_taken == 1


def test_a_turn_without_a_call_is_answered_by_the_user() -> None:
    env = Desk()
    env.reset(seed=0)
    said, *_, info = env.step(Message(role="assistant", content="Done!"))
    assert [message.role for message in said] == ["user"]
    assert info["outcomes"][0].status == "malformed"


def test_what_cannot_become_a_tool_is_refused_when_the_class_is_written() -> None:
    def undocumented(self: Any, x: int) -> str:
        return ""

    def untyped(self: Any, x) -> str:  # type: ignore[no-untyped-def]
        """Do."""
        return ""

    def starred(self: Any, *x: int) -> str:
        """Do."""
        return ""

    for function, why in ((undocumented, "docstring"), (untyped, "needs a type"), (starred, "JSON argument")):
        with pytest.raises(TypeError, match=why):
            tool(function)
