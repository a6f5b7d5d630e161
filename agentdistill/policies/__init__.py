"""Who acts and who scores: the protocols in `base`; scripted, local transformers models, and servers."""

from agentdistill.policies.base import Policy, Request, Scorer, ScoreRequest, Scores

__all__ = ["Policy", "Request", "ScoreRequest", "Scorer", "Scores"]
