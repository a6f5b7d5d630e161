"""A causal language model of transformers as a policy: exact ids kept, one batch over all live conversations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from agentdistill.chat import Prompt, Renderer
from agentdistill.errors import PolicyError
from agentdistill.policies.base import Request, ScoreRequest, Scores
from agentdistill.policies.local.continuous import ContinuousBatch
from agentdistill.policies.local.plain import PlainBatches
from agentdistill.policies.local.pretrained import Checkpoint
from agentdistill.policies.local.probing import longest_context, probe
from agentdistill.policies.local.sampling import Sampling, Turn
from agentdistill.policies.local.scoring import score
from agentdistill.records import Completion, Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalPolicy:
    """Samples turns from a causal language model, and scores given tokens under it: a `Policy` and a `Scorer`.

    What is sampled for a request depends on its conversation and its seed; the other requests of the batch, and what
    is still known of earlier turns, change it by floating-point noise only.
    """

    privileged = False

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        sampling: Sampling | None = None,
        name: str = "local",
    ) -> None:
        self.model = model
        model.train(False)
        self.renderer = Renderer(tokenizer)
        self.sampling = sampling or Sampling()
        self.name = name
        self.context = longest_context(model, tokenizer)
        self._batch: ContinuousBatch | PlainBatches | None = None
        self._asked: dict[Turn, tuple[int, Request, Prompt]] = {}
        self._answers: list[tuple[int, Completion]] = []
        self._tickets = 0

    @classmethod
    def load(cls, source: Path | str | Checkpoint, sampling: Sampling | None = None, name: str = "") -> LocalPolicy:
        """Load model and tokenizer: from a folder in the Hugging Face layout, a hub id, or as a `Checkpoint` says.

        Raises:
            ConfigError: nothing can be loaded from there, or not safely.
        """
        checkpoint = source if isinstance(source, Checkpoint) else Checkpoint(model=str(source))
        model, tokenizer = checkpoint.load()
        return cls(model, tokenizer, sampling, name or Path(checkpoint.model).name)

    @property
    def batch(self) -> ContinuousBatch | PlainBatches:
        """What samples; which of the two is tried out on the model when it is first needed."""
        if self._batch is None:
            shape = probe(self.model)
            if shape is None:
                self._batch = PlainBatches(self.model, self.sampling, self.renderer.stop_ids)
            else:
                self._batch = ContinuousBatch(self.model, shape, self.sampling, self.renderer.stop_ids)
        return self._batch

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One turn for each request.

        Raises:
            PolicyError: the device has not enough memory.
        """
        tickets = self.submit(requests)
        mine = set(tickets)
        answers: dict[int, Completion] = {}
        others: list[tuple[int, Completion]] = []
        while len(answers) < len(mine):
            for ticket, completion in self.advance():
                if ticket in mine:
                    answers[ticket] = completion
                else:
                    others.append((ticket, completion))
        self._answers += others
        return [answers[ticket] for ticket in tickets]

    def submit(self, requests: Sequence[Request]) -> list[int]:
        """Let requests join the batch as soon as there is room; `advance` answers them by these tickets.

        Raises:
            TemplateError: the chat template does not let a conversation be rendered exactly.
        """
        tickets = []
        turns: list[Turn] = []
        fed = [
            self.renderer.prompt(request.context_ids, request.covered, request.messages, request.tools)
            for request in requests
        ]
        for request, new in zip(requests, fed, strict=True):
            tickets.append(self._tickets)
            self._tickets += 1
            prompt = list(new.ids) if new.fresh else [*request.context_ids, *new.ids]
            room = min(self.sampling.max_new_tokens, self.context - len(prompt))
            if room > 0:
                turns.append(Turn(prompt, request.seed, room))
                self._asked[turns[-1]] = tickets[-1], request, new
            else:
                full = Completion(message=Message(role="assistant"), finish="context", model=self.name)
                self._answers.append((tickets[-1], full))
        # Conversations of similar length stand together, where they do not all fit at once.
        for turn in sorted(turns, key=lambda turn: len(turn.prompt)):
            self.batch.submit(turn)
        return tickets

    def advance(self) -> list[tuple[int, Completion]]:
        """Go on by about one token for everybody; the turns that are over, by their tickets.

        Raises:
            PolicyError: the device has not enough memory; whatever had been submitted is forgotten.
        """
        answers, self._answers = self._answers, []
        if not self._asked:
            return answers
        try:
            over = self.batch.advance()
        except BaseException as error:
            self._asked.clear()
            self.batch.clear()
            if isinstance(error, torch.OutOfMemoryError):
                raise PolicyError(
                    f"{self.name}: the device has not enough memory: lower sampling.cache_bytes, sampling.batch or "
                    "sampling.prefill_tokens"
                ) from error
            raise
        return answers + [self._answer(turn) for turn in over]

    def cancel(self, tickets: Sequence[int]) -> None:
        """Answer these no more."""
        gone = [turn for turn, (ticket, _, _) in self._asked.items() if ticket in tickets]
        for turn in gone:
            del self._asked[turn]
            self.batch.cancel(turn)
        self._answers = [answer for answer in self._answers if answer[0] not in tickets]

    def score(self, requests: Sequence[ScoreRequest]) -> list[Scores]:
        """Natural log-probabilities of given ids at temperature 1.

        Raises:
            PolicyError: a wanted place is not in the ids, or has nothing before it; or the context is too short.
        """
        for request in requests:
            if len(request.ids) > self.context or not all(1 <= place < len(request.ids) for place in request.wanted):
                raise PolicyError(
                    f"{self.name}: {len(request.ids)} ids cannot be scored at all places wanted: there must be one "
                    f"before, and the context holds {self.context}"
                )
        return score(self.model, requests, self.sampling.prefill_tokens)

    def _answer(self, turn: Turn) -> tuple[int, Completion]:
        ticket, request, fed = self._asked.pop(turn)
        number = sum(message.role == "assistant" for message in request.messages)
        return ticket, Completion(
            message=self.renderer.read(turn.sampled, number, request.tools, turn.prompt),
            token_ids=tuple(turn.sampled),
            context_ids=tuple(fed.ids),
            fresh=fed.fresh,
            logprobs=tuple(turn.logprobs),
            input_tokens=len(turn.prompt),
            output_tokens=len(turn.sampled),
            finish="stop" if turn.sampled[-1] in self.renderer.stop_ids else "length",
            model=self.name,
        )
