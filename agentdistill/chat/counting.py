"""How many tokens somebody read, where nobody told: counted by the student's own tokenizer."""

from __future__ import annotations

from agentdistill.chat.rendering import Renderer
from agentdistill.errors import NothingSupervisedError
from agentdistill.records import Actor, Message, ToolSpec, Trajectory


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


def prompt_tokens(messages: tuple[Message, ...], tools: tuple[ToolSpec, ...], renderer: Renderer) -> int:
    """Tokens of a conversation, up to where the next turn begins.

    Raises:
        TemplateError: the template cannot carry the conversation.
    """
    return len(renderer.prompt([], 0, messages, tools).ids)
