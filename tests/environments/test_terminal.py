"""Harbor tasks in the terminal: its tools, and the judgement by hidden tests, which nobody who acts can find."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from agentdistill_environments.terminal import Terminal
from agentdistill_environments.terminal.output import counted_tests
from agentdistill_environments.terminal.teacher import next_turn
from pydantic import JsonValue
from terminals import HEAD, RENAME, TASKS, VERIFIER, bash, submit, use

from agentdistill.errors import TaskError
from agentdistill.formats.harbor import HarborFile
from agentdistill.records import Message, ToolCall
from agentdistill.sandbox.bubblewrap import BubblewrapBackend


@pytest.fixture
def terminal(backend: BubblewrapBackend) -> Iterator[Terminal]:
    env = Terminal(tasks=TASKS, sandboxes=backend)
    env.reset(seed=0, options={"task": next(t for t in env.make_tasks("train", 99) if "rename" in t.id)})
    yield env
    env.close()


def solve(env: Terminal) -> None:
    for line in (RENAME / "solution" / "solve.sh").read_text().splitlines()[2:]:
        bash(env, line)


# ---- running ---------------------------------------------------------------------------------------------------------


def test_the_solution_passes_and_an_untouched_folder_does_not(terminal: Terminal) -> None:
    start = terminal.snapshot()
    assert not submit(terminal).passed
    terminal.restore(start)
    solve(terminal)
    assert submit(terminal).passed


def test_half_of_the_work_satisfies_the_visible_tests_and_not_the_hidden_ones(terminal: Terminal) -> None:
    bash(terminal, r"sed -i 's/\.amount(/.level(/g' stock/*.py")
    assert "OK" in bash(terminal, "python3 -m unittest")
    assert not submit(terminal).passed


def test_neither_tests_nor_solution_can_be_found_while_anyone_acts(terminal: Terminal) -> None:
    elsewhere = r"\( -path /proc -o -path /usr -o -path /opt \) -prune"
    names = r"\( -name test_rename.py -o -name solve.sh -o -name test.sh \)"
    assert bash(terminal, f"find / {elsewhere} -o {names} -print 2>/dev/null; true") == "[exit code 0]"
    assert bash(terminal, "ls -A /run/files") == "[exit code 0]"


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
def test_a_trick_instead_of_the_work_scores_nothing(terminal: Terminal, trick: str) -> None:
    bash(terminal, trick)
    verdict = submit(terminal)
    assert (verdict.passed, verdict.score) == (False, 0.0)


# ---- the tools -------------------------------------------------------------------------------------------------------


def test_the_editor_shows_replaces_inserts_and_creates(terminal: Terminal) -> None:
    assert use(terminal, "create", path="new/a.txt", content="one\ntwo\nthree") == "wrote 3 lines to new/a.txt"
    assert use(terminal, "edit", path="new/a.txt", old="two", new="2") == "replaced at line 2 of new/a.txt"
    assert use(terminal, "insert", path="new/a.txt", line=3, text="four") == "inserted after line 3 of new/a.txt"
    assert use(terminal, "insert", path="/workspace/new/a.txt", line=0, text="zero\n").startswith(
        "inserted after line 0"
    )
    assert use(terminal, "view", path="new/a.txt") == "1\tzero\n2\tone\n3\t2\n4\tthree\n5\tfour\n"
    assert use(terminal, "view", path="new/a.txt", first=2, last=3) == "2\tone\n3\t2\n"
    assert use(terminal, "view", path="new") == "new/a.txt\n"
    assert bash(terminal, "cd stock; cat ../new/a.txt") == "zero\none\n2\nthree\nfour\n"
    assert use(terminal, "view", path="new/a.txt", first=5).startswith("5\t")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            {"name": "edit", "path": "stock/report.py", "old": "amount", "new": ""},
            "2 times in stock/report.py, at lines 8, 14",
        ),
        (
            {"name": "edit", "path": "stock/report.py", "old": "def sumary(warehouse: Warehouse) -> str:", "new": ""},
            "nearest line is 6",
        ),
        (
            {
                "name": "edit",
                "path": "stock/report.py",
                "old": "  def summary(warehouse: Warehouse) -> str:",
                "new": "",
            },
            "white space, at line 6",
        ),
        ({"name": "edit", "path": "stock/report.py", "old": "", "new": "x"}, "old is empty"),
        ({"name": "view", "path": "stock/none.py"}, "no such file"),
        ({"name": "view", "path": "/etc/passwd"}, "bash reaches others"),
        ({"name": "view", "path": "../x"}, "'..' is not allowed"),
        ({"name": "view", "path": "stock/report.py", "first": 99}, "has 15 lines"),
        ({"name": "insert", "path": "stock/report.py", "line": 99, "text": "x"}, "has 15 lines"),
        ({"name": "create", "path": "/etc/x", "content": ""}, "cannot be written"),
        ({"name": "create", "path": "stock", "content": ""}, "cannot be written"),
    ],
)
def test_a_call_that_does_not_fit_says_what_would(terminal: Terminal, call: dict[str, JsonValue], told: str) -> None:
    arguments = {key: value for key, value in call.items() if key != "name"}
    said = use(terminal, str(call["name"]), **arguments)
    assert said.startswith("error: ")
    assert told in said


def test_long_output_is_cut_head_and_tail_and_says_how_much(backend: BubblewrapBackend) -> None:
    env = Terminal(tasks=TASKS, sandboxes=backend, most_lines=20, most_characters=200)
    env.reset(seed=0)
    said = bash(env, "seq 1 100")
    assert said.startswith("1\n2\n")
    assert "[... 80 lines, " in said
    assert said.endswith("\n99\n100\n")
    said = bash(env, "printf %1000s | tr ' ' x")
    assert "[... 800 characters left out ...]" in said
    env.close()


def test_visible_tests_leave_their_counts_for_detectors(terminal: Terminal) -> None:
    command = {"command": "python3 -m unittest 2>&1"}
    *_, info = terminal.step(Message(role="assistant", tool_calls=(ToolCall(id="a", name="bash", arguments=command),)))
    assert info["signals"] == {"exit_code": 1, "tests_passed": 2, "tests_failed": 2}


def test_summaries_of_unittest_and_pytest_are_read() -> None:
    assert counted_tests("Ran 5 tests in 0.1s\n\nFAILED (failures=1, errors=1, skipped=1)\n") == {
        "tests_passed": 2,
        "tests_failed": 2,
    }
    assert counted_tests("Ran 5 tests in 0.1s\n\nOK\n") == {"tests_passed": 5, "tests_failed": 0}
    assert counted_tests("..F\n==== 1 failed, 2 passed, 1 skipped in 0.12s ====\n") == {
        "tests_passed": 2,
        "tests_failed": 1,
    }
    assert counted_tests("3 passed in 0.1s\n") == {"tests_passed": 3, "tests_failed": 0}
    assert counted_tests("nothing of the kind") == {}


def test_the_knowing_teacher_gives_the_solution_line_by_line(terminal: Terminal) -> None:
    said: list[Message] = []
    while not terminal.over:
        said.append(terminal.teach(tuple(said), "knowing"))
        *_, info = terminal.step(said[-1])
    assert info["verdict"].passed


@pytest.mark.parametrize(
    ("script", "commands"),
    [
        ("#!/bin/bash\nset -e\ncd a\nsed -i 's/x/y/' b\n", ["cd a", "sed -i 's/x/y/' b"]),
        ("export A=1\nA=2 make\n", ["export A=1", "A=2 make"]),
        ("cat > a <<'E'\nx\nE\n", []),
        ("for each in a b; do\n  touch $each\ndone\n", []),
        ("if true; then\n  touch a\nfi\n", []),
        ("mend() {\n  touch a\n}\nmend\n", []),
        ("name=a\ntouch $name\n", []),
        ("echo 'one\ntwo' > a\n", []),
        ("true &&\ntouch a\n", []),
        ("touch a \\\n  b\n", []),
        ("\n", None),
    ],
)
def test_the_knowing_teacher_takes_apart_only_what_works_line_by_line(script: str, commands: list[str] | None) -> None:
    solution = {"solve.sh": HarborFile(content=script.encode())}
    said: list[Message] = []
    while not said or said[-1].tool_calls[0].name != "submit":
        said.append(next_turn(said, [solution]))
    told = [message.tool_calls[0].arguments["command"] for message in said[:-1]]
    assert told == ([] if commands is None else commands or [script])


def test_lines_are_counted_as_other_tools_count_them(terminal: Terminal) -> None:
    odd = "one\x0cstill one\u2028and still\ntwo\rstill two\r\nthree"
    use(terminal, "create", path="odd", content=odd)
    assert use(terminal, "view", path="odd", first=2, last=2) == "2\ttwo\rstill two\r\n"
    assert use(terminal, "edit", path="odd", old="three", new="3") == "replaced at line 3 of odd"
    use(terminal, "insert", path="odd", line=1, text="between")
    assert terminal.sandbox is not None
    said = "one\x0cstill one\u2028and still\nbetween\ntwo\rstill two\r\n3"
    assert terminal.sandbox.read_file("odd").decode() == said


def test_a_complaint_does_not_quote_a_line_of_any_length(terminal: Terminal) -> None:
    use(terminal, "create", path="long", content=f"{'x' * 100_000}\nshort")
    said = use(terminal, "edit", path="long", old=f"{'x' * 100_000}\nother", new="")
    assert "at line 1" in said
    assert len(said) < 1000


def test_folders_that_come_to_the_same_task_are_refused(tmp_path: Path) -> None:
    for name in ("a/b", "a-b"):
        shutil.copytree(RENAME, tmp_path / name)
    with pytest.raises(TaskError, match="would both be task 'terminal-a-b'"):
        Terminal(tasks=tmp_path).make_tasks("train", 2)


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


def test_the_shell_is_the_same_from_command_to_command_and_after_a_restore(terminal: Terminal) -> None:
    bash(terminal, "cd stock && export KIND=bolt")
    kept = terminal.snapshot()
    bash(terminal, "cd / && unset KIND && rm -rf /workspace/stock")
    terminal.restore(kept)
    assert bash(terminal, "pwd; echo $KIND; ls") == "/workspace/stock\nbolt\n__init__.py\nreport.py\nwarehouse.py\n"
    assert bash(terminal, "false") == "[exit code 1]"


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


def test_a_place_without_tasks_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="there is no folder of tasks"):
        Terminal(tasks=tmp_path / "nowhere").make_tasks("train", 1)
    with pytest.raises(TaskError, match="no task folders"):
        Terminal(tasks=tmp_path).reset(seed=0)
