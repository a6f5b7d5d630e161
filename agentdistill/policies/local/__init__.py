"""A transformers causal language model as a policy and a scorer."""

from agentdistill.policies.local.policy import LocalPolicy
from agentdistill.policies.local.pretrained import Checkpoint
from agentdistill.policies.local.sampling import Sampling

__all__ = ["Checkpoint", "LocalPolicy", "Sampling"]
