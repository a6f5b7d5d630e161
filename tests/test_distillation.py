"""The whole loop, small: its arms can be compared, and it can be stopped anywhere and gone on with."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from agentdistill_environments.depot import Depot
from pydantic import ValidationError
from safetensors.torch import load_file

from agentdistill.distillation import distill, evaluate_student
from agentdistill.errors import ConfigError, StoreError, UnknownNameError
from agentdistill.policies.scripted import ScriptedTeacher
from agentdistill.results import RunReport, read_report
from agentdistill.resuming import run_stored
from agentdistill.rollout import EpisodeSpec, Rollout
from agentdistill.settings import RunConfig
from agentdistill.store import RunStore

ARMS = ("base", "clean", "clean-explore", "recovery")
SMALL: dict[str, Any] = {
    "environment": "depot",
    "environment_options": {"gap": 0.3},
    "base_tokens": 1500,
    "budget_tokens": 600,
    "most_student_episodes": 128,
    "student": {"vocabulary": 450, "hidden": 16, "layers": 1, "heads": 2, "context": 400},
    "sampling": {"max_new_tokens": 16},
    "base_training": {"steps": 6, "tokens_per_step": 200},
    "training": {"steps": 4, "tokens_per_step": 200},
    "evaluation": {"tasks": 8},
}


class Quiet:
    """Notes which stages began, and breaks off after so many calls."""

    def __init__(self, patience: float = float("inf")) -> None:
        self.stages: list[str] = []
        self.patience = patience

    def begin(self, stage: str, total: int | None = None) -> None:
        self.stages.append(stage)
        self.advance(0)

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.patience -= 1
        if self.patience < 0:
            raise KeyboardInterrupt

    def end(self, note: str = "") -> None:
        self.advance(0)


def config(**changes: Any) -> RunConfig:
    return RunConfig.model_validate(SMALL | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunReport]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, distill(config(), folder, Quiet())


def contents(folder: Path) -> dict[str, Any]:
    """All a run leaves in its store, but for when and in which order."""
    with RunStore.read(folder) as store:
        return {
            "trajectories": sorted((str(key), trace.id, trace.ending) for key, trace in store.trajectories()),
            "recoveries": sorted((str(key), each.trajectory.id, each.verified) for key, each in store.recoveries()),
            "results": store.results(),
            "teacher": {arm: store.teacher_tokens(arm).model_dump() for arm in ARMS},
            "quarantined": store.quarantined,
        }


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


# ---- arms that can be compared ---------------------------------------------------------------------------------------


def test_all_arms_are_there_and_measured_on_the_same(finished):
    _, report = finished
    assert tuple(report.arms) == ARMS
    for arm in report.arms.values():
        assert arm.success.n + arm.errored == 8
        assert arm.recovery.n == report.bank_states
    assert report.bank_states + report.bank_fatal + report.bank_unseen == round(
        8 * (1 - report.arms["base"].success.rate)
    )


def test_every_arm_spends_its_budget_and_not_a_trace_more(finished):
    folder, report = finished
    base = report.arms["base"].teacher_tokens
    with RunStore.read(folder) as store:
        for arm in ARMS[1:]:
            clean = [trace.tokens("teacher") for _, trace in store.trajectories("clean", arm)]
            climbs = [each.teacher_tokens for _, each in store.recoveries("takeover", arm)]
            spent = report.arms[arm].teacher_tokens - base
            assert spent == sum(clean) + sum(climbs) == store.teacher_tokens(arm).output
            assert 600 <= spent <= 600 + max(clean + climbs)


def test_every_arm_takes_the_same_optimiser_steps(finished):
    _, report = finished
    assert [report.arms[arm].optimiser_steps for arm in ARMS] == [6, 10, 10, 10]


def test_only_the_recovery_arm_lets_the_student_act_for_its_data(finished):
    folder, report = finished
    assert [report.arms[arm].student_tokens > 0 for arm in ARMS] == [False, False, False, True]
    with RunStore.read(folder) as store:
        acted = [trace for _, trace in store.trajectories("rollout", "recovery")]
    assert report.arms["recovery"].student_tokens == sum(trace.tokens("student") for trace in acted)


def test_held_out_tasks_are_in_no_arms_data(finished):
    folder, _ = finished
    with RunStore.read(folder) as store:
        tasks = {
            stage: {t.task.content_hash for _, t in store.trajectories(stage)} for stage in ("evaluation", "clean")
        }
        rollouts = {trace.task.content_hash for _, trace in store.trajectories("rollout")}
    assert tasks["evaluation"]
    assert tasks["evaluation"].isdisjoint(tasks["clean"] | rollouts)


def test_the_same_again_is_the_same_report_without_an_episode_more(finished):
    folder, report = finished
    before, written = contents(folder), files(folder)
    watch = Quiet()
    assert distill(config(), folder, watch) == report == read_report(folder)
    assert contents(folder) == before
    assert files(folder) == written
    assert not [stage for stage in watch.stages if "training" in stage]


def test_another_configuration_does_not_get_into_a_folder(finished):
    folder, _ = finished
    with pytest.raises(StoreError, match="seed"):
        distill(config(seed=1), folder, Quiet())


def test_a_run_in_another_folder_is_the_same_run(finished, tmp_path):
    _, report = finished
    assert distill(config(), tmp_path / "again", Quiet()) == report


def test_a_stored_episode_of_another_seed_is_not_passed_off_as_this_one(tmp_path):
    (task,) = Depot().make_tasks("train", 1)
    rollout = Rollout(Depot, ScriptedTeacher(), workers=1)
    with RunStore.resume(tmp_path, {}) as store:
        run = functools.partial(run_stored, store, rollout, "clean", "clean", 0, watch=Quiet())
        first = run([EpisodeSpec(task, 1)])
        assert run([EpisodeSpec(task, 1)]) == first
        with pytest.raises(StoreError, match="saved already"):
            run([EpisodeSpec(task, 2)])


# ---- measuring somebody else -----------------------------------------------------------------------------------------


def test_any_student_can_be_measured_on_what_a_run_was(finished):
    folder, report = finished
    result = evaluate_student(folder / "checkpoints" / "base-0", folder, "somebody", Quiet())
    assert (result.success, result.recovery) == (report.arms["base"].success, report.arms["base"].recovery)
    assert read_report(folder) == report


def test_a_name_that_is_taken_gives_nobody_elses_results(finished):
    folder, _ = finished
    students = folder / "checkpoints"
    for name in ("base", "recovery"):
        with pytest.raises(ConfigError, match="choose another"):
            evaluate_student(students / "clean-0", folder, name, Quiet())
    first = evaluate_student(students / "clean-0", folder, "mine", Quiet())
    assert evaluate_student(students / "clean-0", folder, "mine", Quiet()) == first
    with pytest.raises(ConfigError, match="choose another"):
        evaluate_student(students / "recovery-0", folder, "mine", Quiet())


def test_a_run_that_is_not_finished_has_no_report(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        distill(config(), tmp_path, Quiet(patience=3))
    with pytest.raises(StoreError, match="not finished"):
        read_report(tmp_path)
    with pytest.raises(ConfigError, match="no base student yet"):
        evaluate_student(tmp_path, tmp_path, "x", Quiet())


def test_an_environment_without_a_teacher_is_told_in_one_line(tmp_path):
    source = tmp_path / "plain.py"
    source.write_text(
        "from agentdistill_environments.depot import Depot\n\n\n"
        "class Plain(Depot):\n    '''Nobody knows how.'''\n\n    teach = None\n"
    )
    with pytest.raises(ConfigError, match="bought no trace") as caught:
        distill(config(environment=f"{source}:Plain"), tmp_path / "run", Quiet())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"arms": {"mine": {"way": "takeover", "detectors": ["lop"]}}}, UnknownNameError),
        ({"arms": {"mine": {"way": "takeover", "detectors": []}}}, UnknownNameError),
        ({"arms": {"mine": {"way": "clean", "replay": 1.5}}}, ValidationError),
        ({"arms": {"base": {"way": "clean"}}}, ValidationError),
        ({"arms": ["x"]}, ValidationError),
    ],
)
def test_a_wrong_value_is_told_before_anything_runs(bad, error):
    with pytest.raises(error):
        config(**bad)


# ---- stopping and going on -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_was_broken_off_again_and_again_comes_to_the_same(finished, tmp_path, seed):
    folder, report = finished
    luck = random.Random(seed)
    for _ in range(6):
        try:
            found = distill(config(), tmp_path, Quiet(patience=luck.randint(1, 150)))
            break
        except KeyboardInterrupt:
            continue
    else:
        found = distill(config(), tmp_path, Quiet())
    assert found == report
    assert contents(tmp_path)["trajectories"] == [
        each for each in contents(folder)["trajectories"] if "/somebody/" not in each[0] and "/mine/" not in each[0]
    ]


@pytest.mark.slow
def test_rounds_share_the_budget_and_the_steps(tmp_path):
    report = distill(config(rounds=2), tmp_path, Quiet())
    base = report.arms["base"].teacher_tokens
    for arm in ARMS[1:]:
        assert 600 <= report.arms[arm].teacher_tokens - base < 600 * 1.6
        assert report.arms[arm].optimiser_steps == 6 + 4


def write_toml(path: Path, settings: dict[str, Any]) -> None:
    plain = [f"{key} = {json.dumps(value)}" for key, value in settings.items() if not isinstance(value, dict)]
    tables = [
        "\n".join([f"[{key}]", *(f"{inner} = {json.dumps(each)}" for inner, each in value.items())])
        for key, value in settings.items()
        if isinstance(value, dict)
    ]
    path.write_text("\n".join([*plain, *tables]) + "\n")


def start(settings: Path, folder: Path) -> subprocess.Popen[bytes]:
    """The command in a session of its own, so that whatever it leaves behind can be found."""
    command = [str(Path(sys.executable).with_name("agentdistill")), "run", str(settings), "--folder", str(folder)]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def still_there(pid: int, folder: Path) -> Iterator[int]:
    """Processes of the session that `pid` led, or that name the run's folder, or in whose world it is mounted."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
            seen = (process / "cmdline").read_text(errors="replace") + (process / "mountinfo").read_text()
        except OSError:
            continue
        if fields[0] != "Z" and int(process.name) != os.getpid() and (int(fields[3]) == pid or str(folder) in seen):
            yield int(process.name)


def everything_gone(pid: int, folder: Path) -> bool:
    """A sandbox dies with its parent, which takes the kernel a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not list(still_there(pid, folder)):
            return True
        time.sleep(0.05)
    return False


def kill_and_resume(settings: Path, folder: Path, delays: list[float]) -> int:
    """Kill the command so long after its store is there, again and again; then let it finish. How many kills hit."""
    hits = 0
    for delay in delays:
        child = start(settings, folder)
        while not (folder / "run.sqlite").exists() and child.poll() is None:
            time.sleep(0.02)
        try:
            child.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            hits += 1
        assert everything_gone(child.pid, folder)
    child = start(settings, folder)
    _, said = child.communicate(timeout=280)
    assert child.returncode == 0, said.decode()
    assert everything_gone(child.pid, folder)
    return hits


def without_others(found: dict[str, Any]) -> dict[str, Any]:
    """What belongs to the run itself, without the students that other tests measured in it."""
    own = [each for each in found["trajectories"] if each[0].split("/")[1] in ARMS]
    results = {
        name: value for name, value in found["results"].items() if name.split("/")[-1] not in ("somebody", "mine")
    }
    return found | {"trajectories": own, "results": results}


@pytest.mark.slow
def test_a_run_that_was_killed_again_and_again_comes_to_the_same(finished, tmp_path):
    folder, report = finished
    write_toml(tmp_path / "small.toml", SMALL)
    luck = random.Random()
    delays = [luck.uniform(0, 3), *(luck.uniform(5, 14) for _ in range(3))]
    assert kill_and_resume(tmp_path / "small.toml", tmp_path / "run", delays), delays
    assert read_report(tmp_path / "run") == report, delays
    assert without_others(contents(tmp_path / "run")) == without_others(contents(folder)), delays
    assert not list((tmp_path / "run").rglob("*.partial"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_on_repair_a_killed_run_leaves_nothing_and_comes_to_the_same(tmp_path):
    student = SMALL["student"] | {"context": 1200, "vocabulary": 900}
    settings = SMALL | {
        "environment": "repair",
        "student": student,
        "base_tokens": 400,
        "budget_tokens": 150,
        "arms": ["recovery"],
        "evaluation": {"tasks": 4},
    }
    write_toml(tmp_path / "small.toml", settings)
    assert kill_and_resume(tmp_path / "small.toml", tmp_path / "whole", []) == 0
    delays = [random.uniform(8, 30) for _ in range(3)]
    assert kill_and_resume(tmp_path / "small.toml", tmp_path / "run", delays), delays
    assert read_report(tmp_path / "run") == read_report(tmp_path / "whole"), delays
    assert contents(tmp_path / "run") == contents(tmp_path / "whole"), delays
    for run in ("run", "whole"):
        assert [path.name for path in (tmp_path / run / "sandbox" / "live").iterdir()] in ([], ["lock"]), delays


def test_a_model_of_the_users_own_is_the_student_a_run_begins_with(
    finished: tuple[Path, RunReport], tmp_path: Path
) -> None:
    own = finished[0] / "checkpoints" / "base-0"
    report = distill(config(checkpoint={"model": str(own)}, arms=["clean"]), tmp_path, Quiet())
    assert set(report.arms) == {"base", "clean"}
    begun, given = (load_file(folder / "model.safetensors") for folder in (tmp_path / "checkpoints/untrained", own))
    assert begun.keys() == given.keys()
    assert all(torch.equal(begun[name], given[name]) for name in given)
    learnt = load_file(tmp_path / "checkpoints/clean-0/model.safetensors")
    assert any(not torch.equal(learnt[name], given[name]) for name in given)


def test_a_model_that_cannot_be_a_student_is_refused_before_a_run_begins(
    finished: tuple[Path, RunReport], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        distill(config(checkpoint={"model": str(tmp_path / "nowhere")}), tmp_path / "run", Quiet())
    mute = tmp_path / "mute"
    shutil.copytree(finished[0] / "checkpoints" / "base-0", mute)
    for template in mute.glob("chat_template*"):
        template.unlink()
    settings = json.loads((mute / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (mute / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"cannot be a student: .*chat template"):
        distill(config(checkpoint={"model": str(mute)}), tmp_path / "run", Quiet())
    assert not (tmp_path / "run").exists()
