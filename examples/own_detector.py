"""A detector of one's own, in one file: the first step after which the agent repeats what it was just told.

Used from a config as ``detectors = ["examples/own_detector.py:SameAnswer"]``, or with its setting as
``detectors = [{name = "examples/own_detector.py:SameAnswer", times = 2}]``.
"""

from agentdistill import Divergence


class SameAnswer:
    """The same answer of the world so many times on end. No teacher calls."""

    def __init__(self, times: int = 3) -> None:
        self.times = times

    def __call__(self, trajectory, probes):
        said = [tuple(message.content for message in step.observations) for step in trajectory.steps]
        for step in range(self.times, len(said)):
            if len(set(said[step - self.times : step])) == 1:
                return Divergence(
                    trajectory_id=trajectory.id,
                    step=step - self.times + 1,
                    reason="same answer again",
                    detector="SameAnswer",
                    evidence=said[step - 1][0] if said[step - 1] else "",
                )
        return None
