"""A tank: let in the litres that were ordered, then close it. Too much cannot be undone, neither can closing."""

from agentdistill import Message, Task, ToolCall, ToolEnvironment, ToolError, Verdict, tool


class Tank(ToolEnvironment):
    """Fill a tank to the litre, then close it."""

    state: dict[str, int]
    step_limit = 12

    def make_task(self, rng):
        goal = int(rng.integers(1, 100_000))
        return Task(id="", environment="tank", instruction=f"Fill in {goal} litres.", data={"goal": goal})

    def setup(self, task):
        self.state = {"litres": 0, "closed": 0}

    @tool
    def fill(self, litres: int) -> str:
        """Let water in.

        Args:
            litres: how much, 1 to 40000
        """
        if not 1 <= litres <= 40_000:
            raise ToolError("the pump does 1 to 40000 litres at a time")
        self.state["litres"] += litres
        return f"{self.state['litres']} litres"

    @tool
    def close_tank(self) -> str:
        """Close the tank; this ends the episode."""
        self.state["closed"] = 1
        self.end()
        return "closed"

    def verify(self):
        right = bool(self.state["closed"]) and self.state["litres"] == self.task.data["goal"]
        return Verdict(passed=right, score=float(right))

    def teach(self, messages, style):
        missing = self.task.data["goal"] - self.state["litres"]
        name, arguments = ("fill", {"litres": min(40_000, missing)}) if missing > 0 else ("close_tank", {})
        turn = sum(message.role == "assistant" for message in messages)
        return Message(role="assistant", tool_calls=(ToolCall(id=f"call_{turn}_0", name=name, arguments=arguments),))
