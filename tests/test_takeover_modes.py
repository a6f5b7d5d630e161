"""Every mode of a takeover on the real Depot: where, how long, who, how often, what it is told, and what it costs."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from agentdistill_environments.depot import Depot
from pydantic import ValidationError
from students import call, depot_student, diverging, play, run_all, specs_of

from agentdistill.chat import Renderer
from agentdistill.divergence import RandomStep
from agentdistill.errors import ConfigError, PolicyError
from agentdistill.notes import canaries
from agentdistill.policies import Policy, Request
from agentdistill.policies.informed import Informed
from agentdistill.policies.scripted import ScriptedPolicy, ScriptedTeacher
from agentdistill.records import Completion, Divergence, Message, Recovery, Trajectory, Verdict, derive_seed
from agentdistill.rollout import EpisodeSpec, Rollout
from agentdistill.segments import segments_of
from agentdistill.takeover import Takeover, TakeoverConfig

IDLE = call("look")


class Quiet(Depot):
    """Depot without luck."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(gap=0, **settings)


class Measured(Quiet):
    """Depot whose progress is how much less there is to do."""

    def progress(self) -> float | None:
        cost = self.truth().cost
        return None if cost is None else -float(cost)


class Asked:
    """A knowing teacher that counts 10 tokens a turn, errs as it is told, and remembers what it was asked."""

    privileged = True

    def __init__(self, name: str = "asked", wrong: Callable[[Request], Message | None] = lambda request: None) -> None:
        self.name = name
        self.wrong = wrong
        self.inner = ScriptedTeacher("knowing")
        self.requests: list[Request] = []

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        self.requests += requests
        said = self.inner.act(requests)
        messages = [self.wrong(request) or each.message for request, each in zip(requests, said, strict=True)]
        return [Completion(message=message, output_tokens=10) for message in messages]


def idler() -> ScriptedPolicy:
    return ScriptedPolicy(lambda request: IDLE, name="idler")


def talker() -> Asked:
    return Asked("talker", wrong=lambda request: IDLE)


def rollout(policy: Policy, make: Any = Quiet) -> Rollout:
    return Rollout(make, policy, workers=1)


def idle_failures(count: int = 3, step: int = 2, make: Any = Quiet) -> list[tuple[Trajectory, Divergence]]:
    """Episodes in which nothing is done, with the divergence at one step."""
    traces = run_all(rollout(idler(), make), specs_of(make().make_tasks("train", count)))
    return [(each, Divergence(trajectory_id=each.id, step=step, reason="", detector="hand")) for each in traces]


def recover(
    failures: Sequence[tuple[Trajectory, Divergence]], teachers: Sequence[Policy], make: Any = Quiet, **rest: Any
) -> list[Recovery]:
    """In the order of the failures."""
    student, find, critic = (rest.pop(name, None) for name in ("student", "find", "critic"))
    takeover = Takeover(
        TakeoverConfig(**rest),
        [rollout(each, make) for each in teachers],
        rollout(student, make) if student else None,
        find,
        critic,
    )
    done = {each.divergence.trajectory_id: each for each in takeover.run(failures)}
    assert len(done) == len(failures)
    return [done[trace.id] for trace, _ in failures]


def actors(trajectory: Trajectory) -> list[tuple[str, int]]:
    return [(actor, len(list(steps))) for actor, steps in itertools.groupby(s.actor for s in trajectory.steps)]


def test_the_default_is_the_episode_that_a_plain_fork_of_these_seeds_is():
    failures = idle_failures()
    for (trace, divergence), recovery in zip(failures, recover(failures, [Asked()]), strict=True):
        seed = derive_seed("takeover", trace.seed, divergence.step)
        spec = EpisodeSpec(trace.task, seed, actor="teacher", fork=(trace, divergence.step))
        assert recovery.trajectory.id == spec.id
        assert recovery.verified
        assert (recovery.place, recovery.depth, recovery.attempt, recovery.others) == ("after", 0, 0, ())


def test_before_the_mistake_the_mistake_is_not_in_the_trace_and_after_it_is():
    failures = idle_failures(step=5)
    for place, kept in (("after", 5), ("before", 4)):
        for recovery in recover(failures, [Asked()], place=place):
            assert actors(recovery.trajectory)[0] == ("student", kept)
            assert recovery.trajectory.parent is not None
            assert recovery.trajectory.parent.step == kept
            assert recovery.place == place


def test_after_some_turns_the_teacher_stops_and_the_trace_is_neither_verified_nor_failed():
    for recovery in recover(idle_failures(), [Asked()], steps=3):
        assert actors(recovery.trajectory) == [("student", 2), ("teacher", 3)]
        assert recovery.trajectory.paused
        assert not recovery.verified
        assert not recovery.trajectory.failed
        assert recovery.teacher_tokens == 30


def test_after_a_hand_back_the_student_goes_on_to_the_end_and_its_tokens_are_counted():
    failures = idle_failures()
    for recovery in recover(failures, [Asked()], steps=3, hand_back=True, student=Asked("able")):
        (first, second, third) = actors(recovery.trajectory)
        assert (first, second, third[0]) == (("student", 2), ("teacher", 3), "student")
        assert recovery.verified
        assert recovery.teacher_tokens == 30
        assert recovery.student_tokens == 10 * third[1]
        assert recovery.trajectory.policy == "asked"
        assert recovery.trajectory.parent is not None
        assert recovery.trajectory.parent.step == 2
    assert not any(each.verified for each in recover(failures, [Asked()], steps=3, hand_back=True, student=idler()))


def test_the_teacher_stops_where_the_tool_that_failed_has_gone_through():
    failures = idle_failures()
    for trace, divergence in failures:
        assert {o.status for o in trace.steps[divergence.step - 1].outcomes} == {"ok"}

    # Nothing failed there and Depot has no measure here: the teacher goes on to the end.
    class Blind(Quiet):
        def progress(self) -> float | None:
            return None

    assert all(each.verified for each in recover(failures, [Asked()], make=Blind, until="progress"))
    clumsy = ScriptedPolicy(lambda request: call("take", item="nonsense") if len(request.messages) == 1 else IDLE)
    traces = run_all(rollout(clumsy, Blind), specs_of(Blind().make_tasks("train", 3)))
    failed = [(t, Divergence(trajectory_id=t.id, step=1, reason="", detector="hand")) for t in traces]
    for recovery in recover(failed, [Asked()], make=Blind, until="progress"):
        own = recovery.trajectory.steps[1:]
        assert recovery.trajectory.paused
        took = [[o.tool for o in step.outcomes if o.status == "ok"] == ["take"] for step in own]
        assert took.index(True) == len(own) - 1


def test_the_teacher_stops_as_soon_as_the_progress_lost_is_regained():
    failures = idle_failures(make=Measured)
    for recovery in recover(failures, [Asked()], make=Measured, until="progress", hand_back=True, student=Asked()):
        taught = [step.actor for step in recovery.trajectory.steps].count("teacher")
        assert 1 <= taught < len(recovery.trajectory.steps) - 2
        assert recovery.verified
        world = Measured()
        (trace,) = (t for t, d in failures if t.id == recovery.divergence.trajectory_id)
        before = trace.world(1)
        assert before is not None
        world.restore(before, task=trace.task)
        lost, at = world.progress(), []
        world = Measured()
        world.reset(seed=trace.seed, options={"task": trace.task})
        for step in recovery.trajectory.steps[: 2 + taught]:
            world.step(step.completion.message)
            at.append(world.progress())
        assert lost is not None
        assert [value > lost for value in at] == [False] * (1 + taught) + [True]


def test_the_teacher_steps_in_again_where_the_student_derails_after_a_hand_back():
    looked_at: list[Trajectory] = []

    def find(trajectories: Sequence[Trajectory]) -> list[Divergence | None]:
        looked_at.extend(trajectories)
        return [Divergence(trajectory_id=t.id, step=1, reason="", detector="hand") for t in trajectories]

    failures = idle_failures(2)
    settings: dict[str, Any] = {"steps": 2, "hand_back": True, "student": idler(), "find": find}
    for most in (2, 3):
        looked_at.clear()
        for recovery in recover(failures, [Asked()], most=most, **settings):
            taught = [length for actor, length in actors(recovery.trajectory) if actor == "teacher"]
            assert taught == [2] * most
            assert recovery.teacher_tokens == 20 * most
        assert all({s.actor for s in each.steps} == {"student"} for each in looked_at)
        assert all(each.opening == each.messages(0) for each in looked_at)
    solved = recover(failures, [Asked()], most=9, **settings | {"steps": 4})
    assert all(each.verified for each in solved)
    between = [length for each in solved for actor, length in actors(each.trajectory)[1:] if actor == "student"]
    assert set(between) == {1}, "one idle step stays at each derailment"


def test_a_student_that_derails_in_its_last_step_after_a_hand_back_is_not_taken_over_again():
    def find(trajectories: Sequence[Trajectory]) -> list[Divergence | None]:
        return [Divergence(trajectory_id=t.id, step=len(t.steps), reason="", detector="hand") for t in trajectories]

    settings: dict[str, Any] = {"steps": 2, "hand_back": True, "student": idler(), "find": find}
    for place, times in (("after", 1), ("before", 2)):
        for recovery in recover(idle_failures(2), [Asked()], most=2, place=place, **settings):
            assert [actor for actor, _ in actors(recovery.trajectory)].count("teacher") == times
            assert recovery.trajectory.failed


def test_attempts_meet_fresh_luck_and_the_first_verified_one_is_kept_and_all_are_charged():
    def make() -> Depot:
        return Depot(gap=1.0)

    failures = idle_failures(4, step=4, make=make)
    recoveries = recover(failures, [Asked()], make=make, attempts=4)
    assert len({each.verified for each in recoveries} | {o.succeeded for r in recoveries for o in r.others}) == 2
    for recovery in recoveries:
        tries = [recovery.trajectory, *recovery.others]
        assert len({each.id for each in tries}) == 4
        assert recovery.teacher_tokens == sum(each.tokens("teacher") for each in tries)
        if recovery.verified:
            assert not any(each.succeeded for each in recovery.others[: recovery.attempt])
    said = {tuple(o.content for o in t.messages()[17:]) for r in recoveries for t in (r.trajectory, *r.others)}
    assert len(said) > len(failures)


def test_a_teacher_that_comes_too_late_is_tried_from_earlier_and_the_depth_is_logged():
    failures = idle_failures(3, step=12)
    recoveries = recover(failures, [Asked()], back_off=6)
    assert any(each.depth for each in recoveries)
    for (trace, divergence), recovery in zip(failures, recoveries, strict=True):
        assert recovery.verified
        tried = [0, 1, 2, 4, 8, 12]
        assert recovery.depth in tried
        assert len(recovery.others) == tried.index(recovery.depth)
        for depth in tried[: tried.index(recovery.depth) + 1]:
            earlier = divergence.model_copy(update={"step": 12 - depth})
            (alone,) = recover([(trace, earlier)], [Asked()])
            assert alone.verified == (depth == recovery.depth)
        assert recovery.teacher_tokens == sum(t.tokens("teacher") for t in (recovery.trajectory, *recovery.others))


def test_backing_off_ends_at_the_beginning_of_the_episode():
    (recovery,) = recover(idle_failures(1, step=3), [talker()], back_off=9)
    assert len(recovery.others) == 3  # from after 3, 2, 1 and 0 steps
    assert not recovery.verified


def test_the_dearer_teacher_gets_only_what_the_cheaper_one_failed_at_and_both_are_charged():
    failures = idle_failures(4)
    (lucky, _), *_ = failures
    cheap = Asked("cheap", wrong=lambda r: None if r.world.task.id == lucky.task.id else IDLE)  # type: ignore[union-attr]
    dear = Asked("dear")
    recoveries = recover(failures, [cheap, dear])
    assert all(each.verified for each in recoveries)
    assert {request.world.task.id for request in dear.requests} <= {t.task.id for t, _ in failures[1:]}  # type: ignore[union-attr]
    assert recoveries[0].trajectory.policy == "cheap"
    for recovery in recoveries[1:]:
        (failed,) = recovery.others
        assert (failed.policy, recovery.trajectory.policy) == ("cheap", "dear")
        assert recovery.teacher_tokens == failed.tokens("teacher") + recovery.trajectory.tokens("teacher")
    asked = len(cheap.requests) + len(dear.requests)
    assert sum(each.teacher_tokens for each in recoveries) == 10 * asked


def test_a_failure_may_not_cost_more_than_its_own_budget_but_for_one_turn():
    failures = idle_failures(3)
    for recovery in recover(failures, [talker(), Asked()], episode_tokens=100, attempts=2, back_off=3):
        assert 100 <= recovery.teacher_tokens <= 100 + 2 * 10
        assert not recovery.verified
    assert all(each.verified for each in recover(failures, [Asked()], episode_tokens=1000))


def test_machinery_that_breaks_is_not_the_teachers_failure_and_nobody_else_is_asked():
    class Down:
        name = "down"
        privileged = False

        def act(self, requests: Sequence[Request]) -> list[Completion]:
            raise PolicyError("no answer")

    dear = Asked()
    for recovery in recover(idle_failures(2), [Down(), dear], back_off=2):
        assert recovery.trajectory.errored
        assert not recovery.verified
    assert not dear.requests


def test_the_flip_says_whether_the_student_succeeds_after_the_teachers_first_turn():
    failures = idle_failures(2)
    for student, flips in ((Asked("able"), True), (idler(), False)):
        for recovery in recover(failures, [Asked()], flip=True, student=student):
            assert recovery.flipped is flips
            assert recovery.verified
        for recovery in recover(failures, [Asked()], flip=True, steps=1, hand_back=True, student=student):
            assert recovery.flipped is flips is recovery.verified
    able = recover(failures, [Asked()], flip=True, student=Asked("able"))
    assert all(each.student_tokens > 0 for each in able)
    assert all(each.flipped is None for each in recover(failures, [Asked()]))


def test_two_failures_may_have_the_state_they_are_taken_over_from_in_common():
    ((trace, divergence),) = idle_failures(1, step=4)
    later = divergence.model_copy(update={"step": 5})
    takeover = Takeover(TakeoverConfig(place="before"), [rollout(Asked())])
    one, two = takeover.run([(trace, divergence), (trace, divergence)])
    assert one == two
    assert len(list(takeover.run([(trace, divergence), (trace, later)]))) == 2


def test_the_same_takeovers_are_the_same_whatever_moves_beside_them():
    def make() -> Depot:
        return Depot(gap=0.5)

    failures = diverging(play(make, depot_student(), 3), RandomStep())
    settings: dict[str, Any] = {"steps": 3, "hand_back": True, "attempts": 2, "flip": True, "make": make}
    together = recover(failures, [Asked()], student=idler(), **settings)
    alone = [recover([each], [Asked()], student=idler(), **settings)[0] for each in failures]
    assert together == alone


# ---- what the teacher is told ----------------------------------------------------------------------------------------


class Talkative(Quiet):
    """Depot whose judge and whose reference hold fresh random words, another set for each task and process."""

    words: dict[str, tuple[str, str]] = {}

    def told(self) -> tuple[str, str]:
        fresh = tuple(" ".join(secrets.token_hex(4) for _ in range(6)) for _ in range(2))
        return self.words.setdefault(self.task.id, (fresh[0], fresh[1]))

    def verify(self) -> Verdict:
        verdict = super().verify()
        return verdict if verdict.passed else verdict.model_copy(update={"detail": self.told()[0]})

    def reference(self) -> str:
        return self.told()[1]


def test_the_teacher_is_told_in_private_and_neither_record_nor_segment_holds_a_word_of_it():
    failures = idle_failures(3, make=Talkative)
    teacher = Asked()
    critique = secrets.token_hex(6)

    def critic(cases: Sequence[tuple[Trajectory, Divergence]]) -> list[Completion]:
        return [Completion(message=Message(role="assistant", content=critique), output_tokens=7) for _ in cases]

    told = ("verdict", "reference", "critique")
    recoveries = recover(failures, [teacher], make=Talkative, note=told, critic=critic)
    renderer = depot_student().renderer
    for recovery in recoveries:
        verdict, reference = Talkative.words[recovery.trajectory.task.id]
        (canary,) = canaries(recovery.note)
        for secret in (verdict, reference, critique):
            assert secret in recovery.note
        assert recovery.critique == critique
        assert recovery.teacher_tokens == 7 + recovery.trajectory.tokens("teacher")
        assert {
            request.note for request in teacher.requests if request.messages[0] == recovery.trajectory.opening[0]
        } == {recovery.note}
        rows, _ = segments_of([recovery.trajectory], renderer, 4000)
        texts = [recovery.trajectory.model_dump_json(), *(renderer.tokenizer.decode(row.input_ids) for row in rows)]
        assert len(texts) == 2
        for text in texts:
            assert not any(word in text for word in (*verdict.split(), *reference.split(), critique, canary))
    assert len({each.note for each in recoveries}) == len(recoveries)


def test_the_student_goes_on_without_the_note():
    student = Asked("able")
    recover(idle_failures(2), [Asked()], note=("verdict",), steps=2, hand_back=True, flip=True, student=student)
    assert student.requests
    assert not any(request.note for request in student.requests)


def test_a_student_that_is_told_the_answer_teaches_itself_and_its_turns_name_no_ids():
    seen: list[Request] = []
    student = depot_student()

    class Spy:
        name = "spy"
        privileged = False

        def act(self, requests: Sequence[Request]) -> list[Completion]:
            seen.extend(requests)
            return student.act(requests)

    failures = idle_failures(2, make=Talkative)
    recoveries = recover(failures, [Informed(Spy())], make=Talkative, note=("reference",), steps=2)
    assert all(r.covered == 0 and not r.context_ids for r in seen)
    for recovery in recoveries:
        reference = Talkative.words[recovery.trajectory.task.id][1]
        asked = [each for each in seen if reference in each.messages[0].content]
        assert asked
        assert recovery.trajectory.messages(2) == failures[recoveries.index(recovery)][0].messages(2)
        assert reference not in recovery.trajectory.model_dump_json()
        for step in recovery.trajectory.steps[2:]:
            assert step.actor == "teacher"
            said = step.completion
            assert (said.token_ids, said.context_ids, said.logprobs) == ((), (), ())


def test_a_policy_that_is_not_wrapped_is_fed_nothing_of_the_note():
    student = depot_student()
    request = Request(messages=(Message(role="user", content="ship: bolt red"),), tools=Quiet().tools, seed=3)
    (bare,) = student.act([request])
    (noted,) = student.act([Request(**{**vars(request), "note": "shelf B"})])
    (told,) = Informed(student).act([Request(**{**vars(request), "note": "shelf B"})])
    assert (bare.context_ids, bare.token_ids) == (noted.context_ids, noted.token_ids)
    assert told.input_tokens > bare.input_tokens == noted.input_tokens


@pytest.mark.parametrize(
    "settings",
    [
        {"hand_back": True},
        {"most": 2, "steps": 2},
        {"steps": 0},
        {"note": ("verdict", "verdict")},
        {"plaice": "after"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]):
    with pytest.raises(ValidationError):
        TakeoverConfig(**settings)


@pytest.mark.parametrize(
    "settings", [{"flip": True}, {"steps": 1, "hand_back": True}, {"note": ("critique",)}], ids=lambda s: next(iter(s))
)
def test_who_is_needed_and_not_there_is_named(settings: dict[str, Any]):
    with pytest.raises(ConfigError, match="need"):
        Takeover(TakeoverConfig(**settings), [rollout(Asked())])
    with pytest.raises(ConfigError, match="teacher"):
        Takeover(TakeoverConfig(), [])


def test_the_students_own_turns_after_a_hand_back_stand_in_the_row_exactly_as_it_was_fed_and_sampled_them():
    student = depot_student()
    failures = diverging(play(Quiet, student, 5), RandomStep())
    recoveries = recover(failures, [Asked()], steps=2, hand_back=True, student=student)
    renderer: Renderer = student.renderer
    handed = [r.trajectory for r in recoveries if len(actors(r.trajectory)) == 3]
    assert handed
    rows, _ = segments_of(handed, renderer, 4000, trained="student", unverified=True)
    by_id = {row.trajectory_id: row for row in rows}
    for trace in handed:
        row = by_id[trace.id]
        first = trace.parent.step + 2 if trace.parent else 0
        own = [i for step in trace.steps[first:] for i in step.completion.token_ids]
        assert [i for i, here in zip(row.input_ids, row.loss_mask, strict=True) if here] == own
        sampled = [p for step in trace.steps[first:] for p in step.completion.logprobs]
        assert [p for p, here in zip(row.logprobs, row.loss_mask, strict=True) if here] == sampled
