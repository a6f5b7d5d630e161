"""What is known of each failure while takeovers run: what has been tried, how far it is, and what it has cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentdistill.records import Divergence, Fork, Trajectory


@dataclass(eq=False)
class Case:
    """One failure: what is still to be tried, and what has been.

    `plan` holds teacher and depth of each try to come, `tries` the attempts of the present one, `done` all before.
    """

    failure: Trajectory
    divergence: Divergence
    start: int
    plan: list[tuple[int, int]]
    note: str = ""
    critique: str = ""
    teacher_tokens: int = 0
    student_tokens: int = 0
    flipped: bool | None = None
    tries: list[Chain] = field(default_factory=list)
    done: list[Chain] = field(default_factory=list)
    episodes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether all attempts of the present try have ended."""
        return all(chain.ended for chain in self.tries)

    @property
    def spent(self) -> int:
        """Teacher tokens so far: the critic's, and those of all attempts."""
        began = {id(chain): chain for chain in [*self.done, *self.tries] if chain.began}
        return self.teacher_tokens + sum(chain.trajectory.tokens("teacher") for chain in began.values())

    @property
    def kept(self) -> Chain:
        """The first verified attempt; else one that was paused; else one that failed, of the last try."""
        tries = self.tries
        for wanted in (
            [chain for chain in tries if chain.trajectory.succeeded],
            [chain for chain in tries if chain.trajectory.paused],
            [chain for chain in tries if not chain.trajectory.errored],
        ):
            if wanted:
                return wanted[0]
        return tries[0]

    def settle(self, budget: int | None) -> bool:
        """Whether nothing more is to be tried; the attempts of this try are done with."""
        self.done += self.tries
        if not self.kept.trajectory.failed or not self.plan:
            return True
        return budget is not None and self.spent >= budget


@dataclass(eq=False)
class Chain:
    """One attempt: teacher's turns, the student's after a hand-back, the teacher's again, ...

    `trajectory` is how far it is, `start` the step from which it goes on, `mistake` the step that is to be mended.
    """

    case: Case
    teacher: int
    attempt: int
    depth: int
    trajectory: Trajectory
    start: int
    mistake: int
    first: int = field(init=False)
    takeovers: int = 0
    began: bool = False
    ended: bool = False

    def __post_init__(self) -> None:
        self.first = self.start

    def went(self, trajectory: Trajectory, teacher: str) -> Chain:
        """It has gone on as this episode; it stays one continuation of the failure, under the teacher's name."""
        self.case.student_tokens += trajectory.tokens("student")
        self.case.episodes.append(trajectory.id)
        if self.began and len(trajectory.steps) < self.start:  # it could not even be restored
            kept = {"opening": self.trajectory.opening, "steps": self.trajectory.steps[: self.start]}
            trajectory = trajectory.model_copy(update=kept)
        fork = Fork(trajectory_id=self.case.failure.id, step=self.first)
        self.trajectory = trajectory.model_copy(update={"parent": fork, "policy": teacher})
        self.began = True
        return self

    def end(self) -> bool:
        """It goes on no more; whether that completes the present try of its case."""
        self.ended = True
        return self.case.complete


def since(trajectory: Trajectory, step: int) -> Trajectory:
    """The trajectory as if it had begun after `step` steps: what was said before is its opening."""
    return trajectory.model_copy(
        update={
            "id": f"{trajectory.id}+{step}",
            "opening": trajectory.messages(step),
            "start": trajectory.world(step),
            "steps": trajectory.steps[step:],
            "parent": None,
        }
    )
