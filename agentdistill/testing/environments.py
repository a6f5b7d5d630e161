"""The conformance suite every environment passes: ours, and anybody's.

``check_environment(make)`` runs named checks and returns what each found; ``agentdistill env check`` prints them::

    for check in check_environment(load_environment("depot")):
        assert check.status != "failed", check

Optional things an environment may have are checked where they are there: `teach` (with a class attribute `styles`, best
informed first), `make_tasks`, `combinations(task)` and `truth`.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from pydantic import JsonValue

from agentdistill.environment import ToolEnvironment
from agentdistill.errors import printable
from agentdistill.playback import (
    EPISODES,
    NotApplicable,
    draw_tasks,
    play_mixed,
    replay,
    some_steps,
    some_tasks,
    styles_of,
    teach_to_the_end,
)
from agentdistill.records import Completion, Message, Record, Step, ToolCall, Trajectory, Verdict
from agentdistill.sandbox import SandboxBackend
from agentdistill.sandbox.loading import BackendSpec

TASKS = 20
"""Tasks drawn of each split to compare them."""
TRIES = 20
"""How often a teacher may try: an environment's own luck may make a winnable state unwinnable, but not every time."""


class Check(Record):
    """What one check found; `detail` is one line."""

    name: str
    status: Literal["passed", "failed", "not_applicable"]
    detail: str = ""


class _Failed(Exception):
    """The environment does not do what this check asks."""


class _Bench:
    """Makes the environments under test; those that use sandboxes share one backend, as in a real run."""

    def __init__(self, factory: Callable[..., ToolEnvironment], sandboxes: BackendSpec | None) -> None:
        self.factory = factory
        self._sandboxes = sandboxes or BackendSpec("bubblewrap")
        self._backend: SandboxBackend | None = None
        self._open: list[ToolEnvironment] = []

    def make(self) -> ToolEnvironment:
        environment = self.factory() if self._backend is None else self.factory(sandboxes=self._backend)
        if environment.uses_sandbox and self._backend is None:
            environment.close()
            self._backend = self._sandboxes.make()
            environment = self.factory(sandboxes=self._backend)
        self._open.append(environment)
        return environment

    def close_environments(self) -> None:
        for environment in self._open:
            environment.close()
        self._open.clear()

    def close(self) -> None:
        self.close_environments()
        if self._backend is not None:
            self._backend.close()


def check_environment(make: Callable[..., ToolEnvironment], sandboxes: BackendSpec | None = None) -> list[Check]:
    """Run every check on the environments that `make` makes.

    Args:
        make: makes an environment; it is passed ``sandboxes=`` if they use any.
        sandboxes: the backend of these; without it, bubblewrap.
    """
    bench = _Bench(make, sandboxes)
    try:
        bench.make()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the author needs to read
        return [Check(name="it can be made", status="failed", detail=_one_line(error))]
    found = []
    for name, check in _CHECKS.items():
        try:
            found.append(Check(name=name, status="passed", detail=check(bench) or ""))
        except NotApplicable as reason:
            found.append(Check(name=name, status="not_applicable", detail=str(reason)))
        except _Failed as reason:
            found.append(Check(name=name, status="failed", detail=str(reason)))
        except Exception as error:  # noqa: BLE001 - a crash in somebody's environment is a finding, not our crash
            found.append(Check(name=name, status="failed", detail=_one_line(error)))
        finally:
            bench.close_environments()
    bench.close()
    return found


_DURATION = re.compile(r"\b\d+\.\d+ ?(s|ms|seconds)\b")


# ---- the checks ------------------------------------------------------------------------------------------------------


def _gymnasium(bench: _Bench) -> str | None:
    environment = bench.factory()  # no shared backend: Gymnasium copies the settings that an environment was made with
    if environment.spec is None:
        # Half of Gymnasium's checks need a spec; one that is not in the registry will do.
        spec = EnvSpec("Checked-v0", entry_point=cast("Any", bench.factory), disable_env_checker=True)
        environment = cast("ToolEnvironment", gymnasium.make(spec).unwrapped)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(environment)
    environment.close()
    if said:
        raise _Failed(f"{len(said)} warnings, the first: {_one_line(said[0].message)}")
    return None


def _same_seed(bench: _Bench) -> str | None:
    compared = 0
    for seed in range(EPISODES):
        first, second = (play_mixed(bench.make(), seed) for _ in range(2))
        _same([first.opening, *first.said], [second.opening, *second.said], f"two episodes of seed {seed}")
        compared += len(first.said)
    return f"{compared} observations compared"


def _snapshots(bench: _Bench) -> str | None:
    """Restore in place, and into another environment of the backend; a fork must not touch the original."""
    compared = 0
    for seed in range(EPISODES):
        environment, other = bench.make(), bench.make()
        played = play_mixed(environment, seed)
        for step in some_steps(played, seed):
            for where, what in ((environment, "restored"), (other, "restored into another environment")):
                _same(replay(where, played, step), played.said[step:], f"after step {step}, {what}")
            compared += len(played.said) - step
        environment.restore(played.worlds[0], task=played.task)
        replay(other, played, 0)
        if environment.snapshot() != played.worlds[0]:
            raise _Failed("what was done in a fork changed the environment it was forked from")
    return f"{compared} observations compared"


def _bad_calls(bench: _Bench) -> str | None:
    environment = bench.make()
    cases = _wrong_messages(environment)
    for what, message, expected in cases:
        environment.reset(seed=0)
        said, _, terminated, _, info = environment.step(message)
        status = info["outcomes"][-1].status
        if status != expected:
            raise _Failed(f"{what}: outcome {status!r}, not {expected!r}")
        if not said or not said[-1].content.strip():
            raise _Failed(f"{what}: no answer")
        if terminated:
            raise _Failed(f"{what}: it ended the episode")
    return f"{len(cases)} kinds"


def _two_calls(bench: _Bench) -> str | None:
    environment = bench.make()
    environment.reset(seed=0)
    calls = tuple(ToolCall(id=f"call_0_{n}", name=f"no_such_tool_{n}") for n in range(2))
    said, *_, info = environment.step(Message(role="assistant", tool_calls=calls))
    if [m.tool_call_id for m in said] != ["call_0_0", "call_0_1"] or len(info["outcomes"]) != 2:
        raise _Failed("two calls in one turn must be answered by one tool message each, in order")
    if environment.steps_taken != 1:
        raise _Failed(f"two calls in one turn counted as {environment.steps_taken} steps")
    return None


def _solves(bench: _Bench) -> str | None:
    environment = bench.make()
    counts = []
    for style in styles_of(environment):
        at_once = 0
        for task in (tasks := some_tasks(environment)):
            for luck in range(TRIES):
                messages, _ = environment.reset(seed=luck, options={"task": task})
                if teach_to_the_end(environment, messages, style):
                    break
            else:
                raise _Failed(f"style {style!r} does not solve task {task.id!r} in {TRIES} tries")
            at_once += luck == 0
        counts.append(f"{style}: {at_once} of {len(tasks)} at the first try")
    return ", ".join(counts)


def _recovers(bench: _Bench) -> str | None:
    """From states half random, half taught; only those that the truth says can still be won within the budget."""
    environment = bench.make()
    style = styles_of(environment)[0]
    environment.reset(seed=0)
    if environment.truth() is None:
        raise NotApplicable("it does not know the truth of a state")
    recovered = 0
    for seed in range(2 * EPISODES):
        played = play_mixed(environment, seed)
        for step in some_steps(played, seed):
            environment.restore(played.worlds[step], task=played.task)
            truth, left = environment.truth(), environment.remaining
            if truth is None or not truth.winnable(left):
                continue
            for luck in range(TRIES):
                environment.restore(played.worlds[step], task=played.task, reseed=luck)
                if teach_to_the_end(environment, played.messages(step), style):
                    break
            else:
                raise _Failed(
                    f"task {played.task.id!r} after step {step}: winnable in {truth.cost}, {left} left, not won"
                )
            recovered += 1
    if not recovered:
        raise _Failed("no state that could still be won was met")
    return f"{recovered} states"


def _nothing(bench: _Bench) -> str | None:
    environment = bench.make()
    for task in some_tasks(environment):
        environment.reset(seed=0, options={"task": task})
        while not environment.over:
            info = environment.step(Message(role="assistant", content="..."))[4]
        if cast("Verdict", info["verdict"]).passed:
            raise _Failed(f"task {task.id!r} passes although nothing was done")
    return None


def _submit_at_once(bench: _Bench) -> str | None:
    environment = bench.make()
    ends = 0
    for spec in environment.tools:
        if spec.parameters.get("required"):
            continue
        environment.reset(seed=0)
        call = ToolCall(id="call_0_0", name=spec.name)
        *_, terminated, _, info = environment.step(Message(role="assistant", tool_calls=(call,)))
        ends += terminated
        if terminated and cast("Verdict", info["verdict"]).passed:
            raise _Failed(f"{spec.name}() as the first call passes")
    if not ends:
        raise NotApplicable("no tool without arguments ends an untouched episode")
    return None


def _splits(bench: _Bench) -> str | None:
    environment = bench.make()
    train, heldout = (draw_tasks(environment, split, TASKS) for split in ("train", "heldout"))
    if train != draw_tasks(environment, "train", TASKS) or train[:3] != draw_tasks(environment, "train", 3):
        raise _Failed("make_tasks is not a function of split, seed and position")
    if not heldout:
        raise NotApplicable("there are no held-out tasks")
    if {task.content_hash for task in train} & {task.content_hash for task in heldout}:
        raise _Failed("a held-out task is a training task")
    combinations = getattr(environment, "combinations", None)
    if combinations is None:
        return "content only: it declares no combinations"
    shared = set().union(*map(combinations, train)) & set().union(*map(combinations, heldout))
    if shared:
        raise _Failed(f"the splits share the combination {min(shared)!r}")
    return None


def _json(bench: _Bench) -> str | None:
    environment = bench.make()
    played = play_mixed(environment, 0)
    steps = tuple(
        Step(actor="student", completion=Completion(message=action), observations=said, snapshot=world)
        for action, said, world in zip(played.actions, played.said, played.worlds[1:], strict=True)
    )
    whole = Trajectory(
        id="checked",
        task=played.task,
        policy="random",
        seed=0,
        opening=played.opening,
        tools=environment.tools,
        start=played.worlds[0],
        steps=steps,
        ending="step_limit",
        verdict=environment.verify(),
    )
    if Trajectory.model_validate_json(whole.model_dump_json()) != whole:
        raise _Failed("a trajectory is not the same after JSON")
    return f"{len(steps)} steps"


_CHECKS: dict[str, Callable[[_Bench], str | None]] = {
    "gymnasium's checker has nothing to say": _gymnasium,
    "same seed, same calls, same episode": _same_seed,
    "a snapshot restores exactly, and forks do not touch each other": _snapshots,
    "bad calls are answered, not raised": _bad_calls,
    "two calls in one turn get an answer each": _two_calls,
    "the teacher solves": _solves,
    "the teacher recovers wherever that is possible": _recovers,
    "doing nothing does not pass": _nothing,
    "ending at once does not pass": _submit_at_once,
    "training and held-out tasks are disjoint": _splits,
    "records survive JSON": _json,
}


def _wrong_messages(environment: ToolEnvironment) -> list[tuple[str, Message, str]]:
    """What goes wrong with calls, and the outcome each must have."""

    def saying(name: str, problem: str = "", arguments: Mapping[str, JsonValue] | None = None) -> Message:
        call = ToolCall(id="call_0_0", name=name, arguments=dict(arguments or {}), problem=problem)
        return Message(role="assistant", tool_calls=(call,))

    cases = [
        ("no call", Message(role="assistant", content="I am done."), "malformed"),
        ("a call that could not be read", saying("", problem="not JSON"), "malformed"),
        ("an unknown tool", saying("no_such_tool"), "unknown_tool"),
    ]
    for spec in environment.tools:
        properties = cast("dict[str, dict[str, JsonValue]]", spec.parameters.get("properties", {}))
        cases.append(
            (
                f"{spec.name} with an extra argument",
                saying(spec.name, arguments={"no_such_argument": 1}),
                "bad_argument",
            )
        )
        if spec.parameters.get("required"):
            cases.append((f"{spec.name} without its arguments", saying(spec.name), "bad_argument"))
        if properties:
            wrong: dict[str, JsonValue] = {
                name: 0 if schema.get("type") == "object" else {"not": "this"} for name, schema in properties.items()
            }
            cases.append(
                (f"{spec.name} with arguments of a wrong type", saying(spec.name, arguments=wrong), "bad_argument")
            )
    return cases


def _same(first: Sequence[object], second: Sequence[object], what: str) -> None:
    """Refuse what differs in more than how long it says that something took: a program that prints that has no say."""
    for step, (one, other) in enumerate(itertools.zip_longest(first, second)):
        if one != other and _DURATION.sub("", repr(one)) != _DURATION.sub("", repr(other)):
            raise _Failed(_one_line(f"{what}: they differ {step} steps on: {one!r} and {other!r}"))


def _one_line(problem: object) -> str:
    text = f"{type(problem).__name__}: {problem}" if isinstance(problem, BaseException) else str(problem)
    return printable(re.sub(r"\x1b\[\d*m", "", text))[:300]
