"""How a student is trained: the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class LoraConfig(BaseModel):
    """Low-rank adapters (2106.09685), made by PEFT: only these are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, gt=0)
    alpha: float = Field(default=32, gt=0)
    """What an adapter adds is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Which layers have one, by the end of their names; by default all linear ones but the head."""


class TrainingConfig(BaseModel):
    """How a student is trained; the same for every arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=400, gt=0)
    """Optimiser steps."""
    tokens_per_step: int = Field(default=1200, gt=0)
    """Supervised tokens that one optimiser step averages over (at least)."""
    micro_batch_tokens: int = Field(default=8192, gt=0)
    """Most tokens that go through the model together. A step whose rows have more takes several passes."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Peak of the schedule."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What the rate does after the warm-up."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps in which the rate rises."""
    final_rate: float = Field(default=0.05, ge=0, le=1)
    """Where the cosine ends, as a share of the peak."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's, on matrices only."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    """AdamW's."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    lora: LoraConfig | None = None
    """Train adapters in place of the weights."""
    precision: Literal["full", "bfloat16", "float16"] = "full"
    """What the passes are computed in (autocast). Weights and optimiser keep their own; float16 is scaled."""
    gradient_checkpointing: bool = False
    """Compute activations twice, so as to keep few of them."""
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is the student that comes out."""
    save_every: int = Field(default=200, gt=0)
    """Optimiser steps after which a training that can be resumed writes down where it is."""
