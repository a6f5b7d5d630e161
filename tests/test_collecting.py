"""Collecting recovery traces on task folders, with real sandboxes and real servers, and what is exported of them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from messy import Messy, Solving, write_task
from rich.console import Console
from test_cli import one_line, typed

from agentdistill import exporting
from agentdistill.cli.progress import ConsoleWatcher
from agentdistill.collecting import CollectConfig, collect
from agentdistill.formats.atif import read_atif
from agentdistill.formats.tables import split_of, write_rows
from agentdistill.policies.endpoint import EndpointConfig
from agentdistill.policies.tiny import TinyConfig, make_student, make_tokenizer, save_student
from agentdistill.records import Recovery
from agentdistill.store import RunStore
from agentdistill.testing import ChatServer

COMMAND = str(Path(sys.executable).with_name("agentdistill"))
QUICK = ", backoff = 0.005, longest_backoff = 0.05, timeout = 20.0"


def endpoint(server: ChatServer, model: str) -> str:
    return f'{{url = "{server.url}", model = "{model}"{QUICK}}}'


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tasks")
    for name in ("one", "two", "three"):
        write_task(root, name, messes=2)
    write_task(root, "kept-back", split="heldout")
    return root


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny model and its tokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    size = TinyConfig(vocabulary=400, hidden=16, layers=1, heads=2, context=8192)
    found = make_tokenizer(['{"name": "bash", "arguments": {"command": "cat adder.py; sed -i s/-/+/ adder.py"}}'], size)
    save_student(make_student(found, size, 0), found, folder)
    return folder


def arguments(tasks: Path, run: Path, student: str, teacher: str, *more: object, budget: int = 400_000) -> list[str]:
    told = ["collect", "--tasks", tasks, "--student", student, "--teacher", teacher, "--budget", budget]
    return [str(each) for each in (*told, "--folder", run, "--tries", 2, "--json", *more)]


@pytest.fixture(scope="module")
def collected(tasks: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A collection with student and teacher behind servers, and its summary."""
    run = tmp_path_factory.mktemp("collected") / "run"
    with ChatServer(Messy(tasks)) as student, ChatServer(Solving(tasks)) as teacher:
        config = CollectConfig(
            tasks=tasks,
            student=EndpointConfig(url=student.url, model="weak"),
            teacher=EndpointConfig(url=teacher.url, model="strong"),
            budget=400_000,
            tries=2,
        )
        with ConsoleWatcher(Console(stderr=True)) as watch:
            summary = collect(config, run, watch).model_dump()
        assert teacher.served.output_tokens == summary["teacher_output"]
        assert teacher.served.input_tokens == summary["teacher_input"]
    return run, summary


def test_every_failed_run_is_taken_over_and_climbs_out(collected):
    run, summary = collected
    assert summary["tasks"] == summary["tasks_tried"] == 3  # the task that is held out is left alone
    assert summary["runs"] == summary["failed"] == summary["divergences"] == summary["kept"] == 6
    assert summary["errored"] == 0
    with RunStore.read(run) as store:
        recoveries = [recovery for _, recovery in store.recoveries("takeover")]
    assert all(recovery.verified for recovery in recoveries)
    # The judge named the last step before the end: the whole mess is there, and the teacher went on from it.
    assert [recovery.divergence.step for recovery in recoveries] == [3] * 6
    assert {step.completion.model for r in recoveries for step in r.trajectory.steps[:3]} == {"weak"}
    assert {step.completion.model for r in recoveries for step in r.trajectory.steps[3:]} == {"strong"}


def read_split(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def both(folder: Path) -> list[dict[str, Any]]:
    return read_split(folder, "train") + read_split(folder, "test")


def test_messages_say_whose_turns_are_to_be_learnt(capsys, collected, tmp_path):
    run, _ = collected
    assert typed(capsys, "export", run, "--format", "messages", "--out", tmp_path / "out")[0] == 0
    for row in both(tmp_path / "out"):
        learnt = [message["train"] for message in row["messages"] if message["role"] == "assistant"]
        assert learnt == [False, False, False, True, True]
        assert not any(message["train"] for message in row["messages"] if message["role"] != "assistant")
        assert [tool["function"]["name"] for tool in row["tools"]].count("bash") == 1
        command = json.loads(row["messages"][-4]["tool_calls"][0]["function"]["arguments"])["command"]
        assert "mv add" in command
        assert row["verified"] is True


def test_no_task_is_on_both_sides_of_a_split(capsys, collected, tmp_path):
    run, _ = collected
    exported = ("export", run, "--format", "messages", "--test-share", 0.5)
    assert typed(capsys, *exported, "--out", tmp_path / "a")[0] == 0
    sides = [{row["task"] for row in read_split(tmp_path / "a", side)} for side in ("train", "test")]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 3
    assert typed(capsys, *exported, "--split-by", "none", "--out", tmp_path / "b")[0] == 0
    assert not (tmp_path / "b" / "test.jsonl").exists()
    assert len(both(tmp_path / "b")) == len(both(tmp_path / "a")) == 6


def test_a_split_gives_the_share_it_was_asked_for():
    sides = [split_of(f"{number:064x}", 0.2) for number in range(2000)]
    assert 0.17 < sides.count("test") / 2000 < 0.23


def test_atif_documents_read_back_with_the_students_turns_as_context(capsys, collected, tmp_path):
    run, _ = collected
    assert typed(capsys, "export", run, "--format", "atif", "--out", tmp_path / "out")[0] == 0
    documents = both(tmp_path / "out")
    assert len(documents) == 6
    for document in documents:
        agents = [step for step in document["steps"] if step["source"] == "agent"]
        assert [step.get("is_copied_context", False) for step in agents] == [True, True, True, False, False]
        assert [step["model_name"] for step in agents] == ["weak"] * 3 + ["strong"] * 2
        assert read_atif(document).parent.step == 3
        assert "data" not in json.dumps(document["extra"].get("agentdistill", {}).get("task", {}))


def test_rows_need_a_tokenizer_where_the_student_is_behind_a_server(capsys, collected, tokenizer, tmp_path):
    run, _ = collected
    line = one_line(typed(capsys, "export", run, "--format", "trl", "--out", tmp_path / "out"))
    assert "--tokenizer" in line
    assert not (tmp_path / "out").exists()
    exported = ("export", run, "--format", "trl", "--out", tmp_path / "out", "--tokenizer", tokenizer)
    assert typed(capsys, *exported)[0] == 0
    rows = both(tmp_path / "out")
    assert len(rows) == 6
    assert all(0 < sum(label != -100 for label in row["labels"]) < len(row["labels"]) for row in rows)
    assert {row["tokens"] for row in rows} == {"inferred"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "6 recoveries" in card
    assert "6 of 6 (100.0%)" in card
    assert "found again from the text" in card
    assert "license: #" in card


def test_pairs_are_two_turns_from_one_state(capsys, collected, tokenizer, tmp_path):
    run, _ = collected
    assert typed(capsys, "export", run, "--format", "trl-dpo", "--out", tmp_path / "plain")[0] == 0
    exported = ("export", run, "--format", "trl-dpo", "--out", tmp_path / "ids", "--tokenizer", tokenizer)
    assert typed(capsys, *exported)[0] == 0
    for plain, row in zip(both(tmp_path / "plain"), both(tmp_path / "ids"), strict=True):
        assert plain["prompt"] == row["prompt"]
        assert row["chosen"][0]["tool_calls"][0]["function"]["name"] == "bash"
        assert row["rejected"][0]["tool_calls"][0]["function"]["name"] == "submit"
        assert "prompt_ids" not in plain
        assert row["prompt_ids"]
        assert row["chosen_ids"] != row["rejected_ids"]


def test_parquet_holds_what_json_lines_hold(capsys, collected, tokenizer, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    run, _ = collected
    for form in ("messages", "trl-dpo"):
        options = ("export", run, "--format", form, "--split-by", "none", "--tokenizer", tokenizer)
        assert typed(capsys, *options, "--out", tmp_path / f"{form}-lines")[0] == 0
        assert typed(capsys, *options, "--parquet", "--out", tmp_path / f"{form}-table")[0] == 0
        lines = both(tmp_path / f"{form}-lines")
        rows = parquet.read_table(tmp_path / f"{form}-table" / "train.parquet").to_pylist()
        nested = {"messages", "tools", "prompt", "chosen", "rejected"}
        as_text = {name for name in nested if form == "messages" or name != "tools"}
        for row in rows:
            row.update({name: json.loads(row[name]) for name in as_text & row.keys()})
        assert rows == lines


def test_what_only_the_environment_knows_is_in_no_document(capsys, collected, tmp_path):
    run, _ = collected
    assert typed(capsys, "export", run, "--format", "atif", "--split-by", "none", "--out", tmp_path / "out")[0] == 0
    documents = both(tmp_path / "out")
    with RunStore.read(run) as store:
        worlds = {each.trajectory.id: each for _, each in store.recoveries()}
    for document in documents:
        trace = read_atif(document)
        assert [step.snapshot for step in trace.steps if step.snapshot] == []
        left = worlds[trace.id].trajectory
        told = document["extra"]["agentdistill"]["snapshot_id"]
        assert told == left.world(left.parent.step).world_digest
        assert told in json.dumps(document["steps"])
    assert "rng" not in json.dumps(documents)


def test_documents_in_parquet_are_read_back_by_datasets(capsys, collected, tmp_path):
    datasets = pytest.importorskip("datasets")
    run, _ = collected
    options = ("export", run, "--format", "atif", "--split-by", "none")
    assert typed(capsys, *options, "--out", tmp_path / "lines")[0] == 0
    assert typed(capsys, *options, "--parquet", "--out", tmp_path / "table")[0] == 0
    files = str(tmp_path / "table" / "train.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert [dict(row) for row in rows] == both(tmp_path / "lines")


def test_half_characters_are_written_as_lines_and_as_a_table(tmp_path):
    pytest.importorskip("pyarrow")
    for name in ("a.jsonl", "a.parquet"):
        assert write_rows([{"text": "\ud800", "nested": [{"text": "\ud800"}]}], tmp_path / name) == 1


def test_an_export_that_fails_leaves_nothing_in_its_place(collected, tmp_path, monkeypatch):
    def broken(*_: object) -> int:
        raise KeyboardInterrupt

    run, _ = collected
    monkeypatch.setattr(exporting, "write_card", broken)
    with pytest.raises(KeyboardInterrupt):
        exporting.export(run, "messages", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_all_splits_are_all_that_there_are(capsys, tmp_path):
    write_task(tmp_path / "tasks", "one")
    write_task(tmp_path / "tasks", "two", split="validation")
    own = own_policies(tmp_path, tmp_path / "tasks")
    given = arguments(tmp_path / "tasks", tmp_path / "run", f"{own}:student", f"{own}:teacher", "--split", "all")
    code, out, err = typed(capsys, *given)
    assert code == 0, err
    assert json.loads(out)["tasks"] == 2


def test_a_secret_that_was_said_is_in_no_export(capsys, collected, tokenizer, tmp_path, monkeypatch):
    run, _ = collected
    monkeypatch.setenv("SOME_API_KEY", "This is task one")
    forms = {"messages": 6, "atif": 6, "trl-dpo": 4, "trl": 4}
    for form, count in forms.items():
        options = ("export", run, "--format", form, "--out", tmp_path / form, "--tokenizer", tokenizer)
        code, out, _ = typed(capsys, *options)
        assert code == 0
        assert len(both(tmp_path / form)) == count  # ids that spell a secret cannot be mended: two rows are left out
        assert ("spell a secret" in out) == (count < 6)
        text = "".join(path.read_text() for path in (tmp_path / form).iterdir())
        assert "This is task one" not in text


@pytest.mark.slow
def test_a_collection_that_was_killed_goes_on_and_buys_nothing_twice(tasks, tmp_path):
    with ChatServer(Messy(tasks), latency=0.02) as student, ChatServer(Solving(tasks), latency=0.05) as teacher:
        command = [COMMAND, *arguments(tasks, tmp_path, endpoint(student, "weak"), endpoint(teacher, "strong"))]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while teacher.served.answers < 4 and child.poll() is None:
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        summary = json.loads(done.stdout)
        assert summary["kept"] == 6
        # Only what was in flight at the kill was asked again: its answer had come to nobody.
        assert teacher.served.answers - summary["teacher_calls"] <= 6
        before = teacher.served.answers, student.served.answers
        again = subprocess.run(command, capture_output=True, check=False)
        assert json.loads(again.stdout) == summary
        assert (teacher.served.answers, student.served.answers) == before


def test_the_budget_is_never_passed_and_a_larger_one_goes_on(capsys, tasks, tmp_path):
    with ChatServer(Messy(tasks)) as student, ChatServer(Solving(tasks)) as teacher:
        given = (tasks, tmp_path / "run", endpoint(student, "weak"), endpoint(teacher, "strong"))
        code, out, _ = typed(capsys, *arguments(*given, budget=12_000))
        summary = json.loads(out)
        assert code == 0
        assert summary["ended"] == "the budget is spent"
        assert 0 < teacher.served.input_tokens + teacher.served.output_tokens <= 12_000
        assert summary["kept"] < 6
        code, out, _ = typed(capsys, *arguments(*given, budget=400_000))
        assert json.loads(out)["kept"] == 6
        assert set(teacher.served.requests.values()) == {1}


def own_policies(folder: Path, tasks: Path) -> Path:
    path = folder / "own.py"
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom pathlib import Path\n"
        f"from messy import Messy, Solving\nroot = Path({str(tasks)!r})\n"
        "student, teacher = Messy(root), Solving(root)\n"
    )
    return path


def test_policies_of_ones_own_collect_too_and_are_counted_in_the_students_tokens(capsys, tasks, tokenizer, tmp_path):
    own = own_policies(tmp_path, tasks)
    given = arguments(tasks, tmp_path / "run", f"{own}:student", f"{own}:teacher", "--tokenizer", tokenizer)
    code, out, err = typed(capsys, *given, "--detector", "last_step")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["kept"] == 6
    assert summary["teacher_output"] > 0
    with RunStore.read(tmp_path / "run") as store:
        said = [
            step.completion
            for _, recovery in store.recoveries()
            for step in recovery.trajectory.steps
            if step.actor == "teacher"
        ]
    assert summary["teacher_output"] == sum(each.output_tokens for each in said)
    spent = summary["teacher_input"] + summary["teacher_output"]
    given = arguments(
        tasks, tmp_path / "less", f"{own}:student", f"{own}:teacher", "--tokenizer", tokenizer, budget=spent // 2
    )
    less = json.loads(typed(capsys, *given, "--detector", "last_step")[1])
    assert less["ended"] == "the budget is spent"
    assert 0 < less["teacher_input"] + less["teacher_output"] <= spent // 2


def test_the_tokenizer_of_a_local_student_is_its_own(capsys, tasks, tokenizer, tmp_path):
    own = own_policies(tmp_path, tasks)
    given = arguments(tasks, tmp_path / "run", str(tokenizer), f"{own}:teacher", "--tokenizer", tokenizer)
    assert "leave --tokenizer out" in one_line(typed(capsys, *given))


def test_what_cannot_be_collected_is_one_line(capsys, tasks, tmp_path):
    own = own_policies(tmp_path, tasks)
    student, teacher = f"{own}:student", f"{own}:teacher"
    recipe = tmp_path / "clean.toml"
    recipe.write_text('way = "clean"\n')
    run = tmp_path / "run"
    served = '{url = "http://127.0.0.1:9/v1", model = "m"'
    for given, expected in {
        tuple(arguments(tmp_path / "none", run, student, teacher)): "no folder of tasks",
        tuple(arguments(tasks, run, "nobody", teacher)): "there is no such folder",
        tuple(arguments(tasks, run, "http://127.0.0.1:9/v1", teacher)): "MODEL@http",
        tuple(arguments(tasks, run, f"{own}:studnet", teacher)): "Did you mean 'student'",
        tuple(arguments(tasks, run, served + ", modle = 1}", teacher)): "Did you mean 'model'",
        tuple(arguments(tasks, run, student, served + ", token_ids = true}")): "not the student's",
        tuple(arguments(tasks, run, student, "m@ftp://x")): "there is no module",
        tuple(arguments(tasks, run, student, teacher, "--split", "tset")): "no task of the split 'tset'",
        tuple(arguments(tasks, run, student, teacher, "--recipe", recipe)): "way = 'takeover'",
        tuple(arguments(tasks, run, student, teacher, "--detector", "lopo")): "Did you mean 'loop'",
        tuple(arguments(tasks, run, student, teacher, "--tokenizer", tmp_path)): "no tokenizer can be loaded",
        tuple(arguments(tasks, run, student, teacher, "--sandbox", "bubblewarp")): "Did you mean 'bubblewrap'",
    }.items():
        assert expected in one_line(typed(capsys, *given))


def test_what_cannot_be_exported_is_one_line(capsys, collected, tmp_path):
    run, _ = collected
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").touch()
    for given, expected in {
        (run, "--format", "messagse", "--out", tmp_path / "a"): "Did you mean 'messages'",
        (run, "--format", "trl", "--out", used): "not an empty folder",
        (tmp_path, "--format", "atif", "--out", tmp_path / "a"): "not the folder of a run",
        (run, "--format", "atif", "--out", tmp_path / "a", "--arm", "colect"): "Did you mean 'collect'",
        (run, "--format", "atif", "--out", tmp_path / "a", "--split-by", "day"): "--split-by is one of task, none",
        (run, "--format", "atif", "--out", used / "file" / "a"): "a cannot be written: ",
    }.items():
        assert expected in one_line(typed(capsys, "export", *given))
        assert not (tmp_path / "a").exists()


def test_another_student_in_the_same_folder_is_refused_by_name(capsys, tasks, collected):
    run, _ = collected
    own = own_policies(run.parent, tasks)
    line = one_line(typed(capsys, *arguments(tasks, run, f"{own}:student", f"{own}:teacher")))
    assert "student" in line
    assert "choose another folder" in line


def test_takeovers_whose_machinery_broke_are_tried_again(capsys, tasks, tmp_path):
    quick = ", deadline = 0.3, breaker_failures = 3, breaker_pause = 0.1"
    with ChatServer(Messy(tasks)) as student:
        weak = endpoint(student, "weak")
        with ChatServer(Solving(tasks), faults={"server_error": 1.0}) as teacher:
            told = arguments(tasks, tmp_path, weak, endpoint(teacher, "strong")[:-1] + quick + "}")
            first = json.loads(typed(capsys, *told, "--detector", "last_step")[1])
            assert (first["kept"], first["errored"]) == (0, 6)
        with ChatServer(Solving(tasks)) as teacher:
            told = arguments(tasks, tmp_path, weak, endpoint(teacher, "strong"))
            second = json.loads(typed(capsys, *told, "--detector", "last_step")[1])
    assert (second["kept"], second["errored"]) == (6, 0)
    with RunStore.read(tmp_path) as store:
        assert len({key for key, _ in store.recoveries()}) == 6
        assert all(isinstance(each, Recovery) for _, each in store.recoveries())
