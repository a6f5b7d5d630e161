"""A tiny student made by our own code: a real architecture from a config, a real tokenizer, a real chat template.

Nothing is downloaded. The tokenizer is a byte-level BPE trained on an environment's transcripts; its pre-tokeniser
keeps the frame of a tool call, an identifier and a run of punctuation each whole, so that a call is a handful of tokens
and a name is the same token wherever it stands. Tool schemas are left out of the prompt: a model of this size learns
the tools from its traces, and could not read a schema.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<|end|>"
SPECIAL = ("<|pad|>", END, "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<tool_call>", "</tool_call>")
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% for call in message.tool_calls or [] %}"
    '<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PIECES = (
    r'\{"name": "\w+", "arguments": \{(?:"\w+": "?)?|(?:"?, )?"\w+": "?|"?\}\}|'  # the frame of a tool call
    r"(?:def|return|for|if|else|in|from|import) |"  # words that always have a space behind them
    r'\w+|\s?[<>=+*/-]+\s?|[\[\]]|\s?"|[^\w"\[\]<>=+*/-]+'  # words, operators, brackets and quotes, other punctuation
)


class TinyConfig(BaseModel):
    """Size of the tiny student."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabulary: int = Field(default=1200, ge=len(SPECIAL) + 256)
    """Most tokens the tokenizer may have; every byte and special token is one."""
    hidden: int = Field(default=128, gt=0)
    """Width of the model."""
    layers: int = Field(default=2, gt=0)
    """Number of transformer blocks."""
    heads: int = Field(default=2, gt=0)
    """Attention heads per block; twice as many must divide the width."""
    context: int = Field(default=448, gt=0)
    """Longest conversation, in tokens."""

    @model_validator(mode="after")
    def _heads_fit(self) -> TinyConfig:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden = {self.hidden} is no multiple of 2 x heads = {2 * self.heads}")
        return self


def make_tokenizer(texts: Iterable[str], config: TinyConfig) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on `texts`, with the chat template above."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=raw,
        eos_token=END,
        pad_token=SPECIAL[0],
        additional_special_tokens=list(SPECIAL[2:]),
        chat_template=TEMPLATE,
        model_max_length=config.context,
        clean_up_tokenization_spaces=False,
    )


def make_student(tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int) -> LlamaForCausalLM:
    """An untrained Llama of the configured size; the same seed gives the same parameters."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden,
            intermediate_size=config.hidden * 8 // 3,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=config.context,
            # Few, wide heads and a short rotary wavelength find "what came after this" in half the steps: measured.
            rope_parameters={"rope_type": "default", "rope_theta": 100.0},
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def save_student(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write model (safetensors) and tokenizer so that the Auto classes load them."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
