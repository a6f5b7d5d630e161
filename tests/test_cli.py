"""The command as people meet it: one line and the right exit code, whatever they type."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentdistill.bought import Bought
from agentdistill.cli import main
from agentdistill.store import RunStore

COMMAND = str(Path(sys.executable).with_name("agentdistill"))
CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
TINY = """
environment = "depot"
base_tokens = 600
budget_tokens = 300
most_student_episodes = 1
arms = ["clean"]
[environment_options]
gap = 0.0
[student]
vocabulary = 400
hidden = 16
layers = 1
heads = 2
context = 400
[sampling]
max_new_tokens = 8
[base_training]
steps = 3
tokens_per_step = 100
[training]
steps = 3
tokens_per_step = 100
[evaluation]
tasks = 4
"""


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[bytes]]:
    """A run that was made by the command itself, in a pipe."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.toml").write_text(TINY)
    command = [COMMAND, "run", str(folder / "tiny.toml"), "--folder", str(folder / "run")]
    return folder / "run", subprocess.run(command, capture_output=True, check=False)


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code and what was printed."""
    code = 0
    try:
        main([str(each) for each in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def one_line(said: tuple[int, str, str]) -> str:
    """The one line that a usage error prints, and nothing else."""
    code, out, err = said
    assert (code, out) == (2, ""), said
    assert err.startswith("agentdistill: ")
    assert err.count("\n") == 1, err
    assert err.endswith("\n")
    return err


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.stesp=3", "no key 'training.stesp'. Did you mean 'steps'"),
        ("trainin.steps=3", "no key 'trainin'. Did you mean 'training'"),
        ("training.steps=many", "training.steps"),
        ("training.steps=-1", "training.steps"),
        ("training.steps.more=1", "'steps' is a value, not a table"),
        ("training=3", "training"),
        ("evaluation.tasks=0", "evaluation.tasks"),
        ("seed=1.5", "seed"),
        ('arms=["clean", "clena"]', "arms"),
        ('arms={mine = {way = "takeover", detectors = ["lop"]}}', "unknown detector 'lop'"),
        ('arms={mine = {way = "takeover", takeover = {step = 3}}}', "Did you mean 'steps'"),
        ('arms={mine = {way = "clean", replay = 5}}', "replay"),
        ('arms={mine = {way = "claen"}}', "claen"),
        ("base.styel=knowing", "Did you mean 'style'"),
        ("sampling.top_p=0", "sampling.top_p"),
        ("student.heads=0", "student.heads"),
        ("student.hidden=30", "student"),
        ("student.vocabulary=10", "student.vocabulary"),
        ("student.context=0", "student.context"),
        ("training.steps", "key.subkey=value"),
        ("=3", "key.subkey=value"),
        ("training..steps=3", "key.subkey=value"),
        ("environment=depott", "Did you mean 'depot'"),
        ("environment=no.such.module:Class", "no module 'no'"),
        ("environment=nothing.py:Class", "no file"),
        ("environment_options.gap=7", "gap"),
        ("environment_options.gap=wide", "gap"),
        ("environment_options.gpa=0.5", "gpa"),
    ],
)
def test_a_wrong_key_or_value_is_one_line(capsys, settings, tmp_path, override, expected):
    line = one_line(typed(capsys, "run", settings, "--folder", tmp_path / "run", "--set", override))
    assert expected in line


def test_a_run_that_could_not_begin_leaves_no_folder_behind(capsys, settings, tmp_path):
    for override in ('arms=["x"]', "training.stesp=3", "environment=depott", "environment_options.gap=7"):
        one_line(typed(capsys, "run", settings, "--folder", tmp_path / "run", "--set", override))
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "missing.toml"), "no config file missing.toml"),
        (("run", "/tmp"), "cannot be read"),
        (("run",), "config"),
        (("rum", "x.toml"), "rum"),
        (("run", "x.toml", "--sett", "a=b"), "--sett"),
        (("report", "/nowhere"), "not the folder of a run"),
        (("report", "/tmp"), "not the folder of a run"),
        (("env", "check", "depott"), "Did you mean 'depot'"),
        (("env", "check", "agentdistill.records:Task"), "not a ToolEnvironment"),
        (("env", "chekc", "depot"), "chekc"),
        (("evaluate", "/nowhere", "--run", "/nowhere"), "not the folder of a run"),
        (("evaluate", "/nowhere"), "--run"),
    ],
)
def test_a_command_that_makes_no_sense_is_one_line(capsys, arguments, expected):
    assert expected in one_line(typed(capsys, *arguments))


@pytest.mark.parametrize("text", ["environment = ", "\xff\xfe", "[", "environment = 'depot'\nenvironment = 'depot'\n"])
def test_a_config_that_is_no_toml_is_one_line(capsys, tmp_path, text):
    path = tmp_path / "broken.toml"
    path.write_bytes(text.encode("latin-1"))
    assert "broken.toml" in one_line(typed(capsys, "run", path, "--folder", tmp_path / "run"))


def test_a_config_without_its_only_needed_key_is_one_line(capsys, tmp_path):
    path = tmp_path / "empty.toml"
    path.write_text("")
    assert "'environment' is missing" in one_line(typed(capsys, "run", path, "--folder", tmp_path / "run"))


def test_an_input_error_shows_no_traceback_in_a_real_process(settings, tmp_path):
    done = subprocess.run(
        [COMMAND, "run", str(settings), "--folder", str(tmp_path / "run"), "--set", "environment=depott"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1
    assert b"Traceback" not in done.stderr


# ---- a whole run -----------------------------------------------------------------------------------------------------


def test_a_run_says_how_far_it_is_and_what_came_of_it(finished):
    _, done = finished
    assert done.returncode == 0, done.stderr.decode()
    for stage in (b"transcripts", b"base: buying", b"base: training", b"clean: training", b"recovery from"):
        assert stage in done.stderr
    assert b"success" in done.stdout
    assert b"teacher tokens" in done.stdout.replace(b"\n", b" ")


def test_what_is_piped_has_no_control_sequences(finished):
    _, done = finished
    assert not CONTROL.search(done.stdout)
    assert not CONTROL.search(done.stderr), done.stderr


def test_names_of_arms_and_rates_are_whole_in_a_pipe(finished):
    _, done = finished
    assert "…" not in done.stdout.decode()


def test_a_report_is_printed_again(capsys, finished):
    folder, _ = finished
    code, out, err = typed(capsys, "report", folder)
    assert (code, err) == (0, "")
    assert "clean" in out


def test_the_json_of_a_report_has_the_documented_shape(capsys, finished):
    folder, _ = finished
    code, out, err = typed(capsys, "report", folder, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    assert set(found["arms"]) == {"base", "clean"}
    for arm in found["arms"].values():
        for rate in (arm["success"], arm["recovery"]):
            assert rate.keys() == {"rate", "low", "high", "n"}
            assert 0 <= rate["low"] <= rate["rate"] <= rate["high"] <= 1
        for count in ("teacher_tokens", "student_tokens", "optimiser_steps"):
            assert isinstance(arm[count], int)
    assert found["arms"]["clean"]["teacher_tokens"] > found["arms"]["base"]["teacher_tokens"]


def test_every_step_of_every_training_of_a_run_is_kept(capsys, finished):
    folder, _ = finished
    code, out, err = typed(capsys, "metrics", folder, "--json")
    assert (code, err) == (0, "")
    stages = json.loads(out)["stages"]
    assert {name: [step["step"] for step in steps] for name, steps in stages.items()} == {
        "base/0": [1, 2, 3],
        "clean/0": [1, 2, 3],
    }
    assert all(step["loss"] > 0 and step["gradient_norm"] > 0 for steps in stages.values() for step in steps)


def test_the_rows_a_run_has_trained_on_are_shown_and_trained_on_again(capsys, finished, tmp_path):
    folder, _ = finished
    code, out, _ = typed(capsys, "data", "preview", folder, "--json")
    assert code == 0
    rows = json.loads(out)["train"]
    command = ("train", folder, "--model", folder / "checkpoints" / "base-0", "--out", tmp_path / "out", "--json")
    code, out, err = typed(capsys, *command, "--set", "training.steps=2", "--set", "training.tokens_per_step=50")
    assert code == 0, err
    assert json.loads(out)["rows"] == rows > 0


def test_a_student_is_measured_on_a_finished_run(capsys, finished):
    folder, _ = finished
    student = folder / "checkpoints" / "clean-0"
    code, out, _ = typed(capsys, "evaluate", student, "--run", folder, "--json")
    arms = json.loads(typed(capsys, "report", folder, "--json")[1])["arms"]
    assert code == 0
    assert json.loads(out)["success"] == arms["clean"]["success"]
    assert json.loads(out)["recovery"] == arms["clean"]["recovery"]


def test_a_folder_without_a_student_cannot_be_measured(capsys, finished, tmp_path):
    folder, _ = finished
    assert "no model" in one_line(typed(capsys, "evaluate", tmp_path, "--run", folder))


def test_another_configuration_in_the_same_folder_is_one_line(capsys, settings, finished):
    folder, _ = finished
    assert "seed" in one_line(typed(capsys, "run", settings, "--folder", folder, "--set", "seed=3"))


def test_a_finished_run_is_exported_as_exactly_what_it_has_trained_on(capsys, finished, tmp_path):
    folder, _ = finished
    for form in ("trl", "messages", "atif"):
        assert typed(capsys, "export", folder, "--format", form, "--out", tmp_path / form)[0] == 0
    with RunStore.read(folder) as store:
        bought = [Bought.load(value) for name, value in store.results().items() if name.startswith("bought/")]
    wanted = {row.id: row for each in bought for row in each.segments}
    rows = [json.loads(line) for path in (tmp_path / "trl").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert len(rows) == len(wanted) > 0
    for row in rows:
        segment = wanted[row["id"]]
        assert tuple(row["input_ids"]) == segment.input_ids
        assert tuple(label != -100 for label in row["labels"]) == segment.loss_mask
    line = one_line(typed(capsys, "export", folder, "--format", "trl-dpo", "--out", tmp_path / "pairs"))
    assert "nothing to export" in line
    assert "clean trace" in line


def test_ctrl_c_is_one_line_and_the_same_command_again_goes_on(settings, tmp_path, finished):
    command = [COMMAND, "run", str(settings), "--folder", str(tmp_path / "run")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stderr is not None
    seen = b""
    while b"base: buying" not in seen and child.poll() is None:
        seen += child.stderr.readline()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    last = [line for line in err.splitlines() if line.startswith(b"agentdistill: ")]
    assert len(last) == 1
    assert b"the same command again" in last[0]
    assert b"Traceback" not in err
    assert out == b""
    stopped = subprocess.run([COMMAND, "report", str(tmp_path / "run")], capture_output=True, check=False)
    assert (stopped.returncode, stopped.stderr.count(b"\n")) == (2, 1)
    assert b"not finished" in stopped.stderr
    again = subprocess.run(command, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert b"transcripts" not in again.stderr
    assert again.stdout == finished[1].stdout


# ---- environments ----------------------------------------------------------------------------------------------------


def test_the_ready_environments_are_listed(capsys):
    code, out, err = typed(capsys, "env", "list", "--json")
    assert (code, err) == (0, "")
    rows = {row["id"]: row for row in json.loads(out)}
    assert {"agentdistill/Depot-v0", "agentdistill/Repair-v0"} <= rows.keys()
    assert "ship" in rows["agentdistill/Depot-v0"]["tools"]
    assert all(row["about"] for row in rows.values())
    assert "agentdistill/Depot-v0" in typed(capsys, "env", "list")[1].replace("\n", "")


def test_a_sound_environment_passes_its_check(capsys):
    code, out, _ = typed(capsys, "env", "check", "depot", "--json")
    checks = json.loads(out)["checks"]
    assert code == 0
    assert len(checks) > 5
    assert not [each for each in checks if each["status"] == "failed"]


def test_an_unsound_environment_fails_its_check_with_exit_code_1(capsys, tmp_path):
    source = tmp_path / "lucky.py"
    source.write_text(
        "from agentdistill_environments.depot import Depot\n"
        "from agentdistill.records import Verdict\n\n\n"
        "class Lucky(Depot):\n    '''Everybody wins.'''\n\n"
        "    def verify(self):\n        return Verdict(passed=True, score=1.0)\n"
    )
    code, out, _ = typed(capsys, "env", "check", f"{source}:Lucky", "--json")
    assert code == 1
    assert {"doing nothing does not pass"} <= {c["name"] for c in json.loads(out)["checks"] if c["status"] == "failed"}


def test_help_is_there_without_loading_a_model():
    done = subprocess.run([COMMAND, "--help"], capture_output=True, check=False)
    assert done.returncode == 0
    for command in (b"demo", b"run", b"evaluate", b"report", b"env"):
        assert command in done.stdout
