"""Where did it go wrong: the detectors.

A detector takes a finished trajectory and says after which step the mistake is in the world, or `None` if it sees
none. That may be the last step: then nothing can follow it, and only a takeover that replaces the mistake is left. What
it may try out or ask it is handed as `Probes`. None of these reads the environment's truth; those that read its
potential say that they are oracles.
"""

from agentdistill.divergence.asked import Disagreement, LastingDisagreement
from agentdistill.divergence.base import Detector, Probes, Settings, is_oracle
from agentdistill.divergence.combined import Earliest, FirstOf, Vote
from agentdistill.divergence.judged import Judge
from agentdistill.divergence.likelihood import LikelihoodGap, Surprise
from agentdistill.divergence.naming import KNOWN, DetectorSpec, detector
from agentdistill.divergence.observed import (
    BrokenVisibleTest,
    FailingVisibleTest,
    FirstToolError,
    LastingToolError,
    LastStep,
    Loop,
    NoChange,
    Progress,
    RandomStep,
    RepeatedOrInvalid,
)
from agentdistill.divergence.tried import CostToGo, LastRecoverable, StudentValue

__all__ = [
    "KNOWN",
    "BrokenVisibleTest",
    "CostToGo",
    "Detector",
    "DetectorSpec",
    "Disagreement",
    "Earliest",
    "FailingVisibleTest",
    "FirstOf",
    "FirstToolError",
    "Judge",
    "LastRecoverable",
    "LastStep",
    "LastingDisagreement",
    "LastingToolError",
    "LikelihoodGap",
    "Loop",
    "NoChange",
    "Probes",
    "Progress",
    "RandomStep",
    "RepeatedOrInvalid",
    "Settings",
    "StudentValue",
    "Surprise",
    "Vote",
    "detector",
    "is_oracle",
]
