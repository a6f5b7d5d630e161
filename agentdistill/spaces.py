"""Gymnasium spaces of an environment that is acted in by messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import gymnasium
import numpy as np
from pydantic import JsonValue

from agentdistill.records import Message, ToolCall, ToolSpec


class MessageSpace(gymnasium.Space[Message]):
    """Assistant messages. `sample` makes one call of a random tool with arguments of the right types."""

    def __init__(self, tools: Sequence[ToolSpec], seed: int | np.random.Generator | None = None) -> None:
        super().__init__(None, None, seed)
        self.tools = tuple(tools)

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> Message:
        """A message with one random call."""
        if not self.tools:
            return Message(role="assistant", content="...")
        spec = self.tools[int(self.np_random.integers(len(self.tools)))]
        properties = cast("dict[str, dict[str, JsonValue]]", spec.parameters.get("properties", {}))
        arguments = {name: self._value(schema) for name, schema in properties.items()}
        return Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name=spec.name, arguments=arguments),))

    def _value(self, schema: Mapping[str, JsonValue]) -> JsonValue:
        if isinstance(schema.get("enum"), list):
            choices = cast("list[JsonValue]", schema["enum"])
            return choices[int(self.np_random.integers(len(choices)))]
        if schema.get("type") == "integer":
            return int(self.np_random.integers(0, 10))
        if schema.get("type") == "number":
            return float(self.np_random.random())
        if schema.get("type") == "boolean":
            return bool(self.np_random.integers(2))
        if schema.get("type") == "array":
            return [self._value(cast("dict[str, JsonValue]", schema.get("items", {})))]
        return str(self.np_random.choice(["a", "b", "main.py"]))

    def contains(self, x: Any) -> bool:
        """True for any assistant message: what it says may still be wrong, and is answered."""
        return isinstance(x, Message) and x.role == "assistant"

    @property
    def is_np_flattenable(self) -> bool:
        """Text cannot be flattened into an array."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessageSpace) and other.tools == self.tools

    def __hash__(self) -> int:
        return hash(tuple(spec.name for spec in self.tools))


class MessagesSpace(gymnasium.Space[tuple[Message, ...]]):
    """Tuples of messages that the environment says."""

    def sample(self, mask: Any | None = None, probability: Any | None = None) -> tuple[Message, ...]:
        """One user message."""
        return (Message(role="user", content="..."),)

    def contains(self, x: Any) -> bool:
        """True for a tuple of messages none of which is the assistant's."""
        return isinstance(x, tuple) and all(isinstance(m, Message) and m.role != "assistant" for m in x)

    @property
    def is_np_flattenable(self) -> bool:
        """Text cannot be flattened into an array."""
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MessagesSpace)

    def __hash__(self) -> int:
        return hash(MessagesSpace)
