"""The trainer, made for segments: long masked prefixes, short supervised tails, recoveries that share a prefix.

What rows begin with alike is computed once (`packing`, `attention`); only hidden states that predict a token with loss
meet the vocabulary, a chunk at a time (`projection`); the rest is a plain loop (`loop`) over exact tokens and masks.
"""

from agentdistill.training.checkpoints import MARKER, checkpoint_facts, save_checkpoint
from agentdistill.training.config import LoraConfig, TrainingConfig
from agentdistill.training.loop import Pool, Progress, check_pools, train
from agentdistill.training.team import leave_team

__all__ = [
    "MARKER",
    "LoraConfig",
    "Pool",
    "Progress",
    "TrainingConfig",
    "check_pools",
    "checkpoint_facts",
    "leave_team",
    "save_checkpoint",
    "train",
]
