"""How many tokens somebody read who does not say: counted by the student's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence

from agentdistill.chat.rendering import Renderer
from agentdistill.errors import NothingSupervisedError, TemplateError
from agentdistill.records import Actor, Message, ToolSpec, Trajectory

_BEFORE = (Message(role="user", content="?"),)
_REMEMBERED = 100_000


def tokens_read(trajectory: Trajectory, renderer: Renderer, actor: Actor = "teacher") -> int:
    """Tokens that `actor` read: the whole conversation again at each of its turns, a copied prefix's turns left out.

    Raises:
        TemplateError: the template cannot carry the conversation.
    """
    try:
        rows = renderer.rows(trajectory, trained=actor)
    except NothingSupervisedError:
        return 0
    return sum(
        at
        for row in rows
        for at, (before, here) in enumerate(zip([False, *row.mask], row.mask, strict=False))
        if here and not before
    )


def tokens_told(trajectory: Trajectory, actor: Actor = "teacher") -> int:
    """Tokens that `actor` read by its own account, a copied prefix's turns left out."""
    own = trajectory.steps[trajectory.parent.step if trajectory.parent else 0 :]
    return sum(step.completion.input_tokens for step in own if step.actor == actor)


class Meter:
    """Counts conversations message by message and remembers each message: for many conversations that share most of it.

    Exact where a template writes each message alike wherever it stands, and close to it elsewhere.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self._known: dict[str, int] = {}
        self._frames: dict[str, int] = {}

    def prompt(self, messages: Sequence[Message], tools: tuple[ToolSpec, ...]) -> int:
        """Tokens of a conversation up to where the next turn begins."""
        shown = "\n".join(tool.model_dump_json() for tool in tools)
        if shown not in self._frames:
            self._frames[shown] = len(self.renderer.prompt([], 0, _BEFORE, tools).ids) - self.message(_BEFORE[0])
        return self._frames[shown] + sum(map(self.message, messages))

    def read(self, trajectory: Trajectory) -> int:
        """Tokens that were read in a forked trajectory by whoever goes on: all of it again at each turn."""
        first = trajectory.parent.step if trajectory.parent else 0
        length = self.prompt(trajectory.opening, trajectory.tools)
        total = 0
        for number, step in enumerate(trajectory.steps):
            total += length if number >= first else 0
            length += self.message(step.completion.message) + sum(map(self.message, step.observations))
        return total

    def message(self, message: Message) -> int:
        """Tokens that one message adds to a conversation."""
        calls = [call.model_dump(mode="json", exclude={"id"}) for call in message.tool_calls]
        key = f"{message.role} {message.content!r} {message.reasoning!r} {message.name} {calls}"
        if key not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = self._count(message)
        return self._known[key]

    def _count(self, message: Message) -> int:
        try:
            without = len(self.renderer.prompt([], 0, _BEFORE).ids)
            if message.role == "assistant":  # with what comes before and behind every turn
                return (
                    len(self.renderer.prompt([], 0, (*_BEFORE, message, *_BEFORE)).ids)
                    - without
                    - self.message(_BEFORE[0])
                )
            return len(self.renderer.prompt([], 0, (*_BEFORE, message)).ids) - without
        except TemplateError:  # the template does not let it stand there: its words are what can be counted
            return len(self.renderer.tokenizer.encode(message.content, add_special_tokens=False))
