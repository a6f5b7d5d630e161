"""What a detector finds is held against the environment's truth; the environments' own notions are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agentdistill_environments.depot import Depot
from agentdistill_environments.repair import Repair
from students import call, depot_student, play, run_all, specs_of

from agentdistill.accuracy import (
    WatchedRecoverable,
    costs_to_go,
    score_detector,
    true_divergence,
    with_perfect_judge,
)
from agentdistill.cli.main import main
from agentdistill.divergence import Judge
from agentdistill.policies.scripted import ScriptedPolicy, ScriptedTeacher
from agentdistill.probing import Laboratory, find_all
from agentdistill.records import Cost, Divergence, Message
from agentdistill.rollout import Rollout


def at(step: int | None) -> Divergence | None:
    return None if step is None else Divergence(trajectory_id="x", step=step, reason="r", detector="d")


def test_the_truth_is_the_first_lasting_rise_of_the_cost_to_go():
    runs = [run for run in play(Depot, depot_student(), 8) if run.failed]
    environment = Depot()
    found = [true_divergence(run, environment) for run in runs]
    assert any(found)
    for run, true in zip(runs, found, strict=True):
        costs = costs_to_go(run, environment)
        assert costs is not None
        rises = [
            k
            for k in range(1, len(costs))
            if costs[k] > costs[k - 1] and all(later >= costs[k - 1] for later in costs[k:])
        ]
        assert (true.step if true else None) == (rises[0] if rises else None)


def test_a_run_of_the_teacher_never_gets_further_from_its_end():
    for run in play(lambda: Depot(gap=0), ScriptedTeacher("knowing"), 4):
        assert true_divergence(run, Depot(gap=0)) is None


def test_rates_are_over_runs_with_a_divergence_and_costs_over_all():
    cost = Cost(calls=2, output_tokens=10)
    truths = [at(3), at(3), at(3), at(3), None, at(5)]
    named = [at(3), at(4), at(9), None, at(1), None]
    found = [(each, cost, "SnapshotError: gone" if number == 5 else "") for number, each in enumerate(named)]
    score = score_detector(truths, found, oracle=False)
    assert (score.exact.rate, score.within_one.rate, score.found.rate, score.exact.n) == (0.25, 0.5, 0.75, 4)
    assert (score.broken, score.teacher_calls, score.teacher_tokens) == (1, 2.0, 10.0)


def test_the_bisecting_detector_is_right_about_what_is_recoverable_in_few_probes():
    def calm() -> Depot:
        return Depot(gap=0)

    student = depot_student()
    runs = [run for run in play(calm, student, 6) if run.failed]
    lab = Laboratory(
        Rollout(calm, student, workers=1), Rollout(calm, ScriptedTeacher("knowing"), workers=1), student.renderer
    )
    find = WatchedRecoverable()
    found = find_all(find, runs, lab)
    score = find.checked(score_detector([true_divergence(run, calm()) for run in runs], found, False), runs, calm())
    assert score.recoverable_right is not None
    assert (score.recoverable_right.rate, score.beyond_bound) == (1.0, 0)
    assert score.recoverable_right.n >= 2 * len(runs)


def test_a_judge_that_is_played_names_the_truth_and_is_paid_for_what_it_reads():
    student, judge = depot_student(), Judge(window=6, overlap=2)
    runs = [run for run in play(Depot, student, 8) if run.failed]
    truths = [true_divergence(run, Depot()) for run in runs]
    lab = Laboratory(Rollout(Depot, student), Rollout(Depot, ScriptedTeacher("knowing")), student.renderer)
    found = find_all(judge, runs, with_perfect_judge(lab, judge, runs, truths))
    assert any(truths)
    assert [each.divergence and each.divergence.step for each in found] == [true and true.step for true in truths]
    assert all(each.cost.input_tokens > 100 * each.cost.calls > 0 for each in found)
    assert all(each.cost.output_tokens > 0 for each in found)


def test_depot_takes_either_order_line_for_as_useful_and_questions_for_questions():
    depot = Depot(gap=0)
    (task,) = depot.make_tasks("train", 1)
    depot.reset(seed=0, options={"task": task})
    shelves = [depot.state.where[item] for item, _ in depot.order.lines]
    wrong = next(shelf for shelf in "ABCDEF" if shelf not in shelves)
    first, second = (call("go", place=shelf) for shelf in shelves)
    assert depot.equivalent(first, second)
    assert not depot.equivalent(first, call("go", place=wrong))
    assert depot.equivalent(call("look"), call("find", item="cup"))
    assert not depot.equivalent(call("look"), first)
    assert not depot.equivalent(Message(role="assistant"), Message(role="assistant"))
    assert all(
        f"{item} at {shelf}" in depot.reference() for (item, _), shelf in zip(depot.order.lines, shelves, strict=True)
    )


def test_depots_progress_is_one_where_all_lies_right():
    (run,) = play(lambda: Depot(gap=0), ScriptedTeacher("knowing"), 1)
    depot = Depot(gap=0)
    heights = []
    for step in range(len(run.steps) + 1):
        depot.restore(run.world(step), task=run.task)  # type: ignore[arg-type]
        heights.append(depot.progress())
    assert (heights[0], heights[-1]) == (0.0, 1.0)
    assert heights == sorted(heights)


def test_on_repair_two_ways_to_the_same_text_are_the_same_and_a_wrong_text_is_not(tmp_path):
    from agentdistill.sandbox.bubblewrap import BubblewrapBackend

    with BubblewrapBackend(tmp_path) as backend:
        repair = Repair(gap=0.5, sandboxes=backend)
        (task,) = repair.make_tasks("train", 1)
        teach = ScriptedPolicy(lambda request: request.world.teach(request.messages, "knowing"))  # type: ignore[union-attr]
        (run,) = run_all(Rollout(lambda: Repair(gap=0.5, sandboxes=backend), teach, workers=1), specs_of([task]))
        names = [step.completion.message.tool_calls[0].name for step in run.steps]
        edit = names.index("edit")
        right = run.steps[edit].completion.message
        repair.restore(run.world(edit), task=task)  # type: ignore[arg-type]
        arguments = dict(right.tool_calls[0].arguments)
        line = str(task.data["files"][repair.state.open]).split("\n")[int(arguments["line"]) - 1]  # type: ignore[index, call-overload, arg-type]
        whole = call("edit", line=arguments["line"], old=line, new=line.replace(arguments["old"], arguments["new"]))
        assert repair.equivalent(right, whole)
        assert not repair.equivalent(right, call("edit", line=arguments["line"], old=line, new="pass"))
        assert repair.equivalent(call("search", text="def"), call("list"))
        assert not repair.equivalent(right, call("submit"))
        before = repair.progress()
        assert f'replace "{arguments["old"]}" by "{arguments["new"]}"' in repair.reference()
        repair.step(right)
        assert repair.progress() > before
        repair.close()


@pytest.mark.slow
def test_the_command_compares_detectors_on_a_runs_base_student(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tmp_path / "depot.toml"
    config.write_text(
        'environment = "depot"\nbase_tokens = 300\narms = []\n[student]\nhidden = 32\nlayers = 1\n'
        "[base_training]\nsteps = 5\n[evaluation]\ntasks = 4\n"
    )
    main(["run", str(config), "--folder", str(tmp_path / "run")])
    out = tmp_path / "accuracy.json"
    command = ["detectors", str(tmp_path / "run"), "--episodes", "3", "--out", str(out), "--json"]
    main([*command, "--detector", "random", "--detector", '{name = "vote", of = ["progress", "last_recoverable"]}'])
    report = json.loads(out.read_text())
    assert report["failed"] == 3
    assert [row["oracle"] for row in report["detectors"].values()] == [False, True]
    assert json.loads(capsys.readouterr().out[-len(out.read_text()) :]) == report
