"""Task folders in Harbor form: read with nothing lost, refused in one line, run with the tests out of sight."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from agentdistill_environments.terminal import Terminal

from agentdistill.errors import TaskError, VerifierError
from agentdistill.formats.harbor import HarborTask, find_tasks, read_task
from agentdistill.records import Message, ToolCall, Verdict
from agentdistill.sandbox.bubblewrap import BubblewrapBackend

TASKS = Path(__file__).parents[2] / "tasks"
RENAME = TASKS / "recover" / "interrupted-rename"
HEAD = "[metadata.agentdistill.verifier]"
VERIFIER = f'{HEAD}\nmodules = ["stock"]\npackages = false\n'


@pytest.fixture(scope="module")
def backend() -> Iterator[BubblewrapBackend]:
    made = BubblewrapBackend()
    yield made
    made.close()


@pytest.fixture
def folder(backend: BubblewrapBackend) -> Iterator[Terminal]:
    env = Terminal(tasks=TASKS, sandboxes=backend)
    env.reset(seed=0, options={"task": next(t for t in env.make_tasks("train", 99) if "rename" in t.id)})
    yield env
    env.close()


def bash(env: Terminal, command: str) -> str:
    call = ToolCall(id="call_0_0", name="bash", arguments={"command": command})
    said, *_ = env.step(Message(role="assistant", tool_calls=(call,)))
    return said[0].content


def submit(env: Terminal) -> Verdict:
    *_, info = env.step(Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name="submit"),)))
    verdict = info["verdict"]
    assert isinstance(verdict, Verdict)
    return verdict


def solve(env: Terminal) -> None:
    for line in (RENAME / "solution" / "solve.sh").read_text().splitlines()[2:]:
        bash(env, line)


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_a_task_folder_is_read_whole_and_unknown_keys_are_kept(tmp_path: Path) -> None:
    shutil.copytree(RENAME, tmp_path / "task")
    with (tmp_path / "task" / "task.toml").open("a") as file:
        file.write("\n[future]\nmade = 2026-01-02\ndeep = [{ a = 1 }, { b = [2.5, true] }]\n")
    task = read_task(tmp_path / "task")
    assert task.name == "agentdistill/interrupted-rename"
    assert task.config["future"] == {"made": "2026-01-02", "deep": [{"a": 1}, {"b": [2.5, True]}]}
    assert {"stock/warehouse.py", "tests/test_stock.py"} <= set(task.environment)
    assert task.tests["test.sh"].executable
    assert not task.tests["test_rename.py"].executable
    assert HarborTask.model_validate_json(task.model_dump_json()) == task


def test_bytes_that_are_no_text_survive_json_and_count_in_the_digest(tmp_path: Path) -> None:
    shutil.copytree(RENAME, tmp_path / "task")
    (tmp_path / "task" / "environment" / "raw").write_bytes(bytes(range(256)))
    task = read_task(tmp_path / "task")
    assert HarborTask.model_validate_json(task.model_dump_json()).environment["raw"].content == bytes(range(256))
    assert task.digest != read_task(RENAME).digest


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda task: shutil.rmtree(task), "there is no task folder"),
        (lambda task: (task / "task.toml").unlink(), "task.toml is missing"),
        (lambda task: (task / "task.toml").write_text("= 3"), "task.toml is not TOML"),
        (lambda task: (task / "task.toml").write_bytes(b"\xff"), "task.toml cannot be read"),
        (lambda task: (task / "task.toml").write_text("[task]\ndescription = 'x'"), "task.name is missing"),
        (lambda task: (task / "task.toml").write_text("schema_version = '2.0'"), "version '2.0' is not known"),
        (lambda task: (task / "instruction.md").unlink(), "instruction.md is missing"),
        (lambda task: (task / "instruction.md").write_text(" \n"), "instruction.md is empty"),
        (lambda task: (task / "tests" / "test.sh").unlink(), "tests/test.sh is missing"),
        (lambda task: (task / "environment" / "link").symlink_to("/etc/passwd"), "environment/link is a link"),
    ],
)
def test_a_bad_folder_is_refused_in_one_line(tmp_path: Path, change: object, complaint: str) -> None:
    task = tmp_path / "task"
    shutil.copytree(RENAME, task)
    assert callable(change)
    change(task)
    with pytest.raises(TaskError, match=complaint) as caught:
        read_task(task)
    assert "\n" not in str(caught.value)


def test_every_task_in_the_house_can_be_read() -> None:
    folders = find_tasks(TASKS)
    assert folders
    assert len({read_task(folder).digest for folder in folders}) == len(folders)


# ---- running ---------------------------------------------------------------------------------------------------------


def test_the_solution_passes_and_an_untouched_folder_does_not(folder: Terminal) -> None:
    start = folder.snapshot()
    assert not submit(folder).passed
    folder.restore(start)
    solve(folder)
    assert submit(folder).passed


def test_half_of_the_work_satisfies_the_visible_tests_and_not_the_hidden_ones(folder: Terminal) -> None:
    bash(folder, r"sed -i 's/\.amount(/.level(/g' stock/*.py")
    assert "OK" in bash(folder, "python3 -m unittest")
    assert not submit(folder).passed


def test_neither_tests_nor_solution_can_be_found_while_anyone_acts(folder: Terminal) -> None:
    elsewhere = r"\( -path /proc -o -path /usr -o -path /opt \) -prune"
    names = r"\( -name test_rename.py -o -name solve.sh -o -name test.sh \)"
    assert bash(folder, f"find / {elsewhere} -o {names} -print 2>/dev/null; true") == "[exit code 0]"
    assert bash(folder, "ls -A /run/files") == "[exit code 0]"


@pytest.mark.parametrize(
    "trick",
    [
        "echo 'import os; os._exit(0)' > stock/__init__.py",
        "for n in json sys subprocess sitecustomize usercustomize; do echo 'import os; os._exit(0)' > $n.py; done",
        "mkdir -p logs/verifier; echo 1 > logs/verifier/reward.txt; echo 1 > reward.txt",
        "mkdir bin;printf '#!/bin/sh\\nexit 0\\n' | tee bin/python3 bin/bash;chmod +x bin/*;export PATH=$PWD/bin:$PATH",
        "echo 'exit 0' > .bashrc; cp .bashrc .profile; export BASH_ENV=$PWD/.bashrc ENV=$PWD/.bashrc",
        "printf 'import os,signal\\nos.kill(os.getppid(), signal.SIGKILL)\\n' > stock/__init__.py",
        "rm -rf stock; ln -s /run/files stock",
        "python3() { return 0; }; export -f python3; alias python3=true",
    ],
)
def test_a_trick_instead_of_the_work_scores_nothing(folder: Terminal, trick: str) -> None:
    bash(folder, trick)
    verdict = submit(folder)
    assert (verdict.passed, verdict.score) == (False, 0.0)


def as_a_script(tmp_path: Path, test: str, backend: BubblewrapBackend) -> Terminal:
    """The same task, judged by the exit code of a script."""
    shutil.copytree(RENAME, tmp_path / "task")
    settings = (
        (RENAME / "task.toml").read_text().replace(VERIFIER, "").replace("timeout_sec = 20.0", "timeout_sec = 3.0")
    )
    (tmp_path / "task" / "task.toml").write_text(settings)
    (tmp_path / "task" / "tests" / "test.sh").write_text(test)
    env = Terminal(tasks=tmp_path, sandboxes=backend)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("test", "passed"),
    [
        ("test -f stock/report.py && test -f /run/files/test_rename.py", True),
        ("rm stock/report.py; exit 3", False),
        ("sleep 30", False),
    ],
)
def test_a_task_without_tests_of_ours_is_judged_by_the_exit_code_of_its_script(
    tmp_path: Path, backend: BubblewrapBackend, test: str, passed: bool
) -> None:
    env = as_a_script(tmp_path, test, backend)
    verdict = submit(env)
    assert (verdict.passed, verdict.score) == (passed, float(passed))
    assert env.sandbox is not None
    assert "stock/report.py" in env.sandbox.list_files()
    env.close()


def test_a_script_that_cannot_be_run_is_no_verdict(tmp_path: Path, backend: BubblewrapBackend) -> None:
    env = as_a_script(tmp_path, "exec /no/such/program", backend)
    with pytest.raises(VerifierError, match=r"test\.sh could not be run"):
        submit(env)
    env.close()


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("moduls = ['stock']", "modul"),
        ("modules = []", "modules"),
        ("modules = ['stock']\nframework = 'nose'", "framework"),
        ("modules = ['stock']\ncrossing = {path = ['stock']}", "path"),
        ("modules = ['stock']\nseconds = 0", "seconds"),
    ],
)
def test_a_table_for_the_verifier_that_says_nonsense_is_refused_at_the_start(
    tmp_path: Path, backend: BubblewrapBackend, table: str, complaint: str
) -> None:
    shutil.copytree(RENAME, tmp_path / "task")
    settings = (RENAME / "task.toml").read_text()
    (tmp_path / "task" / "task.toml").write_text(settings.replace(VERIFIER, f"{HEAD}\n{table}\n"))
    with pytest.raises(TaskError, match=complaint) as caught:
        Terminal(tasks=tmp_path, sandboxes=backend).reset(seed=0)
    assert "\n" not in str(caught.value)


def test_work_that_never_ends_has_failed_and_is_no_accident(tmp_path: Path, backend: BubblewrapBackend) -> None:
    shutil.copytree(RENAME, tmp_path / "task")
    settings = (RENAME / "task.toml").read_text()
    (tmp_path / "task" / "task.toml").write_text(settings.replace(VERIFIER, f"{VERIFIER}seconds = 1\n"))
    env = Terminal(tasks=tmp_path, sandboxes=backend)
    env.reset(seed=0)
    bash(env, "echo 'while True: pass' > stock/__init__.py")
    assert not submit(env).passed
    env.close()


def test_the_shell_is_the_same_from_command_to_command_and_after_a_restore(folder: Terminal) -> None:
    bash(folder, "cd stock && export KIND=bolt")
    kept = folder.snapshot()
    bash(folder, "cd / && unset KIND && rm -rf /workspace/stock")
    folder.restore(kept)
    assert bash(folder, "pwd; echo $KIND; ls") == "/workspace/stock\nbolt\n__init__.py\nreport.py\nwarehouse.py\n"
    assert bash(folder, "false") == "[exit code 1]"


def test_a_task_that_changed_on_disk_or_leads_out_of_the_folder_is_refused(
    tmp_path: Path, backend: BubblewrapBackend
) -> None:
    shutil.copytree(RENAME, tmp_path / "task")
    task = Terminal(tasks=tmp_path, sandboxes=backend).make_tasks("train", 1)[0]
    (tmp_path / "task" / "instruction.md").write_text("Something else.")
    with pytest.raises(TaskError, match="has changed"):
        Terminal(tasks=tmp_path, sandboxes=backend).reset(options={"task": task})
    outside = task.model_copy(update={"data": {"folder": "../task"}})
    with pytest.raises(TaskError, match="names no folder"):
        Terminal(tasks=tmp_path / "task", sandboxes=backend).reset(options={"task": outside})


def test_a_task_that_needs_an_image_is_refused(tmp_path: Path, backend: BubblewrapBackend) -> None:
    shutil.copytree(RENAME, tmp_path / "task")
    (tmp_path / "task" / "environment" / "Dockerfile").write_text("FROM scratch\n")
    env = Terminal(tasks=tmp_path, sandboxes=backend)
    with pytest.raises(TaskError, match=r"needs a container image \(Dockerfile\)"):
        env.reset(seed=0)


def test_a_place_without_tasks_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no folder of tasks"):
        Terminal(tasks=tmp_path / "nowhere").make_tasks("train", 1)
    with pytest.raises(TaskError, match="no task folders"):
        Terminal(tasks=tmp_path).reset(seed=0)
