"""Many detectors at once, each in a thread of its own: what they ask is gathered until all of them wait."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from agentdistill.divergence import Detector, Probes
from agentdistill.errors import AgentDistillError, InfrastructureError, SnapshotError, TemplateError, UsageError
from agentdistill.policies import Request
from agentdistill.probing.bench import Ask, Bench
from agentdistill.probing.laboratory import Laboratory
from agentdistill.records import Actor, Completion, Cost, Divergence, Message, ToolSpec, Trajectory, derive_seed

Found = TypeVar("Found")
AT_ONCE = 256


class Finding(NamedTuple):
    """What a detector found in one trajectory, and what that cost.

    `problem` names what broke, by the kind of error and its message; then there is no divergence, and nothing is said
    about the trajectory.
    """

    divergence: Divergence | None
    cost: Cost
    problem: str = ""


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
    """Call a function of a trajectory and probes for each of many; see the package's docstring.

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
    bench = Bench(laboratory)
    try:
        return _Hub(bench).run(function, trajectories, at_once)
    finally:
        bench.close()


class _Stopped(BaseException):
    """Ends the threads of detectors when one has raised a `UsageError`."""


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
        specs = [self._hub.bench.spec(trajectory, step, actor, within, first + number) for number in range(times)]
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
        requests, wanted = self._hub.bench.score_requests(trajectory, actor)
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
        return self._hub.ask(Ask(kind, **details))

    def _act(self, requests: Sequence[Request], places: Sequence[tuple[Trajectory, int] | None]) -> list[Completion]:
        if not requests:
            return []
        said: list[tuple[Completion, Cost]] = self._ask("act", pairs=list(zip(requests, places, strict=True)))
        for _, cost in said:
            self.cost += cost
        return [each for each, _ in said]


class _Hub:
    """Gathers what blocked detectors ask, has all of it done at once, and lets them go on."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._turn = threading.Condition()
        self._waiting: list[Ask] = []
        self._busy = 0
        self._stop: BaseException | None = None

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

        batch: list[Ask] = []
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
                self.bench.answer(batch)
                with self._turn:
                    self._busy += len(batch)
                for ask in batch:
                    ask.done.set()
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
            name = getattr(function, "__name__", type(function).__name__)
            raise UsageError(f"{name} broke: {self._stop!r}") from self._stop
        return [findings[index] for index in range(len(trajectories))]

    def ask(self, ask: Ask) -> Any:
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
