"""Who acts: the protocol in `base`; scripted, and local transformers models."""

from agentdistill.policies.base import Policy, Request

__all__ = ["Policy", "Request"]
