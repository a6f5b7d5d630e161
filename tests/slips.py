"""An environment whose world is a sandbox and whose tasks a tiny student learns in seconds, though not quite."""

from __future__ import annotations

import numpy as np

from agentdistill import Message, Task, ToolCall, ToolEnvironment, Verdict, tool

WORDS = ("red", "green", "blue", "black")


class Slips(ToolEnvironment):
    """Write two words on slips of paper, in the order of the task, then hand them in."""

    uses_sandbox = True
    step_limit = 6
    state: None

    def make_task(self, rng: np.random.Generator) -> Task:
        first, second = rng.choice(WORDS, 2).tolist()
        return Task(id="", environment="slips", instruction=f"{first} {second}", data={})

    def setup(self, task: Task) -> None:
        self.state = None
        assert self.sandbox is not None
        self.sandbox.write_file("slips", b"")

    def slips(self) -> list[str]:
        assert self.sandbox is not None
        return self.sandbox.read_file("slips").decode().split()

    def verify(self) -> Verdict:
        passed = self.slips()[-2:] == self.task.instruction.split()
        return Verdict(passed=passed, score=float(passed))

    @tool
    def write(self, word: str) -> str:
        """Write a word on the next slip.

        Args:
            word: which
        """
        assert self.sandbox is not None
        self.sandbox.write_file("slips", " ".join([*self.slips(), word]).encode())
        return "written"

    @tool
    def hand_in(self) -> str:
        """Hand in what is written."""
        self.end()
        return "done"

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        wanted, there = self.task.instruction.split(), self.slips()
        done = next(count for count in (2, 1, 0) if there[len(there) - count :] == wanted[:count])
        name, arguments = ("hand_in", {}) if done == 2 else ("write", {"word": wanted[done]})
        turn = sum(message.role == "assistant" for message in messages)
        return Message(role="assistant", tool_calls=(ToolCall(id=f"call_{turn}_0", name=name, arguments=arguments),))
