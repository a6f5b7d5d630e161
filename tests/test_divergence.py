"""The detectors on trajectories made by hand, in which it is plain where it went wrong."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from agentdistill_environments.depot import Depot
from hypothesis import given
from hypothesis import strategies as st
from students import NO_PROBES, call, depot_student, play

from agentdistill.divergence import (
    BrokenVisibleTest,
    Detector,
    Earliest,
    FailingVisibleTest,
    FirstOf,
    FirstToolError,
    LastingToolError,
    Loop,
    NoChange,
    RandomStep,
    Vote,
    detector,
    is_oracle,
)
from agentdistill.errors import ConfigError, UnknownNameError
from agentdistill.records import Completion, Message, Snapshot, Step, Task, ToolOutcome, Trajectory, Verdict
from agentdistill.settings import RunConfig

OWN = Path(__file__).parents[1] / "examples" / "own_detector.py"
TASK = Task(id="t", environment="e", instruction="i")


def step(
    status: str = "ok", *, failed: object = None, world: str = "", said: Message | None = None, text: str = ""
) -> Step:
    message = said or call("look")
    outcome = ToolOutcome(call_id="call_0_0", tool="look", status=status, text=text)  # type: ignore[arg-type]
    return Step(
        actor="student",
        completion=Completion(message=message),
        observations=(Message(role="tool", content=text or "fine"),),
        outcomes=(outcome,),
        signals={} if failed is None else {"tests_failed": failed},  # type: ignore[dict-item]
        snapshot=Snapshot(state=world),
    )


def trajectory(*steps: Step, name: str = "x") -> Trajectory:
    return Trajectory(
        id=name,
        task=TASK,
        policy="p",
        seed=0,
        opening=(Message(role="user", content="go"),),
        start=Snapshot(state="start"),
        steps=steps,
        ending="submitted",
        verdict=Verdict(passed=False, score=0.0),
    )


def found(find: Detector, *steps: Step) -> int | None:
    divergence = find(trajectory(*steps), NO_PROBES)
    return None if divergence is None else divergence.step


@pytest.mark.parametrize("status", ["malformed", "unknown_tool", "bad_argument", "failed", "timeout"])
def test_the_first_call_that_did_not_go_through_is_the_first_tool_error(status):
    divergence = FirstToolError()(trajectory(step(), step(status, text="error: no"), step("failed"), step()), NO_PROBES)
    assert divergence is not None
    assert (divergence.trajectory_id, divergence.step, divergence.detector) == ("x", 2, "FirstToolError")
    assert (divergence.reason, divergence.evidence) == (f"tool error: {status}", "error: no")


def test_a_run_without_an_error_has_no_first_tool_error():
    assert found(FirstToolError(), step(), step(), step()) is None


def test_an_error_of_any_of_several_calls_counts():
    both = step().model_copy(update={"outcomes": (*step().outcomes, *step("failed").outcomes)})
    assert found(FirstToolError(), step(), both, step()) == 2


def test_the_first_red_run_of_the_visible_tests_is_found_and_green_ones_are_not():
    assert found(FailingVisibleTest(), step(failed=0), step(failed=2), step(failed=1), step()) == 2
    assert found(FailingVisibleTest(), step(failed=0), step(), step()) is None


@pytest.mark.parametrize("odd", ["3", 1.5, None, [1]])
def test_a_signal_that_is_no_count_is_no_failing_test(odd):
    assert found(FailingVisibleTest(), step(failed=odd), step()) is None


def test_the_same_call_in_the_same_world_is_a_loop_and_in_another_world_it_is_none():
    assert found(Loop(), step(world="a"), step(world="b"), step(world="b"), step(world="b"), step()) == 4
    assert found(Loop(), step(world="a"), step(world="b"), step(world="c"), step(world="d"), step()) is None


def test_another_call_in_the_same_world_is_no_loop():
    other = step(world="a", said=call("look", place="A"))
    assert found(Loop(), step(world="a"), other, step()) is None


def test_a_loop_is_seen_whatever_the_ids_of_the_calls():
    first, second = (
        step(
            world="start",
            said=Message(role="assistant", tool_calls=(call("look").tool_calls[0].model_copy(update={"id": name}),)),
        )
        for name in ("call_0_0", "call_1_0")
    )
    assert found(Loop(), first, second, step()) == 2


def test_a_run_without_snapshots_has_no_loop():
    blind = [step(world="start").model_copy(update={"snapshot": None}) for _ in range(4)]
    assert found(Loop(), *blind) is None


@pytest.mark.parametrize("find", [FirstToolError(), FailingVisibleTest(), Loop(), RandomStep()])
def test_a_mistake_that_nothing_can_follow_is_no_divergence(find):
    last = step("failed", failed=1, world="start")
    assert found(find, last) is None
    assert found(find) is None


def test_random_steps_are_the_same_for_the_same_seed_and_run():
    runs = [trajectory(*[step()] * 9, name=str(number)) for number in range(50)]
    drawn = [RandomStep(seed=3)(each, NO_PROBES) for each in runs]
    assert drawn == [RandomStep(seed=3)(each, NO_PROBES) for each in runs]
    assert drawn != [RandomStep(seed=4)(each, NO_PROBES) for each in runs]


def test_random_steps_fall_on_every_step_alike():
    drawn = Counter(RandomStep()(trajectory(*[step()] * 5, name=str(number)), NO_PROBES).step for number in range(2000))
    assert set(drawn) == {1, 2, 3, 4}
    assert max(drawn.values()) < 2000 / 4 * 1.2
    assert RandomStep()(trajectory(*[step()] * 5), NO_PROBES).confidence == 0.25


def test_the_earliest_of_several_counts_and_ties_go_to_the_first_named():
    run = trajectory(step(failed=1), step("failed"), step("failed", failed=1), step())
    assert Earliest(of=(FirstToolError(), FailingVisibleTest()))(run, NO_PROBES).detector == "FailingVisibleTest"
    tied = trajectory(step(), step("failed", failed=1), step())
    assert Earliest(of=(FirstToolError(), FailingVisibleTest()))(tied, NO_PROBES).detector == "FirstToolError"
    assert Earliest(of=(FailingVisibleTest(), FirstToolError()))(tied, NO_PROBES).detector == "FailingVisibleTest"
    assert Earliest(of=(FirstToolError(), FailingVisibleTest()))(trajectory(step(), step()), NO_PROBES) is None


@given(st.lists(st.one_of(st.none(), st.integers(1, 9)), min_size=1, max_size=6), st.integers(0, 3), st.integers(1, 4))
def test_a_vote_is_won_by_the_step_with_most_voters_and_the_earliest_of_those(steps, within, quorum):
    run = trajectory(*[step()] * 10)
    parts = tuple(lambda t, p, at=at: None if at is None else RandomStep().found(t, at, "said") for at in steps)
    found = Vote(of=parts, within=within, quorum=quorum)(run, NO_PROBES)
    named = sorted({at for at in steps if at is not None})
    voters = {at: sum(o is not None and abs(o - at) <= within for o in steps) for at in named}
    if not named or max(voters.values()) < quorum:
        assert found is None
    else:
        assert found.step == next(at for at in named if voters[at] == max(voters.values()))
        assert found.confidence == pytest.approx(voters[found.step] / len(steps))


@given(st.lists(st.one_of(st.none(), st.integers(1, 9)), min_size=1, max_size=6))
def test_the_earliest_is_the_smallest_and_a_chain_gives_the_first_that_finds_any(steps):
    run = trajectory(*[step()] * 10)
    parts = tuple(lambda t, p, at=at: None if at is None else RandomStep().found(t, at, "said") for at in steps)
    named = [at for at in steps if at is not None]
    earliest, first = Earliest(of=parts)(run, NO_PROBES), FirstOf(of=parts)(run, NO_PROBES)
    assert (earliest.step if earliest else None) == min(named, default=None)
    assert (first.step if first else None) == (named[0] if named else None)


def test_a_chain_does_not_ask_those_behind_the_one_that_found_something():
    def must_not_be_asked(run, probes):
        raise AssertionError

    run = trajectory(step("failed"), step())
    assert FirstOf(of=(FirstToolError(), must_not_be_asked))(run, NO_PROBES).step == 1


def test_only_the_kinds_of_error_that_were_chosen_count():
    run = trajectory(step("failed"), step("timeout"), step("malformed"), step())
    for kind, at in (("failed", 1), ("timeout", 2), ("malformed", 3)):
        assert FirstToolError(kinds=(kind,))(run, NO_PROBES).step == at
    assert FirstToolError(kinds=("bad_argument",))(run, NO_PROBES) is None


def test_tests_that_passed_and_no_longer_do_point_at_the_last_change_before():
    def ran(passed, world):
        return step(world=world).model_copy(update={"signals": {"tests_passed": passed}})

    run = trajectory(step(world="a"), ran(3, "a"), step(world="b"), step(world="b"), ran(2, "b"), step())
    assert BrokenVisibleTest()(run, NO_PROBES).step == 3
    assert BrokenVisibleTest()(trajectory(ran(2, "a"), ran(3, "b"), step()), NO_PROBES) is None


def test_no_change_is_the_first_of_so_many_idle_steps():
    run = trajectory(step(world="a"), step(world="a"), step(world="b"), step(world="b"), step(world="b"), step())
    assert NoChange(patience=2)(run, NO_PROBES).step == 4
    assert NoChange(patience=3)(run, NO_PROBES) is None


def test_detectors_are_found_by_name_and_a_wrong_name_is_told_the_nearest():
    assert isinstance(detector(["loop"]), Loop)
    assert isinstance(detector(["loop", "random"]), Earliest)
    with pytest.raises(UnknownNameError, match="Did you mean 'first_tool_error'"):
        detector(["first_tool_eror"])


def test_a_table_sets_a_detector_and_combinations_are_made_of_tables():
    made = detector(
        [{"name": "vote", "quorum": 2, "of": ["loop", {"name": "first_of", "of": [{"name": "loop", "times": 3}]}]}]
    )
    assert made == Vote(quorum=2, of=(Loop(), FirstOf(of=(Loop(times=3),))))


@pytest.mark.parametrize(
    ("spec", "kind", "complaint"),
    [
        ({"name": "student_value", "trys": 4}, ConfigError, "no setting 'trys'. Did you mean 'tries'?"),
        ({"name": "student_value", "tries": 0}, ConfigError, "tries: input should be greater than or equal to 1"),
        ({"tries": 4}, ConfigError, "needs a name"),
        ({"name": "vote"}, ConfigError, "'of' is missing"),
        ({"name": "vote", "of": "loop"}, ConfigError, "must be a list"),
        ("no_such_module:Thing", UnknownNameError, "no module 'no_such_module'"),
        (f"{OWN}:Other", UnknownNameError, "has no 'Other'"),
        (f"{OWN}:Divergence", ConfigError, "validation error"),
        ({"name": f"{OWN}:SameAnswer", "often": 2}, ConfigError, "often"),
    ],
)
def test_what_is_wrong_with_a_detector_is_told_in_one_line(spec, kind, complaint):
    with pytest.raises(kind) as caught:
        detector([spec])
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_detector_of_ones_own_is_one_file_and_used_by_its_name():
    run = trajectory(*[step(text="no", world=str(at)) for at in range(5)])
    assert detector([f"{OWN}:SameAnswer"])(run, NO_PROBES).step == 1
    assert detector([{"name": f"{OWN}:SameAnswer", "times": 9}])(run, NO_PROBES) is None
    mine = {"way": "takeover", "detectors": [{"name": f"{OWN}:SameAnswer", "times": 2}, "loop"]}
    config = RunConfig.model_validate({"environment": "depot", "arms": {"mine": mine}})
    assert detector(config.arms["mine"].detectors)(run, NO_PROBES).detector == "SameAnswer"


def test_a_combination_with_an_oracle_in_it_is_one():
    assert is_oracle(detector(["loop", {"name": "vote", "of": ["progress"]}]))
    assert not is_oracle(detector(["loop", "cost_to_go"]))


def test_no_detector_at_all_is_refused():
    with pytest.raises(UnknownNameError, match="detector"):
        detector([])


def test_detectors_see_in_real_runs_what_they_claim():
    for run in play(Depot, depot_student(), 6):
        for find in (FirstToolError(), Loop(), RandomStep(), detector(["first_tool_error", "loop"])):
            divergence = find(run, NO_PROBES)
            assert divergence is None or 1 <= divergence.step < len(run.steps)
        error = FirstToolError()(run, NO_PROBES)
        if error is not None:
            assert all(o.status == "ok" for each in run.steps[: error.step - 1] for o in each.outcomes)


def test_a_tool_error_that_was_mended_later_is_no_lasting_one() -> None:
    mended = [step("failed"), step(), step()]
    assert found(FirstToolError(), *mended) == 1
    assert found(LastingToolError(), *mended) is None


def test_a_lasting_tool_error_is_the_first_failure_after_the_tools_last_success() -> None:
    assert found(LastingToolError(), step("failed"), step(), step("failed"), step("failed"), step("failed")) == 3
    assert found(LastingToolError(), step(), step("failed")) is None  # nothing could follow it
