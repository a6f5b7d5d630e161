"""A transformers causal language model as a policy: one batch over all live conversations, exact ids kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from pydantic import BaseModel, ConfigDict, Field
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from agentdistill.chat import Renderer
from agentdistill.errors import ConfigError
from agentdistill.policies.base import Request
from agentdistill.records import Completion, Message

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Sampling(BaseModel):
    """How a local policy samples."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(default=1.0, ge=0.0)
    """Divides the logits; 0 takes the likeliest token."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    """Keeps the likeliest tokens that together have this probability."""
    max_new_tokens: int = Field(default=64, gt=0)
    """Longest turn."""
    batch: int = Field(default=128, gt=0)
    """Most conversations in one forward pass."""


class LocalPolicy:
    """Samples turns from a causal language model.

    What is sampled for a request depends on its conversation and its seed; the other requests of the batch change it by
    floating-point noise only.
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
        self.context = int(model.config.max_position_embeddings)

    @classmethod
    def load(cls, folder: Path, sampling: Sampling | None = None, name: str = "") -> LocalPolicy:
        """Load model and tokenizer from a folder in the Hugging Face layout (safetensors only).

        Raises:
            ConfigError: the folder holds no model that can be loaded.
        """
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no model can be loaded from {folder}: {str(error).splitlines()[0]}") from error
        return cls(model, tokenizer, sampling, name or folder.name)

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        """One turn for each request, sampled in batches of conversations of similar length."""
        fed = [
            self.renderer.prompt(request.context_ids, request.covered, request.messages, request.tools)
            for request in requests
        ]
        prompts = [
            new.ids if new.fresh else [*request.context_ids, *new.ids]
            for request, new in zip(requests, fed, strict=True)
        ]
        lengths = [len(prompt) for prompt in prompts]
        answers: dict[int, Completion] = {
            index: Completion(message=Message(role="assistant"), finish="context", model=self.name)
            for index, length in enumerate(lengths)
            if length >= self.context
        }
        fitting = sorted((i for i in range(len(requests)) if i not in answers), key=lambda i: lengths[i])
        for start in range(0, len(fitting), self.sampling.batch):
            rows = fitting[start : start + self.sampling.batch]
            sampled = self._sample([prompts[i] for i in rows], [requests[i].seed for i in rows])
            for i, (ids, logprobs) in zip(rows, sampled, strict=True):
                turn = sum(message.role == "assistant" for message in requests[i].messages)
                answers[i] = Completion(
                    message=self.renderer.read(ids, turn, requests[i].tools, prompts[i]),
                    token_ids=tuple(ids),
                    context_ids=tuple(fed[i].ids),
                    fresh=fed[i].fresh,
                    logprobs=tuple(logprobs),
                    input_tokens=lengths[i],
                    output_tokens=len(ids),
                    finish="stop" if ids[-1] in self.renderer.stop_ids else "length",
                    model=self.name,
                )
        return [answers[index] for index in range(len(requests))]

    @torch.inference_mode()
    def _sample(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> list[tuple[list[int], list[float]]]:
        """Sampled ids and their log-probabilities for each prompt, left-padded into one batch."""
        device = self.model.device
        longest = max(map(len, prompts))
        most = self.sampling.max_new_tokens
        room = torch.tensor([min(most, self.context - len(prompt)) for prompt in prompts], device=device)
        ids = torch.zeros(len(prompts), longest, dtype=torch.long)
        mask = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        ids, mask = ids.to(device), mask.to(device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        # One uniform number per token of each request, drawn from the request's own seed.
        luck = torch.from_numpy(
            np.stack([np.random.Generator(np.random.Philox(seed)).random(most) for seed in seeds])
        ).to(device)
        stops = torch.tensor(sorted(self.renderer.stop_ids), device=device)
        cache = DynamicCache(config=self.model.config)
        sampled: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        rows = list(range(len(prompts)))
        for at in range(int(room.max())):
            output: Any = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                logits_to_keep=1,
                use_cache=True,
            )
            chosen, chosen_logprobs = self._choose(output.logits[:, -1].float(), luck[rows, at])
            for row, token, logprob in zip(rows, chosen.tolist(), chosen_logprobs.tolist(), strict=True):
                sampled[row].append(token)
                logprobs[row].append(logprob)
            going = (~torch.isin(chosen, stops) & (room > at + 1)).nonzero().flatten()
            if going.numel() == 0:
                break
            if going.numel() < len(rows):  # finished conversations leave the batch
                cache.batch_select_indices(going)
                chosen, mask, positions, room = chosen[going], mask[going], positions[going], room[going]
                rows = [rows[i] for i in going.tolist()]
            ids = chosen[:, None]
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            positions = positions[:, -1:] + 1
        return list(zip(sampled, logprobs, strict=True))

    def _choose(self, logits: torch.Tensor, luck: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids [rows] and their log-probabilities [rows] from logits [rows, vocabulary] and uniforms [rows]."""
        if self.sampling.temperature == 0.0:
            logprobs = torch.log_softmax(logits, dim=-1)
            chosen = logprobs.argmax(dim=-1)
        else:
            logprobs = torch.log_softmax(logits / self.sampling.temperature, dim=-1)
            probabilities, order = logprobs.exp().double().sort(dim=-1, descending=True, stable=True)
            cumulative = probabilities.cumsum(dim=-1)
            kept = (cumulative - probabilities) < self.sampling.top_p
            total = (probabilities * kept).sum(dim=-1)
            logprobs = logprobs - total.log().float()[:, None]  # what is sampled from is only what was kept
            place = (cumulative < (luck * total)[:, None]).sum(dim=-1)
            place = torch.minimum(place, kept.sum(dim=-1) - 1)
            chosen = order.gather(1, place[:, None])[:, 0]
        return chosen, logprobs.gather(1, chosen[:, None])[:, 0]
