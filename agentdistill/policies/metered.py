"""A policy under a budget of tokens, for those that no ledger bounds: local models, and policies written in Python."""

from __future__ import annotations

from collections.abc import Sequence

from agentdistill.chat import Renderer
from agentdistill.errors import BudgetError, TemplateError
from agentdistill.policies.base import Policy, Request
from agentdistill.records import Completion


class Metered:
    """Counts what a policy reads and writes, and says no answer that would pass the budget.

    Args:
        policy: who acts. One that does not say its tokens is counted with the renderer.
        budget: tokens, read and written together.
        spent: of it, before.
        renderer: of the tokenizer to count with; without one, what is not said is not counted.
    """

    def __init__(self, policy: Policy, budget: int, spent: int = 0, renderer: Renderer | None = None) -> None:
        self.policy = policy
        self.budget = budget
        self.spent = spent
        self.renderer = renderer
        self._dearest = 0

    @property
    def name(self) -> str:
        """Who this is, for the records."""
        return self.policy.name

    @property
    def privileged(self) -> bool:
        """As the policy inside."""
        return self.policy.privileged

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion for each request, in order; one at a time towards the end, so that little is said in vain.

        Raises:
            PolicyError: as the policy inside.
            BudgetError: the next answer passes the budget.
        """
        answers: list[Completion] = []
        while len(answers) < len(requests):
            if self.spent >= self.budget:
                raise BudgetError(self._told())
            left = requests[len(answers) :]
            dearest = self._dearest * len(left) * 2
            now = left if 0 < dearest < self.budget - self.spent else left[:1]
            for request, said in zip(now, self.policy.act(now), strict=True):
                said = self._counted(request, said)
                cost = said.input_tokens + said.output_tokens
                if self.spent + cost > self.budget:
                    self.spent = self.budget
                    raise BudgetError(self._told())
                self.spent += cost
                self._dearest = max(self._dearest, cost)
                answers.append(said)
        return answers

    def _counted(self, request: Request, said: Completion) -> Completion:
        if self.renderer is None or said.output_tokens or said.input_tokens:
            return said
        try:
            read = len(self.renderer.prompt((), 0, request.messages, request.tools).ids)
            written = len(self.renderer.turn(request.messages, said.message, request.tools))
        except TemplateError:
            return said
        return said.model_copy(update={"input_tokens": read, "output_tokens": written})

    def _told(self) -> str:
        return f"the budget of {self.budget:,} tokens is spent: with a larger one the same command goes on from here"
