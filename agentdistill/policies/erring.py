"""A teacher that errs at random and then mends it: the baseline of injected mistakes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from pydantic import JsonValue

from agentdistill.errors import ConfigError
from agentdistill.policies.base import Policy, Request
from agentdistill.policies.scripted import no_tokens
from agentdistill.records import Completion, Message, ToolCall, ToolSpec, derive_seed, digest_of
from agentdistill.spaces import MessageSpace


class Erring:
    """Lets a teacher act, but for turns at which a random call is made in its place; those are marked `mistaken`.

    Nothing has to be told the teacher afterwards: it is asked again in the world that the mistake has left. Mistaken
    turns stand in a segment as context and carry no loss.

    Args:
        teacher: who acts otherwise.
        share: probability of a mistake at each turn; or, with `once`, of one mistake in the episode.
        once: err at most once in an episode, at one of its first `once` turns.
        turns: mistakes to draw from, such as turns of failed students. Without them, a call of a random tool is made,
            with arguments that the conversation has used for the same parameter or names, where it has any.
        seed: decides, with the request or the conversation's beginning, when and how it errs.
        count: output tokens of a mistake: its lead-in is charged like anything else the teacher says.

    Raises:
        ConfigError: `share` does not lie in [0, 1].
    """

    def __init__(
        self,
        teacher: Policy,
        share: float,
        *,
        once: int | None = None,
        turns: Sequence[Message] = (),
        seed: int = 0,
        count: Callable[[Message], int] = no_tokens,
    ) -> None:
        if not 0 <= share <= 1:
            raise ConfigError(f"share must lie in [0, 1], not {share}")
        self.teacher = teacher
        self.share = share
        self.once = once
        self.turns = tuple(turns)
        self.seed = seed
        self.count = count

    @property
    def name(self) -> str:
        """Who this is, for the records."""
        return f"erring {self.teacher.name}"

    @property
    def privileged(self) -> bool:
        """As the teacher."""
        return self.teacher.privileged

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order.

        Raises:
            PolicyError: the teacher did not answer.
        """
        wrong = {at: message for at, request in enumerate(requests) if (message := self._mistake(request)) is not None}
        right = [at for at in range(len(requests)) if at not in wrong]
        answers = self.teacher.act([requests[at] for at in right]) if right else []
        said = dict(zip(right, answers, strict=True))
        for at, message in wrong.items():
            said[at] = Completion(message=message, output_tokens=self.count(message), model=self.name, mistaken=True)
        return [said[at] for at in range(len(requests))]

    def _mistake(self, request: Request) -> Message | None:
        """What is done wrong at this turn; `None` if nothing is."""
        turn = sum(message.role == "assistant" for message in request.messages)
        luck = np.random.default_rng(derive_seed("erring", self.seed, request.seed))
        if self.once is None:
            if luck.random() >= self.share:
                return None
        else:
            begun = [message.model_dump(mode="json") for message in request.messages if message.role != "tool"]
            first = next((at for at, message in enumerate(request.messages) if message.role == "assistant"), None)
            begun = begun[: len(request.messages) if first is None else first]
            episode = np.random.default_rng(derive_seed("erring once", self.seed, digest_of(cast("JsonValue", begun))))
            if episode.random() >= self.share or turn != int(episode.integers(self.once)):
                return None
        if self.turns:
            chosen = self.turns[int(luck.integers(len(self.turns)))]
        elif request.tools:
            chosen = _random_call(request, luck)
        else:
            return None
        calls = tuple(call.model_copy(update={"id": f"call_{turn}_{at}"}) for at, call in enumerate(chosen.tool_calls))
        return chosen.model_copy(update={"tool_calls": calls})


def _random_call(request: Request, luck: np.random.Generator) -> Message:
    """A valid call of a random tool, with values seen before where the schema leaves them open."""
    spec = request.tools[int(luck.integers(len(request.tools)))]
    sampled = MessageSpace([spec], seed=luck).sample().tool_calls[0]
    arguments = dict(sampled.arguments)
    for name in arguments:
        seen = _seen(request.messages, spec, name)
        if seen:
            arguments[name] = seen[int(luck.integers(len(seen)))]
    return Message(role="assistant", tool_calls=(ToolCall(id="", name=spec.name, arguments=arguments),))


def _seen(messages: Sequence[Message], spec: ToolSpec, name: str) -> list[JsonValue]:
    """What earlier calls gave for a parameter of this name and type, each once; nothing where the values are named."""
    properties = cast("dict[str, dict[str, JsonValue]]", spec.parameters.get("properties", {}))
    schema = properties.get(name, {})
    if "enum" in schema or schema.get("type") not in ("string", "integer", "number"):
        return []
    known: dict[str, tuple[type, ...]] = {"string": (str,), "integer": (int,), "number": (int, float)}
    kinds = known[cast("str", schema["type"])]
    given = [call.arguments[name] for message in messages for call in message.tool_calls if name in call.arguments]
    fits = [value for value in given if isinstance(value, kinds) and not isinstance(value, bool)]
    return list(dict.fromkeys(cast("list[str | int | float]", fits)))
