"""Policies written in Python: an environment's own teacher, and canned answers for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from agentdistill.errors import PolicyError
from agentdistill.policies.base import Request
from agentdistill.records import Completion, Message


@runtime_checkable
class Teachable(Protocol):
    """An environment that knows how to solve itself."""

    def teach(self, messages: tuple[Message, ...], style: str) -> Message:
        """The assistant turn a competent agent of this style takes here."""
        ...


def no_tokens(message: Message) -> int:
    """Counts nothing: for policies whose words are never paid for."""
    return 0


class ScriptedTeacher:
    """Asks the live environment for the next turn.

    `style` is `knowing` (uses what the environment knows and the student cannot) or `exploring` (held to the
    student's information: it looks before it acts). `count` gives the output tokens of a turn, normally by the
    student's own tokenizer, so that the bill is in the tokens the student is trained on.
    """

    privileged = True

    def __init__(self, style: str = "knowing", count: Callable[[Message], int] = no_tokens) -> None:
        self.style = style
        self.count = count

    @property
    def name(self) -> str:
        """Who this is, for the records."""
        return f"scripted-{self.style}"

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One turn for each request.

        Raises:
            PolicyError: the environment has no teacher.
        """
        completions = []
        for request in requests:
            if not isinstance(request.world, Teachable):
                raise PolicyError(f"{type(request.world).__name__} has no scripted teacher (no `teach` method)")
            message = request.world.teach(request.messages, self.style)
            completions.append(Completion(message=message, output_tokens=self.count(message), model=self.name))
        return completions


class ScriptedPolicy:
    """Answers with what a function of the request says: for tests, demonstrations and fixed opponents."""

    privileged = False

    def __init__(
        self,
        answer: Callable[[Request], Message],
        name: str = "scripted",
        count: Callable[[Message], int] = no_tokens,
    ) -> None:
        self.answer = answer
        self.name = name
        self.count = count

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One turn for each request."""
        said = map(self.answer, requests)
        return [Completion(message=each, output_tokens=self.count(each), model=self.name) for each in said]
