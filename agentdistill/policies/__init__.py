"""Who acts: the protocols in `base`; scripted, and local transformers models."""

from agentdistill.policies.base import Joinable, Policy, Request

__all__ = ["Joinable", "Policy", "Request"]
