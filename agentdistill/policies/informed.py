"""A policy that is told something in private: it reads the note of a request, and the record never holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agentdistill.notes import with_note
from agentdistill.policies.base import Policy, Request
from agentdistill.records import Completion


class Informed:
    """Shows `Request.note` to a policy; wrapped around the student itself, it makes a self-teacher (2601.18734).

    The note stands in the prompt of that one request. What comes back names no token ids: those that were sampled
    followed a prompt that is not the conversation's, so the turn is rendered like any other teacher's.
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
        """One completion for each request, in order; a request without a note is passed on as it is.

        Raises:
            PolicyError: as the policy inside.
        """
        asked = [_told(request) if request.note else request for request in requests]
        said = self.policy.act(asked)
        return [_bare(each) if request.note else each for request, each in zip(requests, said, strict=True)]


def _told(request: Request) -> Request:
    # Known ids stand for the conversation without the note: they are of no use here.
    return replace(request, messages=with_note(request.messages, request.note), context_ids=(), covered=0)


def _bare(completion: Completion) -> Completion:
    return completion.model_copy(
        update={"token_ids": (), "context_ids": (), "logprobs": (), "inferred": False, "fresh": False}
    )
