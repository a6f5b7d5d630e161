"""A policy that is told something in private: it reads the note of a request, and the record never holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentdistill.notes import with_note
from agentdistill.policies.base import Policy, Request
from agentdistill.records import Completion


class Informed:
    """Shows `Request.note` to a policy; wrapped around the student itself, it makes a self-teacher (2601.18734).

    The note stands in the prompt of that one request. Ids pass neither way: those of the conversation are the student's
    and stand for it without the note, and those that come back follow a prompt that is not the conversation's. So the
    turn is rendered like any other teacher's. Any local model that teaches can be wrapped so, note or not.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def name(self) -> str:
        """Who this is, for the records."""
        return f"informed {self.policy.name}"

    @property
    def privileged(self) -> bool:
        """As the policy inside."""
        return self.policy.privileged

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order.

        Raises:
            PolicyError: as the policy inside.
        """
        return [_bare(completion) for completion in self.policy.act([_told(request) for request in requests])]


def _told(request: Request) -> Request:
    messages = with_note(request.messages, request.note) if request.note else request.messages
    return replace(request, messages=messages, context_ids=(), covered=0)


def _bare(completion: Completion) -> Completion:
    return completion.model_copy(
        update={"token_ids": (), "context_ids": (), "logprobs": (), "inferred": False, "fresh": False}
    )
