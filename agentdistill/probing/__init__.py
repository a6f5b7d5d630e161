"""The probes that detectors are handed: many detectors at once, and what all of them ask in one batch.

Each detector runs in a thread of its own and blocks where it tries or asks something. When all of them are blocked,
everything that waits is done together: one rollout over all continuations, one call of the teacher over all proposals,
one pass of scoring. What comes out for one trajectory depends on it alone, not on its company: seeds come from the
trajectory, the step, who acts and the how-manieth try it is.
"""

from agentdistill.probing.hub import Finding, find_all, probe_all
from agentdistill.probing.laboratory import Laboratory

__all__ = ["Finding", "Laboratory", "find_all", "probe_all"]
