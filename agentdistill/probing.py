"""The probes that detectors are handed: many detectors at once, and what all of them ask in one batch.

Each detector runs in a thread of its own and blocks where it tries or asks something. When all of them are blocked,
everything that waits is done together: one rollout over all continuations, one call of the teacher over all proposals,
one pass of scoring. What comes out for one trajectory depends on it alone, not on its company: seeds come from the
trajectory, the step, who acts and the how-manieth try it is.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

from agentdistill.chat import Renderer
from agentdistill.chat.counting import Meter
from agentdistill.divergence import Detector, Probes
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import (
    AgentDistillError,
    InfrastructureError,
    PolicyError,
    SnapshotError,
    TemplateError,
    UsageError,
)
from agentdistill.policies import Request, Scorer, ScoreRequest
from agentdistill.records import Actor, Completion, Cost, Divergence, Message, ToolSpec, Trajectory, derive_seed
from agentdistill.rollout import EpisodeSpec, Rollout

Found = TypeVar("Found")
AT_ONCE = 256
WORLDS = 32
"""Worlds that are alive at once for a teacher that reads them."""


class Finding(NamedTuple):
    """What a detector found in one trajectory, and what that cost.

    `problem` names what broke, by the kind of error and its message; then there is no divergence, and nothing is said
    about the trajectory.
    """

    divergence: Divergence | None
    cost: Cost
    problem: str = ""


@dataclass(frozen=True)
class Laboratory:
    """Who is probed, and with what.

    Attributes:
        student: the student and its environments.
        teacher: the teacher and its environments.
        renderer: of the student's tokenizer: in its tokens is counted what a teacher reads that does not say.
        student_scorer: gives the student's log-probabilities, if anybody does.
        teacher_scorer: gives the teacher's, of ids of the student's vocabulary.
    """

    student: Rollout
    teacher: Rollout
    renderer: Renderer
    student_scorer: Scorer | None = None
    teacher_scorer: Scorer | None = None


def find_all(
    detector: Detector, trajectories: Sequence[Trajectory], laboratory: Laboratory, at_once: int = AT_ONCE
) -> list[Finding]:
    """Run a detector on many trajectories, in their order; see `probe_all`.

    A probe whose machinery broke makes the finding `None` with a `problem`.
    """
    return [Finding(*each) for each in probe_all(detector, trajectories, laboratory, at_once)]


def probe_all(
    function: Callable[[Trajectory, Probes], Found | None],
    trajectories: Sequence[Trajectory],
    laboratory: Laboratory,
    at_once: int = AT_ONCE,
) -> list[tuple[Found | None, Cost, str]]:
    """Call a function of a trajectory and probes for each of many; see the module's docstring.

    Args:
        function: a detector, for one; it is called in threads, once for each trajectory.
        trajectories: what it is called for.
        laboratory: who is probed.
        at_once: most calls that run at the same time.

    Returns:
        For each trajectory, in order: what the function returned, what its probes cost, and the problem, if a probe's
        machinery broke; then there is no result.

    Raises:
        UsageError: the function raised it, or broke; the others are stopped.
    """
    hub = _Hub(laboratory)
    try:
        return hub.run(function, trajectories, at_once)
    finally:
        hub.close()


class _Stopped(BaseException):
    """Ends the threads of detectors when one has raised a `UsageError`."""


class _Ask:
    """One request of one detector, and its answer."""

    def __init__(self, kind: str, probes: _Probes, **details: Any) -> None:
        self.kind = kind
        self.probes = probes
        self.details = details
        self.answer: Any = None
        self.done = threading.Event()


class _Probes:
    """One detector's probes: whatever it asks goes to the hub, and is counted here."""

    def __init__(self, trajectory: Trajectory, hub: _Hub) -> None:
        self.cost = Cost()
        self._name = trajectory.id
        self._hub = hub
        self._tried: Counter[tuple[str, int, Actor, int | None]] = Counter()
        self._asked = 0

    def continue_from(
        self, trajectory: Trajectory, step: int, actor: Actor, times: int = 1, within: int | None = None
    ) -> tuple[Trajectory, ...]:
        """See `agentdistill.divergence.Probes`."""
        world = trajectory.world(step)
        if world is None:
            raise SnapshotError(f"trajectory {trajectory.id} kept no snapshot after step {step}")
        if world.ended or (step == len(trajectory.steps) and within is None):
            return (trajectory,) * times
        place = (trajectory.id, step, actor, within)
        first = self._tried[place]
        self._tried[place] += times
        specs = [self._hub.spec(trajectory, step, actor, within, first + number) for number in range(times)]
        ended: list[tuple[Trajectory, Cost]] = self._ask("continue", actor=actor, specs=specs)
        for _, cost in ended:
            self.cost += cost
        for each, _ in ended:
            if each.errored:
                raise InfrastructureError(f"going on after step {step} of {trajectory.id}: {each.error}")
        return tuple(each for each, _ in ended)

    def propose(self, trajectory: Trajectory, steps: Sequence[int]) -> tuple[Message, ...]:
        """See `agentdistill.divergence.Probes`."""
        requests = [
            Request(
                messages=trajectory.messages(step),
                tools=trajectory.tools,
                seed=derive_seed("propose", trajectory.id, step),
            )
            for step in steps
        ]
        said = self._act(requests, [(trajectory, step) for step in steps])
        return tuple(each.message for each in said)

    def ask(self, messages: Sequence[Message], tools: Sequence[ToolSpec] = ()) -> Completion:
        """See `agentdistill.divergence.Probes`."""
        self._asked += 1
        seed = derive_seed("ask", self._name, self._asked)
        request = Request(messages=tuple(messages), tools=tuple(tools), seed=seed)
        return self._act([request], [None])[0]

    def equivalent(self, trajectory: Trajectory, step: int, other: Message) -> bool:
        """See `agentdistill.divergence.Probes`."""
        said = trajectory.steps[step - 1].completion.message
        same: bool = self._ask("look", trajectory=trajectory, step=step - 1, look=lambda e: e.equivalent(said, other))
        return same

    def progress(self, trajectory: Trajectory) -> tuple[float | None, ...]:
        """See `agentdistill.divergence.Probes`."""
        return tuple(
            self._ask("look", trajectory=trajectory, step=step, look=lambda e: e.progress())
            for step in range(len(trajectory.steps) + 1)
        )

    def reference(self, trajectory: Trajectory) -> str:
        """See `agentdistill.divergence.Probes`."""
        told: str = self._ask("look", trajectory=trajectory, step=0, look=lambda e: e.reference())
        return told

    def likelihood(self, trajectory: Trajectory, actor: Actor) -> tuple[tuple[float, ...], ...]:
        """See `agentdistill.divergence.Probes`."""
        requests, wanted = self._hub.score_requests(trajectory, actor)
        told: list[tuple[float, ...]] = self._ask("score", actor=actor, requests=requests)
        if actor == "teacher":
            read, scored = sum(len(each.ids) for each in requests), sum(map(len, told))
            self.cost += Cost(calls=len(requests), input_tokens=read, output_tokens=scored)
        flat = [value for row in told for value in row]
        steps, at = [], 0
        for size in wanted:
            steps.append(tuple(flat[at : at + size]))
            at += size
        return tuple(steps)

    def _ask(self, kind: str, **details: Any) -> Any:
        return self._hub.ask(_Ask(kind, self, **details))

    def _act(self, requests: Sequence[Request], places: Sequence[tuple[Trajectory, int] | None]) -> list[Completion]:
        said: list[tuple[Completion, Cost]] = self._ask("act", pairs=list(zip(requests, places, strict=True)))
        for _, cost in said:
            self.cost += cost
        return [each for each, _ in said]


class _Hub:
    """Gathers what blocked detectors ask, and answers all of it at once."""

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.meter = Meter(laboratory.renderer)
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
        self._turn = threading.Condition()
        self._waiting: list[_Ask] = []
        self._busy = 0
        self._stop: BaseException | None = None

    def close(self) -> None:
        """Close the worlds that were made for looking."""
        for world in self.worlds:
            world.close()

    # ---- threads -------------------------------------------------------------------------------------------------

    def run(
        self, function: Callable[[Trajectory, Probes], Found | None], trajectories: Sequence[Trajectory], at_once: int
    ) -> list[tuple[Found | None, Cost, str]]:
        """All results, in the order of the trajectories."""
        findings: dict[int, tuple[Found | None, Cost, str]] = {}
        threads: dict[int, threading.Thread] = {}
        coming = list(enumerate(trajectories))[::-1]

        def work(index: int, trajectory: Trajectory) -> None:
            probes = _Probes(trajectory, self)
            try:
                findings[index] = function(trajectory, probes), probes.cost, ""
            except (InfrastructureError, TemplateError) as error:
                findings[index] = None, probes.cost, f"{type(error).__name__}: {error}"
            except _Stopped:
                pass
            except BaseException as error:  # noqa: BLE001 - raised again where `run` was called
                self._fail(error)
            finally:
                with self._turn:
                    del threads[index]
                    self._busy -= 1
                    self._turn.notify_all()

        batch: list[_Ask] = []
        try:
            while True:
                with self._turn:
                    while self._busy:
                        self._turn.wait()
                    if self._stop is not None or not (coming or threads):
                        break
                    while coming and len(threads) < at_once:
                        index, trajectory = coming.pop()
                        threads[index] = threading.Thread(target=work, args=(index, trajectory), daemon=True)
                        threads[index].start()
                        self._busy += 1
                    if self._busy:
                        continue
                    batch, self._waiting = self._waiting, []
                self._answer(batch)
        except BaseException as error:  # noqa: BLE001 - raised again when all threads have ended
            self._fail(error)
        with self._turn:
            stuck, left = [*batch, *self._waiting], list(threads.values())
        if self._stop is not None:
            for ask in stuck:
                ask.done.set()
        for thread in left:
            thread.join()
        if self._stop is not None:
            if isinstance(self._stop, AgentDistillError) or not isinstance(self._stop, Exception):
                raise self._stop
            raise UsageError(
                f"{getattr(function, '__name__', type(function).__name__)} broke: {self._stop!r}"
            ) from self._stop
        return [findings[index] for index in range(len(trajectories))]

    def ask(self, ask: _Ask) -> Any:
        """Called by a detector's thread: wait for the answer."""
        with self._turn:
            if self._stop is not None:
                raise _Stopped
            self._waiting.append(ask)
            self._busy -= 1
            self._turn.notify_all()
        ask.done.wait()
        if self._stop is not None:
            raise _Stopped
        if isinstance(ask.answer, BaseException):
            raise ask.answer
        return ask.answer

    def _fail(self, error: BaseException) -> None:
        with self._turn:
            self._stop = self._stop or error

    def _answer(self, batch: list[_Ask]) -> None:
        """Do what waits, all of a kind at once, then let everybody go on."""
        self._continue([ask for ask in batch if ask.kind == "continue"])
        self._act([ask for ask in batch if ask.kind == "act"])
        self._score([ask for ask in batch if ask.kind == "score"])
        looks = [ask for ask in batch if ask.kind == "look"]
        for ask in sorted(looks, key=lambda each: (each.details["trajectory"].id, each.details["step"])):
            self._look(ask)
        with self._turn:
            self._busy += len(batch)
        for ask in batch:
            ask.done.set()

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
        read = told or self.meter.read(ended)
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

    def _continue(self, asks: list[_Ask]) -> None:
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

    def _act(self, asks: list[_Ask]) -> None:
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
        read = said.input_tokens or self.meter.prompt(request.messages, request.tools)
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

    def _score(self, asks: list[_Ask]) -> None:
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

    def _look(self, ask: _Ask) -> None:
        trajectory, step = ask.details["trajectory"], ask.details["step"]
        try:
            # What an environment is asked changes nothing in it: it is restored where the place is another one.
            if self.looking_at == (trajectory.id, step):
                world = self._world()
            else:
                world = self._restored(trajectory, step)
            self.looking_at = (trajectory.id, step)
            ask.answer = ask.details["look"](world)
        except UsageError as error:
            self._fail(error)
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
