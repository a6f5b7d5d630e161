"""Two policies that take turns by chance: DAgger's mixture of the learner and the expert (Ross et al., 2011)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from agentdistill.errors import ConfigError
from agentdistill.policies.base import Policy, Request
from agentdistill.records import Completion, derive_seed


class Mixture:
    """At each turn the teacher acts with probability `beta`, else the student; `Completion.by` says who did.

    The first `lead` turns of a conversation are the teacher's in any case (TCOD, 2604.24005, back to front).

    The coin is the request's own: the same episode meets the same coins, whatever is asked beside it. The student is
    told no note. Its turns keep their exact token ids.

    Raises:
        ConfigError: `beta` does not lie in [0, 1].
    """

    def __init__(self, student: Policy, teacher: Policy, beta: float, lead: int = 0) -> None:
        if not 0 <= beta <= 1:
            raise ConfigError(f"beta must lie in [0, 1], not {beta}")
        self.student = student
        self.teacher = teacher
        self.beta = beta
        self.lead = lead

    @property
    def name(self) -> str:
        """Who this is, for the records."""
        return f"{self.beta:g} {self.teacher.name} in {self.student.name}"

    @property
    def privileged(self) -> bool:
        """True if one of the two reads the live environment."""
        return self.student.privileged or self.teacher.privileged

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order; each of the two is asked once, for all its turns.

        Raises:
            PolicyError: one of the two did not answer.
        """
        taught = [self._teaches(request) for request in requests]
        theirs = [at for at, teacher in enumerate(taught) if teacher]
        own = [at for at, teacher in enumerate(taught) if not teacher]
        said: dict[int, Completion] = {}
        if theirs:
            answers = self.teacher.act([requests[at] for at in theirs])
            said |= {at: each.model_copy(update={"by": "teacher"}) for at, each in zip(theirs, answers, strict=True)}
        if own:
            answers = self.student.act([replace(requests[at], note="") for at in own])
            said |= {at: each.model_copy(update={"by": "student"}) for at, each in zip(own, answers, strict=True)}
        return [said[at] for at in range(len(requests))]

    def _teaches(self, request: Request) -> bool:
        turn = sum(message.role == "assistant" for message in request.messages)
        return turn < self.lead or np.random.default_rng(derive_seed("mixture", request.seed)).random() < self.beta
