"""Doing what detectors ask: continuations, proposals, scores and looks, each kind in one batch, and what each cost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agentdistill.chat.counting import Meter
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import InfrastructureError, PolicyError, SnapshotError, UsageError
from agentdistill.policies import Request, Scorer, ScoreRequest
from agentdistill.probing.laboratory import Laboratory
from agentdistill.records import Actor, Completion, Cost, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, Rollout

WORLDS = 32
"""Worlds that are alive at once for a teacher that reads them."""


class Ask:
    """One request of one detector, and its answer."""

    def __init__(self, kind: str, **details: Any) -> None:
        self.kind = kind
        self.details = details
        self.answer: Any = None
        self.done = threading.Event()


class Bench:
    """Does what detectors ask, all of a kind at once. It belongs to one thread, but for `spec` and `score_requests`."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.meter = None if laboratory.renderer is None else Meter(laboratory.renderer)
        self.rollouts: dict[Actor, Rollout] = {
            "student": replace(laboratory.student, keep_snapshots=False, stage=""),
            "teacher": replace(laboratory.teacher, keep_snapshots=False, stage=""),
        }
        self.scorers: dict[Actor, Scorer | None] = {
            "student": laboratory.student_scorer,
            "teacher": laboratory.teacher_scorer,
        }
        self.worlds: list[ToolEnvironment] = []
        self.looking_at: tuple[str, int] | None = None
        self.step_limit = self._world().step_limit

    def close(self) -> None:
        """Close the worlds that were made for looking."""
        for world in self.worlds:
            world.close()

    def answer(self, batch: Sequence[Ask]) -> None:
        """Do all that was asked, all of a kind at once; each gets its answer, or the error that kept it from one.

        Raises:
            UsageError: an environment or a policy raised it.
        """
        self._continue([ask for ask in batch if ask.kind == "continue"])
        self._act([ask for ask in batch if ask.kind == "act"])
        self._score([ask for ask in batch if ask.kind == "score"])
        looks = [ask for ask in batch if ask.kind == "look"]
        for ask in sorted(looks, key=lambda each: (each.details["trajectory"].id, each.details["step"])):
            self._look(ask)

    # ---- going on ------------------------------------------------------------------------------------------------

    def spec(self, trajectory: Trajectory, step: int, actor: Actor, within: int | None, number: int) -> EpisodeSpec:
        """The `number`-th continuation from there: named and seeded by all that decides it, and by nothing else."""
        seed = derive_seed("probe", trajectory.id, step, actor, within or -1, number)
        if within is not None:
            trajectory = self._pressed(trajectory, step, within)
        return EpisodeSpec(task=trajectory.task, seed=seed, actor=actor, fork=(trajectory, step), reseed=True)

    def _price(self, ended: Trajectory, actor: Actor) -> Cost:
        """What a continuation cost."""
        if actor == "student":
            return Cost(student_tokens=ended.tokens("student"))
        said = [each.completion for each in ended.steps[ended.parent.step if ended.parent else 0 :]]
        told = sum(each.input_tokens for each in said)
        read = told or (self.meter.read(ended) if self.meter else 0)
        return Cost(calls=len(said), input_tokens=read, output_tokens=ended.tokens("teacher"))

    def _pressed(self, trajectory: Trajectory, step: int, within: int) -> Trajectory:
        """The same trajectory with the clock after `step` set such that `within` steps are left."""
        world = trajectory.world(step)
        assert world is not None
        clock = world.model_copy(update={"steps_taken": self.step_limit - within})
        named = f"{trajectory.id} with {within} left"
        if step == 0:
            return trajectory.model_copy(update={"id": named, "start": clock})
        steps = list(trajectory.steps)
        steps[step - 1] = steps[step - 1].model_copy(update={"snapshot": clock})
        return trajectory.model_copy(update={"id": named, "steps": tuple(steps)})

    def _continue(self, asks: list[Ask]) -> None:
        """One rollout over all continuations of the student, and one over all of the teacher."""
        for actor, rollout in self.rollouts.items():
            mine = [ask for ask in asks if ask.details["actor"] == actor]
            specs = {spec.id: spec for ask in mine for spec in ask.details["specs"]}
            if not specs:
                continue
            ended = {each.id: (each, self._price(each, actor)) for each in rollout.run(specs.values())}
            for ask in mine:
                ask.answer = [ended[spec.id] for spec in ask.details["specs"]]

    # ---- asking --------------------------------------------------------------------------------------------------

    def _act(self, asks: list[Ask]) -> None:
        """One call of the teacher over all requests; where it does not answer, one for each detector."""
        pairs = [pair for ask in asks for pair in ask.details["pairs"]]
        if not pairs:
            return
        policy = self.laboratory.teacher.policy
        size = WORLDS if policy.privileged else len(pairs)
        said: list[Completion] = []
        try:
            for first in range(0, len(pairs), size):
                part = pairs[first : first + size]
                said += policy.act([self._before(request, place, at) for at, (request, place) in enumerate(part)])
        except InfrastructureError as error:
            if len(asks) == 1:
                asks[0].answer = error
            else:
                for ask in asks:
                    self._act([ask])
            return
        answers = [(each, self._price_turn(request, each)) for (request, _), each in zip(pairs, said, strict=True)]
        for ask in asks:
            size = len(ask.details["pairs"])
            ask.answer, answers = answers[:size], answers[size:]

    def _price_turn(self, request: Request, said: Completion) -> Cost:
        """What one answer of the teacher cost; who does not say what it read is charged by the student's tokenizer."""
        counted = self.meter.prompt(request.messages, request.tools) if self.meter and not said.input_tokens else 0
        read = said.input_tokens or counted
        return Cost(calls=1, input_tokens=read, output_tokens=said.output_tokens)

    def _before(self, request: Request, place: tuple[Trajectory, int] | None, number: int) -> Request:
        """The request with the world it is about, for a policy that reads it."""
        if place is None or not self.laboratory.teacher.policy.privileged:
            return request
        return replace(request, world=self._restored(*place, number))

    def score_requests(self, trajectory: Trajectory, actor: Actor) -> tuple[list[ScoreRequest], list[int]]:
        """What has to be scored of a trajectory, and how many tokens each of its steps has.

        Raises:
            PolicyError: nobody can score, or where a turn begins and ends is not known.
        """
        if self.scorers[actor] is None:
            raise PolicyError(f"the {actor} gives no log-probabilities: there is no scorer of it")
        requests: list[ScoreRequest] = []
        sealed: tuple[int, ...] = ()
        for step in trajectory.steps:
            said = step.completion
            if not said.token_ids:
                raise PolicyError(f"trajectory {trajectory.id}: a turn without token ids cannot be scored")
            before = (() if said.fresh else sealed) + said.context_ids
            wanted = tuple(range(len(before), len(before) + len(said.token_ids)))
            if requests and before[: len(requests[-1].ids)] == requests[-1].ids:  # goes on where the last one ended
                requests[-1] = ScoreRequest(before + said.token_ids, requests[-1].wanted + wanted)
            else:
                requests.append(ScoreRequest(before + said.token_ids, wanted))
            sealed = before + said.token_ids
        return requests, [len(step.completion.token_ids) for step in trajectory.steps]

    def _score(self, asks: list[Ask]) -> None:
        for actor, scorer in self.scorers.items():
            mine = [ask for ask in asks if ask.details["actor"] == actor]
            if not mine or scorer is None:
                continue
            try:
                told = scorer.score([request for ask in mine for request in ask.details["requests"]])
            except PolicyError as error:
                if len(mine) == 1:
                    mine[0].answer = error
                else:
                    for ask in mine:
                        self._score([ask])
                continue
            for ask in mine:
                size = len(ask.details["requests"])
                ask.answer, told = [scores.logprobs for scores in told[:size]], told[size:]

    # ---- looking -------------------------------------------------------------------------------------------------

    def _look(self, ask: Ask) -> None:
        trajectory, step = ask.details["trajectory"], ask.details["step"]
        try:
            # What an environment is asked changes nothing in it: it is restored where the place is another one.
            if self.looking_at == (trajectory.id, step):
                world = self._world()
            else:
                world = self._restored(trajectory, step)
            self.looking_at = (trajectory.id, step)
            ask.answer = ask.details["look"](world)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - an environment that breaks is the machinery's failure
            broken = isinstance(error, InfrastructureError)
            ask.answer = error if broken else InfrastructureError(f"{type(error).__name__}: {error}")

    def _restored(self, trajectory: Trajectory, step: int, number: int = 0) -> ToolEnvironment:
        snapshot = trajectory.world(step)
        if snapshot is None:
            raise SnapshotError(f"trajectory {trajectory.id} kept no snapshot after step {step}")
        self.looking_at = None
        world = self._world(number)
        world.restore(snapshot, task=trajectory.task)
        return world

    def _world(self, number: int = 0) -> ToolEnvironment:
        while len(self.worlds) <= number:
            self.worlds.append(self.laboratory.teacher.make_environment())
        return self.worlds[number]
