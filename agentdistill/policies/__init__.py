"""Who acts and who scores: the protocols in `base`; scripted, local transformers models, and servers."""

from agentdistill.policies.base import Joinable, Policy, Request, Scorer, ScoreRequest, Scores

__all__ = ["Joinable", "Policy", "Request", "ScoreRequest", "Scorer", "Scores"]
