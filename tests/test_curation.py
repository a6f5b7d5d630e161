"""What is kept: nothing of a private note, no talk of a hand-over, nothing unverified; rejections have reasons."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from agentdistill_environments.depot import Depot
from students import call, clean_traces, depot_student, diverging, play, run_all, specs_of

from agentdistill.curation import CurationConfig, curate, refresh, staleness
from agentdistill.divergence import RandomStep
from agentdistill.leaks import leak_in, talk_in
from agentdistill.notes import canaries
from agentdistill.policies import Request
from agentdistill.policies.scripted import ScriptedPolicy, ScriptedTeacher
from agentdistill.records import Completion, Divergence, Recovery, Trajectory, Verdict
from agentdistill.rollout import Rollout
from agentdistill.segments import rows_of, segments_of
from agentdistill.takeover import Takeover, TakeoverConfig

PHRASES = Path(__file__).parent / "phrases"


def phrases(name: str) -> list[str]:
    return (PHRASES / f"{name}.txt").read_text().splitlines()


class Secretive(Depot):
    """Depot without luck, whose reference is random words and names, fresh in each process."""

    told: dict[str, str] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(gap=0, **settings)

    def reference(self) -> str:
        words = [secrets.choice(("ba", "ko", "mi", "tu", "re", "la")) * 2 + secrets.token_hex(2) for _ in range(12)]
        return self.told.setdefault(self.task.id, " ".join(words) + f" file_{secrets.token_hex(3)}")


class Talker:
    """A teacher that does the right thing, and says what a function of its request and turn gives."""

    privileged = True
    name = "talker"

    def __init__(self, say: Callable[[Request], str]) -> None:
        self.say = say

    def act(self, requests: Sequence[Request]) -> list[Completion]:
        said = ScriptedTeacher("knowing").act(requests)
        return [
            each.model_copy(update={"message": each.message.model_copy(update={"content": self.say(request)})})
            for request, each in zip(requests, said, strict=True)
        ]


@cache
def idle_failures(count: int) -> list[tuple[Trajectory, Divergence]]:
    idler = ScriptedPolicy(lambda request: call("look"), name="idler")
    traces = run_all(Rollout(Secretive, idler, workers=1), specs_of(Secretive().make_tasks("train", count)))
    return [(each, Divergence(trajectory_id=each.id, step=2, reason="", detector="hand")) for each in traces]


def taken_over(say: Callable[[Request], str], count: int, **settings: Any) -> list[Recovery]:
    takeover = Takeover(TakeoverConfig(**settings), [Rollout(Secretive, Talker(say), workers=1)])
    return list(takeover.run(idle_failures(count)))


def once(lines: Sequence[str]) -> Callable[[Request], str]:
    """Says one line in the middle of each episode: the line of the task's number."""

    def say(request: Request) -> str:
        turn = sum(message.role == "assistant" for message in request.messages)
        world: Any = request.world
        return lines[int(world.task.id.split("-")[-1]) % len(lines)] if turn == 4 else ""

    return say


def saying(recovery: Recovery, line: str, number: int, calls: bool = True) -> Recovery:
    """The same climb, in which the teacher says one line more, or nothing but that line."""
    trace = recovery.trajectory
    step = trace.steps[4]
    message = step.completion.message.model_copy(update={"content": line} | ({} if calls else {"tool_calls": ()}))
    said = step.model_copy(update={"completion": step.completion.model_copy(update={"message": message})})
    steps = (*trace.steps[:4], said, *trace.steps[5:])
    told = trace.model_copy(update={"id": f"{trace.id}-{number}", "steps": steps})
    return recovery.model_copy(update={"trajectory": told})


# ---- the leak filter -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["talk", "talk_heldout", "talk_after", "talk_last", "talk_by_another_hand"])
def test_what_a_talkative_teacher_says_beside_its_calls_reaches_no_segment(name):
    lines = phrases(name)
    (real,) = taken_over(lambda request: "", 1, note=("reference",))
    recoveries = [saying(real, line, number) for number, line in enumerate(lines)]
    assert [each.trajectory.steps[4].completion.message.content for each in recoveries] == lines
    curated = curate(recoveries, CurationConfig())
    assert len(curated.kept) == len(lines)  # what it did is kept
    renderer = depot_student().renderer
    rows, refused = segments_of([each.trajectory for each in curated.kept], renderer, 1000)
    quiet = rows_of(real.trajectory, renderer, 1000)[0]
    assert not refused
    assert {row.input_ids for row in rows} == {quiet.input_ids}
    assert {row.loss_mask for row in rows} == {quiet.loss_mask}


def test_a_turn_that_is_nothing_but_talk_is_refused():
    (real,) = taken_over(lambda request: "", 1, note=("reference",))
    lines = [*phrases("talk"), *phrases("talk_heldout")]
    recoveries = [saying(real, line, number, calls=False) for number, line in enumerate(lines)]
    assert curate(recoveries, CurationConfig()).refused == {"leak: talk of a hand-over": len(lines)}


def test_talk_of_a_teacher_whose_words_are_kept_is_refused():
    lines = [*phrases("talk"), *phrases("talk_heldout")]
    recoveries = taken_over(once(lines), len(lines), note=("reference",))
    assert all(each.verified for each in recoveries)
    curated = curate(recoveries, CurationConfig(leaks="refuse"))
    assert curated.kept == []
    assert curated.refused == {"leak: talk of a hand-over": len(lines)}


def test_of_phrases_by_another_hand_as_many_are_found_as_the_readme_says():
    lines, honest = phrases("talk_by_another_hand"), phrases("honest_by_another_hand")
    assert sum(bool(talk_in(line)) for line in lines) == 46
    assert sum(bool(talk_in(line, strict=True)) for line in lines) == 56
    assert sum(bool(talk_in(line)) for line in honest) == 0


@pytest.mark.parametrize("leaks", ["silence", "refuse"])
def test_honest_words_are_refused_in_at_most_two_of_a_hundred_traces(leaks):
    names = ("honest", "honest_heldout", "honest_after", "honest_last", "honest_by_another_hand")
    lines = [line for name in names for line in phrases(name)]
    assert len(lines) >= 450
    (real,) = taken_over(lambda request: "", 1, note=("reference",))
    recoveries = [saying(real, line, number) for number, line in enumerate(lines)]
    curated = curate(recoveries, CurationConfig(leaks=leaks))
    assert len(curated.reasons) <= 0.02 * len(lines), curated.refused


@pytest.mark.parametrize(("strict", "names", "least"), [(False, ["talk_after"], 0.9), (True, ["talk_last"], 0.9)])
def test_of_phrases_made_to_get_past_the_filter_as_many_are_found_as_the_readme_says(strict, names, least):
    lines = [line for name in names for line in phrases(name)]
    assert sum(bool(talk_in(line, strict=strict)) for line in lines) >= least * len(lines)


def test_nothing_of_a_fresh_random_note_reaches_a_segment():
    def quote(request: Request) -> str:
        """From task to task: a stretch of the note, one name of it, its canary; or nothing."""
        turn = sum(message.role == "assistant" for message in request.messages)
        if turn != 3:
            return ""
        world: Any = request.world
        number = int(world.task.id.split("-")[-1]) % 4
        words = Secretive.told[world.task.id].split()
        (mark,) = canaries(request.note)
        return [f"So: {' '.join(words[2:7])}.", f"See {words[-1]}", f"id {mark}", "Let me look."][number]

    recoveries = taken_over(quote, 12, note=("reference",))
    curated = curate(recoveries, CurationConfig(leaks="refuse"))
    assert curated.refused == {"leak: words of the private note": 6, "leak: canary of the private note": 3}
    renderer = depot_student().renderer
    rows, _ = segments_of([each.trajectory for each in curated.kept], renderer, 4000)
    assert len(rows) == 3
    for row, recovery in zip(rows, curated.kept, strict=True):
        text = renderer.tokenizer.decode(row.input_ids)
        secret = [*Secretive.told[recovery.trajectory.task.id].split(), *canaries(recovery.note)]
        assert not any(word in text for word in secret)


def test_what_the_conversation_had_before_is_no_leak():
    (recovery, *_) = taken_over(once(["The student forgot to close the file."] * 9), 1, note=("reference",))
    assert leak_in(recovery.trajectory, recovery.note)
    opening = recovery.trajectory.opening[0]
    heard = opening.model_copy(update={"content": f"{opening.content}. The student forgot to close the file."})
    assert not leak_in(recovery.trajectory.model_copy(update={"opening": (heard,)}), recovery.note)
    quoted = recovery.trajectory.steps[4].completion.message.content
    assert leak_in(recovery.trajectory.model_copy(update={"steps": recovery.trajectory.steps[:4]})) == ""
    assert talk_in(quoted, before=quoted) == ""


def test_what_a_call_carries_is_looked_at_too():
    trace = clean_traces()[0]
    for arguments, leaks in (({"item": "I am taking over from the previous agent"}, True), ({"item": "bolt"}, False)):
        step = trace.steps[0].model_copy(update={"completion": Completion(message=call("find", **arguments))})
        told = trace.model_copy(update={"steps": (step, *trace.steps[1:])})
        assert bool(leak_in(told)) is leaks


# ---- verified only ---------------------------------------------------------------------------------------------------


def test_a_cheating_teachers_trace_never_becomes_a_segment():
    class Fooled(Secretive):
        """Its visible world says that all is done; the hidden check looks again."""

        def verify(self) -> Verdict:
            verdict = super().verify()
            return verdict.model_copy(update={"detail": "all boxes right"})

    cheat = ScriptedPolicy(lambda request: call("ship", box="red"), name="cheat")
    takeover = Takeover(TakeoverConfig(attempts=2), [Rollout(Fooled, cheat, workers=1)])
    recoveries = list(takeover.run(idle_failures(4)))
    curated = curate(recoveries, CurationConfig())
    assert not curated.kept
    assert curated.refused == {"not verified": 4}
    rows, refused = segments_of([r.trajectory for r in recoveries], depot_student().renderer, 4000)
    assert (rows, refused) == ([], {"not verified": 4})
    assert all(not other.succeeded for each in recoveries for other in each.others)


# ---- the rest --------------------------------------------------------------------------------------------------------


def test_repetition_length_and_echo_are_refused_with_their_reasons():
    trace = clean_traces()[0]
    step = trace.steps[0]
    loops = trace.model_copy(update={"id": "loops", "steps": (step, step, step, *trace.steps[1:])})
    words = "one two three four five six seven eight "
    loud = step.completion.message.model_copy(update={"content": words * 4})
    echo = step.model_copy(update={"completion": Completion(message=loud)})
    echoes = trace.model_copy(update={"id": "echoes", "steps": (echo, *trace.steps[1:])})
    long = trace.model_copy(update={"id": "long", "steps": trace.steps * 3})
    errored = trace.model_copy(update={"id": "errored", "ending": "infrastructure_error", "verdict": None})
    config = CurationConfig(most_repeats=2, most_echoes=3, most_steps=2 * len(trace.steps), verified=False)
    curated = curate([trace, loops, echoes, long, errored], config)
    assert curated.kept == [trace]
    assert curated.reasons == {
        "loops": "repeats a call in the same world",
        "echoes": "repeats its words",
        "long": "too long",
        "errored": "infrastructure error",
    }
    assert len(curate([trace, loops, echoes, long, errored], CurationConfig()).kept) == 4


def test_a_takeover_that_could_not_begin_is_counted_as_the_machinerys():
    """It has fewer steps than it was to begin with."""
    (recovery, *_) = taken_over(lambda request: "", 1)
    broken = recovery.trajectory.model_copy(update={"steps": (), "ending": "infrastructure_error", "verdict": None})
    assert broken.parent is not None
    assert broken.parent.step > 0
    curated = curate([recovery.model_copy(update={"trajectory": broken})], CurationConfig())
    assert curated.reasons == {broken.id: "infrastructure error"}


def test_what_says_nearly_the_same_in_the_same_world_is_kept_once():
    recoveries = taken_over(lambda request: "", 3)
    again = [
        each.model_copy(update={"trajectory": each.trajectory.model_copy(update={"id": f"{number}"})})
        for number, each in enumerate(recoveries)
    ]
    curated = curate([*recoveries, *again], CurationConfig(most_alike=0.9))
    assert curated.kept == recoveries
    assert curated.refused == {"near-duplicate": 3}


@pytest.mark.parametrize(("cap", "kept"), [("per_task", 6), ("per_family", 4), ("per_detector", 2), ("per_depth", 4)])
def test_caps_keep_the_first_of_each_kind(cap, kept):
    recoveries = taken_over(lambda request: "", 6)
    mixed = [
        each.model_copy(
            update={"divergence": each.divergence.model_copy(update={"detector": "one" if number % 3 else "two"})}
        )
        for number, each in enumerate([*recoveries, *recoveries])
    ]
    most = {"per_task": 1, "per_family": 2, "per_detector": 1, "per_depth": 4}[cap]
    tasks = [each.trajectory.task.id for each in recoveries]
    curated = curate(
        mixed, CurationConfig(**{cap: most}), family=lambda task: "even" if tasks.index(task.id) % 2 else "odd"
    )
    assert len(curated.kept) == kept
    assert curated.kept[0] == mixed[0]


def test_tasks_that_students_nearly_always_or_never_solve_are_left_out():
    recoveries = taken_over(lambda request: "", 3)
    rates = dict(zip([r.trajectory.task.content_hash for r in recoveries], (0.0, 0.5, 1.0), strict=True))
    curated = curate(recoveries, CurationConfig(hardest=0.1, easiest=0.9), success=rates)
    assert curated.kept == [recoveries[1]]
    assert sorted(curated.refused) == ["too easy", "too hard"]
    assert len(curate(recoveries, CurationConfig(hardest=0.1), success={}).kept) == 3


def test_a_prefix_is_as_fresh_as_its_student_and_stale_for_another():
    student, other = depot_student(), depot_student(steps=5)

    def make() -> Depot:
        return Depot(gap=0)

    found = diverging(play(make, student, 6), RandomStep())
    climbs = [
        r.trajectory for r in Takeover(TakeoverConfig(), [Rollout(make, ScriptedTeacher(), workers=1)]).run(found)
    ]
    rows, _ = segments_of(climbs, student.renderer, student.context)
    own = staleness(rows, student)
    known = [value for value in own if not math.isnan(value)]
    assert known
    assert all(abs(value) < 1e-3 for value in known)
    far = [value for value in staleness(rows, other) if not math.isnan(value)]
    assert max(far) < -0.1
    kept, refused = refresh(rows, staleness(rows, other), lowest=-0.1)
    assert refused["stale"] == len(far) == len(rows) - len(kept)
    weighed, _ = refresh(rows, staleness(rows, other), lowest=-0.1, how="weight")
    assert len(weighed) == len(rows)
    assert all(0 < weight < 1 for row in weighed for weight in row.weights)
    assert staleness(rows_of(clean_traces()[0], student.renderer, 4000), student) == pytest.approx(
        [math.nan], nan_ok=True
    )


def test_the_students_own_successes_and_its_prefix_can_be_trained_on():
    renderer = depot_student().renderer
    able = [t.model_copy(update={"policy": "student"}) for t in clean_traces()[:2]]
    own = [
        t.model_copy(update={"steps": tuple(s.model_copy(update={"actor": "student"}) for s in t.steps)}) for t in able
    ]
    rows, _ = segments_of(own, renderer, 4000, trained="student")
    assert {row.kind for row in rows} == {"own"}
    assert segments_of(own, renderer, 4000)[1] == {"NothingSupervisedError": 2}
    recovery = taken_over(lambda request: "", 1)[0].trajectory
    (masked,) = rows_of(recovery, renderer, 4000)
    (whole,) = rows_of(recovery, renderer, 4000, trained="all", prefix=True)
    said = [step.completion.message for step in recovery.steps]
    assert masked.supervised == sum(map(renderer.count, said[2:]))
    assert whole.supervised == sum(map(renderer.count, said))
    assert masked.input_ids == whole.input_ids
