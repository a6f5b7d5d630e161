"""``task new`` writes a task that is fit, and ``task check`` finds each way in which a task can be unfit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agentdistill_environments.terminal import Terminal

from agentdistill.cli.main import main
from agentdistill.errors import UsageError
from agentdistill.formats.harbor import find_tasks, read_task
from agentdistill.formats.harbor.template import new_task
from agentdistill.records import Task
from agentdistill.sandbox.bubblewrap import BubblewrapBackend
from agentdistill.testing.cheats import CHEATS
from agentdistill.testing.tasks import TaskCheck, check_task

TASKS = Path(__file__).parents[1] / "tasks"
PAGES = "environment/listing/pages.py"
MESS = "messes/one-more-everywhere"


@pytest.fixture(scope="module")
def backend() -> Iterator[BubblewrapBackend]:
    made = BubblewrapBackend()
    yield made
    made.close()


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return new_task("lost-page", tmp_path)


def found(task: Path, backend: BubblewrapBackend, only: str, make: type[Terminal] = Terminal) -> TaskCheck:
    """What the one check with `only` in its name finds."""
    starts, check = check_task(make, task, backend, [only])
    assert starts.status == "passed"
    return check


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def more(task: Path, action: str) -> None:
    """Add to what was done in the mess."""
    with (task / MESS / "mess.toml").open("a") as file:
        file.write(f"\n[[actions]]\n{action}\n")


# ---- beginning a task ------------------------------------------------------------------------------------------------


def test_a_new_task_has_every_piece(task: Path) -> None:
    read = read_task(task)
    assert read.name == "mine/lost-page"
    assert read.solution["solve.sh"].executable
    assert (len(read.messes), len(read.wrong)) == (1, 1)


@pytest.mark.slow
def test_a_new_task_is_fit(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["task", "check", str(task), "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert {each["status"] for each in checks} == {"passed"}
    assert len(checks) == 9


@pytest.mark.parametrize("name", ["Two Words", "../up", "", "a/b", "-x"])
def test_a_name_that_cannot_be_a_tasks_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a task"):
        new_task(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_task_that_is_there_is_not_written_over(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(task / "instruction.md", "Mine.")
    with pytest.raises(SystemExit) as ended:
        main(["task", "new", "lost-page", "--tasks", str(task.parent)])
    assert ended.value.code == 2
    assert "is there already" in capsys.readouterr().err
    assert (task / "instruction.md").read_text() == "Mine."


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("task", "new", "mine", "--tasks", "{file}"), "cannot be written: Not a directory"),
        (("task", "check", "{tasks}", "--environment", "depot"), "do not fit depot"),
    ],
)
def test_a_command_that_cannot_be_done_is_one_line(
    task: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, ...], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([each.format(file=task / "task.toml", tasks=task.parent) for each in given])
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert told in said.err


# ---- what is found ---------------------------------------------------------------------------------------------------

SOLVED = "-(-total // size)"
PINNED = f'"hand"\nworld = "{"0" * 64}"'
UNFIT: list[tuple[str, str, Callable[[Path], object]]] = [
    ("solution", "the solution scores 0", lambda at: put(at / "solution/solve.sh", "true")),
    ("solution", "ended with 3: no luck", lambda at: put(at / "solution/solve.sh", "echo no luck; exit 3")),
    ("nothing done", "doing nothing scores 1", lambda at: change(at / PAGES, "total // size", SOLVED)),
    ("wrong", "wrong/one-more.sh scores 1", lambda at: shutil.copy(at / "solution/solve.sh", at / "wrong/one-more.sh")),
    ("wrong", "wrong/one-more.sh changes nothing", lambda at: put(at / "wrong/one-more.sh", "true")),
    ("wrong", "wrong/one-more.sh ended with 2", lambda at: put(at / "wrong/one-more.sh", "sed -i s/a/b/ gone.py")),
    ("cheat", "(cheats/own.sh) scores 1", lambda at: shutil.copytree(at / "solution", at / "cheats").rename(at / "x")),
    ("as it is", "as it is scores 1", lambda at: change(at / MESS / "mess.toml", "total // size + 1|'", f"{SOLVED}|'")),
    ("recovered", "recover.sh scores 0", lambda at: put(at / MESS / "recover.sh", "true")),
    ("recovered", "actions[2].tool: there is no tool 'run'", lambda at: more(at, 'tool = "run"')),
    ("recovered", "actions[2] ends the task", lambda at: more(at, 'tool = "submit"\n[[actions]]\ntool = "bash"')),
    ("recovered", "world: its actions lead to", lambda at: change(at / MESS / "mess.toml", '"hand"', PINNED)),
]  # fmt: skip


@pytest.mark.parametrize(("only", "told", "spoil"), UNFIT, ids=[told for _, told, _ in UNFIT])
def test_what_makes_a_task_unfit_is_found(
    task: Path, backend: BubblewrapBackend, only: str, told: str, spoil: Callable[[Path], object]
) -> None:
    spoil(task)
    if (task / "x").exists():
        put(task / "cheats" / "own.sh", (task / "solution" / "solve.sh").read_text())
    check = found(task, backend, only)
    assert check.status == "failed"
    assert told in check.detail


def test_what_a_script_says_commands_no_terminal(task: Path, backend: BubblewrapBackend) -> None:
    put(task / "solution" / "solve.sh", "printf '\\033[2J\\033]0;mine\\007no luck'; exit 3")
    detail = found(task, backend, "solution").detail
    assert detail.endswith("[2J ]0;mine no luck")
    assert detail.isprintable()


def test_tests_that_judge_by_luck_are_found(task: Path, backend: BubblewrapBackend) -> None:
    lucky = "import time\nimport unittest\n\n\nclass T(unittest.TestCase):\n    def test(self):\n"
    put(task / "tests" / "test_hidden_pages.py", f"{lucky}        self.assertLess(time.time() % 1, 0.5)\n")
    details = [found(task, backend, "repeats") for _ in range(6)]
    assert any(each.status == "failed" and "scores" in each.detail for each in details)


class Leaking(Terminal):
    """Leaves what is hidden where the agent can find it."""

    where = "notes.txt"
    part = "tests"

    def setup(self, task: Task) -> None:
        super().setup(task)
        assert self.sandbox is not None
        file = next(iter(sorted(getattr(self.harbor, self.part).items())))[1]
        self.sandbox.write_file(self.where, b"# once upon a time\n" + file.content)


@pytest.mark.parametrize(
    ("where", "part", "told"),
    [
        ("notes.txt", "tests", "notes.txt holds"),
        ("deep/.cache/x.bin", "solution", "x.bin holds"),
        ("solve.sh", "environment", "solve.sh has the name of a hidden file"),
    ],
)
def test_what_is_hidden_is_found_under_any_name_and_by_its_name(
    task: Path, backend: BubblewrapBackend, where: str, part: str, told: str
) -> None:
    leaking = type("LeakingHere", (Leaking,), {"where": where, "part": part})
    check = found(task, backend, "hidden", leaking)
    assert check.status == "failed"
    assert told in check.detail
    assert found(task, backend, "hidden").status == "passed"


def test_what_a_task_does_not_come_with_is_not_counted_against_it(task: Path, backend: BubblewrapBackend) -> None:
    for part in ("messes", "wrong", "solution"):
        shutil.rmtree(task / part)
    checks = {check.name: check.status for check in check_task(Terminal, task, backend, ["mess", "wrong", "solution"])}
    assert set(checks.values()) == {"passed", "not_applicable"}
    assert checks["the solution scores 1"] == "not_applicable"


def test_a_task_that_cannot_be_run_here_is_told_and_nothing_else_is_tried(
    task: Path, backend: BubblewrapBackend
) -> None:
    put(task / "environment" / "docker-compose.yaml", "services: {}\n")
    (check,) = check_task(Terminal, task, backend)
    assert (check.name, check.status) == ("it can be run here", "failed")


def test_every_general_cheat_says_what_it_does() -> None:
    assert len(CHEATS) >= 10
    assert all(script.strip() for script in CHEATS.values())


def test_an_empty_folder_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["task", "check", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_unfit_task_ends_the_command_with_1(task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(task / "solution" / "solve.sh", "true")
    with pytest.raises(SystemExit) as ended:
        main(["task", "check", str(task), "--only", "solution"])
    assert ended.value.code == 1
    assert "not fit: 1" in capsys.readouterr().out


# ---- the tasks in the house ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("folder", find_tasks(TASKS), ids=lambda folder: folder.name)
def test_every_task_in_the_house_is_fit(folder: Path, backend: BubblewrapBackend) -> None:
    assert not [check for check in check_task(Terminal, folder, backend) if check.status == "failed"]


def test_the_steps_of_a_mess_are_not_those_of_whoever_climbs_out(task: Path, backend: BubblewrapBackend) -> None:
    class Short(Terminal):
        """Gives as many steps as the mess takes."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(step_limit=2, **settings)

    check = found(task, backend, "recovered", Short)
    assert check.status == "passed", check.detail
