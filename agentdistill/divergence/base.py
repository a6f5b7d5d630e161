"""What a detector is, what it is handed, and what all detectors have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from agentdistill.records import Actor, Completion, Cost, Divergence, Message, ToolSpec, Trajectory


class Probes(Protocol):
    """What a detector may try out and ask, about one failed trajectory; all of it is counted in `cost`.

    Steps are counted as everywhere: step k is the k-th turn, and "after k steps" is the world that it left.
    """

    @property
    def cost(self) -> Cost:
        """What has been tried out and asked so far."""
        ...

    def continue_from(
        self, trajectory: Trajectory, step: int, actor: Actor, times: int = 1, within: int | None = None
    ) -> tuple[Trajectory, ...]:
        """Restore the world after `step` steps and let student or teacher go on to the end, with fresh luck each time.

        With `within`, there are so many steps left instead of those that were. Where the episode is over, nothing can
        go on, and what comes back is how it ended.

        Raises:
            InfrastructureError: a continuation broke beyond its retries.
            SnapshotError: the world after `step` was not kept.
        """
        ...

    def propose(self, trajectory: Trajectory, steps: Sequence[int]) -> tuple[Message, ...]:
        """What the teacher would say in the state after each of these numbers of steps; nothing of it is done."""
        ...

    def equivalent(self, trajectory: Trajectory, step: int, other: Message) -> bool:
        """Whether the student's turn at `step` and `other` come to the same there, as the environment sees it."""
        ...

    def likelihood(self, trajectory: Trajectory, actor: Actor) -> tuple[tuple[float, ...], ...]:
        """For each step of the trajectory the log-probabilities (natural) of its tokens under student or teacher.

        Raises:
            PolicyError: who was asked cannot score.
        """
        ...

    def progress(self, trajectory: Trajectory) -> tuple[float | None, ...]:
        """The environment's own potential after 0, 1, ... steps: higher is better, `None` where it has none."""
        ...

    def ask(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Completion:
        """Put a question to the teacher that is not about what to do next."""
        ...

    def reference(self, trajectory: Trajectory) -> str:
        """How the task can be solved, in words for a judge: private, and empty where the environment has none."""
        ...


@runtime_checkable
class Detector(Protocol):
    """Finds the point of divergence of a failed trajectory."""

    def __call__(self, trajectory: Trajectory, probes: Probes) -> Divergence | None:
        """The divergence, or `None`."""
        ...


class Settings(BaseModel):
    """Base of the ready detectors: their settings are fields, so that a config can fill them in.

    Attributes:
        oracle: whether it reads what only the environment knows. Such a detector shows what could be reached; it is
            none that could be used where there is no such environment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True)
    oracle: ClassVar[bool] = False

    def found(
        self, trajectory: Trajectory, step: int, reason: str, evidence: str = "", confidence: float = 1.0
    ) -> Divergence:
        """The divergence after `step` steps, as found by this detector."""
        return Divergence(
            trajectory_id=trajectory.id,
            step=step,
            reason=reason,
            detector=type(self).__name__,
            evidence=evidence,
            confidence=min(1.0, max(0.0, confidence)),
        )


def open_steps(trajectory: Trajectory) -> range:
    """Numbers (1-based) of the steps after which there was still something to do."""
    return range(1, len(trajectory.steps))


def calls_of(message: Message) -> str:
    """The calls of a turn as text that is equal for equal calls, whatever their ids; empty where there are none."""
    return "".join(call.model_dump_json(exclude={"id"}) for call in message.tool_calls)


def changed(trajectory: Trajectory, number: int) -> bool:
    """Whether a step left another world than it found; true where that is not known."""
    before, after = trajectory.world(number - 1), trajectory.world(number)
    return before is None or after is None or before.world_digest != after.world_digest or after.ended


def is_oracle(detector: Detector) -> bool:
    """Whether a detector, or one of those it is made of, reads what only the environment knows."""
    parts: tuple[Detector, ...] = getattr(detector, "of", ())
    return bool(getattr(detector, "oracle", False)) or any(map(is_oracle, parts))
