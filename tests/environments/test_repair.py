"""Repair: what its tools say, and that its teacher gets out of anything that truth calls winnable."""

from __future__ import annotations

import random
import warnings

import gymnasium
import pytest
from agentdistill_environments.repair import Repair
from agentdistill_environments.repair.edits import edits
from agentdistill_environments.repair.tasks import make_tasks
from gymnasium.utils.env_checker import check_env
from repairs import act, finish, fix, package, say, task_with, write

from agentdistill.errors import TaskError, UsageError
from agentdistill.records import Message, Task
from agentdistill.sandbox import SandboxBackend


def test_a_task_of_another_environment_and_a_gap_out_of_range_are_refused(repair: Repair) -> None:
    with pytest.raises(TaskError, match="not a repair task"):
        repair.reset(options={"task": Task(id="x", environment="other", instruction="?")})
    with pytest.raises(UsageError, match="between 0 and 1"):
        Repair(gap=1.5)
    with pytest.raises(UsageError, match="no split"):
        make_tasks("test", 1)


def test_gymnasium_has_nothing_to_complain_about() -> None:
    environment = gymnasium.make("agentdistill/Repair-v0", gap=0.3).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(environment, skip_render_check=True)
    environment.close()


def test_the_tools_say_in_one_line_why_they_did_not_work(repair: Repair) -> None:
    task = task_with("elsewhere")
    made = package(task)
    repair.step_limit = 30
    repair.reset(options={"task": task})
    assert say(repair, "edit", line=1, old="a", new="b") == "error: no file is open"
    assert say(repair, "open", path=f"src/{made.module}.py") == f"error: no such file: src/{made.module}.py"
    assert say(repair, "open", path="src") == "error: cannot read src"
    assert say(repair, "open", path="../../etc/passwd").startswith("error: ")
    assert say(repair, "open", path="\0").startswith("error: no such file")
    assert say(repair, "search", text="nowhere to be found") == "no match"
    assert say(repair, "search", text=made.function).startswith(f"{made.path}: def {made.function}(")
    assert made.path in say(repair, "list").splitlines()
    assert say(repair, "delete", path="src/none.py") == "error: no such file: src/none.py"


def test_an_edit_is_refused_unless_its_text_occurs_once_in_its_line(repair: Repair) -> None:
    task = task_with("elsewhere")
    made = package(task)
    text = made.files[made.path]
    lines = text.split("\n")
    repair.step_limit = 30
    repair.reset(options={"task": task})
    shown = say(repair, "open", path=made.path)
    assert shown.splitlines() == [f"{number} {line}" for number, line in enumerate(text.splitlines(), 1)]
    empty = lines.index("") + 1
    twice = next(letter for letter in lines[0] if lines[0].count(letter) == 2)
    for line, old, new, error in (
        (0, "def", "", "there is no line 0"),
        (len(lines) + 1, "", "x", f"there is no line {len(lines) + 1}"),
        (1, "nowhere", "", f"text not found in line 1\n1 {lines[0]}"),
        (2, "def ", "", f"text not found in line 2\n2 {lines[1]}"),
        (1, twice, "", f"text occurs 2 times in line 1\n1 {lines[0]}"),
        (1, "", "x", "line 1 is not empty: say which text to replace"),
        (empty, "x", "", f"text not found in line {empty}\n{empty} "),
        (1, "def", "\ndef", "a line cannot be split"),
        (1, f"{lines[0]}\n", "", f"text not found in line 1\n1 {lines[0]}"),
        (1, "def", "x" * 3000, "line 1 would be too long"),
        (1, "def", "\ud800", "not valid Unicode"),
    ):
        assert say(repair, "edit", line=line, old=old, new=new) == f"error: {error}"
    assert say(repair, "open", path=made.path) == shown
    assert say(repair, "edit", line=empty, old="", new="--- # é") == f"{empty} --- # é"
    error = f"error: text occurs 2 times in line {empty}\n{empty} --- # é"
    assert say(repair, "edit", line=empty, old="--", new="") == error
    assert f"{empty} --- # é" in say(repair, "open", path=made.path).splitlines()


def test_undo_takes_edits_back_one_by_one_as_long_as_nothing_else_changed_the_line(repair: Repair) -> None:
    task = task_with("conventional")
    made = package(task)
    lines = made.files[made.path].split("\n")
    repair.step_limit = 30
    repair.reset(options={"task": task})
    assert say(repair, "undo") == "error: no file is open"
    shown = say(repair, "open", path=made.path)
    assert say(repair, "undo") == "error: nothing was edited since the file was opened"
    say(repair, "edit", line=1, old=lines[0], new="first")
    say(repair, "edit", line=1, old="first", new="second")
    assert say(repair, "undo") == "1 first"
    assert say(repair, "undo") == f"1 {lines[0]}"
    assert say(repair, "undo") == "error: nothing was edited since the file was opened"
    say(repair, "edit", line=1, old=lines[0], new="third")
    write(repair, made.path, "\n".join(["other", *lines[1:]]))
    assert say(repair, "undo") == "error: line 1 was changed by something else"
    write(repair, made.path, made.files[made.path])
    assert say(repair, "open", path=made.path) == shown
    assert say(repair, "undo") == "error: nothing was edited since the file was opened"


def test_the_teacher_takes_a_wrong_edit_back_while_there_is_time(repair: Repair) -> None:
    task = task_with("conventional")
    made = package(task)
    right = edits(made.files[made.path], made.solution[made.path])[0]
    for limit, first in ((12, "undo"), (4, "edit")):  # open, the wrong edit, and then two steps are needed
        repair.step_limit = limit
        opening, _ = repair.reset(options={"task": task})
        opened, *_ = repair.step(open_it := act("open", path=made.path))
        edited, *_ = repair.step(wrong := act("edit", line=right.line, old=right.old, new="wrong"))
        conversation = (*opening, open_it, *opened, wrong, *edited)
        assert repair.teach(conversation, "knowing").tool_calls[0].name == first
        messages, won = finish(repair, conversation)
        assert won, messages


def test_the_visible_tests_say_what_the_issue_says_and_pass_once_it_is_fixed(repair: Repair) -> None:
    task = task_with("conventional")
    repair.reset(options={"task": task})
    first = say(repair, "test").splitlines()
    assert first[0].endswith("failed")
    said = task.instruction.rsplit('": ', 1)[1].rstrip(".")
    assert first[1] == said
    repair.reset(options={"task": task})
    fix(repair)
    assert say(repair, "test").endswith(" passed")


@pytest.mark.parametrize(
    ("inside", "line"),
    [
        ("while True: pass", " took too long"),
        ("raise SystemExit", " raised SystemExit"),
        ("return undefined", " raised NameError"),
        ("print('x' * 10_000_000)", " gave "),
        ("return )", "SyntaxError in src/"),
        ("__import__('os')._exit(0)", "error: the tests stopped without a result"),
        ("__import__('time').sleep(60)", "error: the tests took longer than 5 s"),
    ],
)
def test_running_the_tests_survives_what_the_code_under_test_does(repair: Repair, inside: str, line: str) -> None:
    task = task_with("conventional")
    made = package(task)
    repair.reset(options={"task": task})
    head = next(text for text in made.files[made.path].splitlines() if text.startswith(f"def {made.function}("))
    write(repair, made.path, made.files[made.path].replace(head, f"{head}\n    {inside}"))
    observations, _, _, _, info = repair.step(act("test"))
    assert line in observations[0].content
    assert len(observations[0].content.splitlines()) <= 2
    assert info["signals"]["tests_failed"] >= 1
    assert info["outcomes"][0].status == ("timeout" if "longer" in line else "failed" if "error" in line else "ok")


def test_a_module_that_is_gone_is_told_by_the_tests(repair: Repair) -> None:
    task = task_with("conventional")
    repair.reset(options={"task": task})
    say(repair, "delete", path=package(task).path)
    assert "ModuleNotFoundError in tests/" in say(repair, "test")
    assert repair.truth().cost is None


# ---- teacher and truth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["knowing", "exploring"])
@pytest.mark.parametrize("gap", [0.0, 0.5, 1.0])
def test_the_teacher_solves_every_task_and_never_sees_a_failure_on_the_way(
    backend: SandboxBackend, style: str, gap: float
) -> None:
    repair = Repair(gap=gap, sandboxes=backend)
    for task in repair.make_tasks("heldout", 6) + repair.make_tasks("train", 6):
        opening, _ = repair.reset(options={"task": task})
        messages, won = finish(repair, opening, style)
        assert won, task.id
        assert not any(message.content.startswith("error") or "failed" in message.content for message in messages)
        names = [call.name for message in messages for call in message.tool_calls]
        assert names[0] == ("search" if style == "exploring" else "open")
        assert names[-2:] == ["test", "submit"]
    repair.close()


def wander(repair: Repair, rng: random.Random, steps: int) -> tuple[Message, ...]:
    """Random calls of a student that hardly knows what it does; its conversation."""
    messages: tuple[Message, ...] = ()
    made = repair.package
    files = [*made.files, f"src/{made.module}.py"]
    for _ in range(steps):
        lines = made.files.get(repair.state.open, "x").split("\n")
        number = rng.randint(1, len(lines) + 1)
        whole = lines[min(number, len(lines)) - 1]
        at = rng.randrange(len(whole) + 1)
        old = whole[at : at + rng.randint(1, 30)]
        new = rng.choice(["", "\n", " ", "x", whole, old + old, "price", "é\r", old[::-1]])
        turn = rng.choice(
            [
                *[act("open", path=made.path)] * 3,
                act("open", path=rng.choice(files)),
                *[act("edit", line=number, old=old, new=new)] * 5,
                *[act("edit", line=number, old=whole, new=new)] * 2,
                act("search", text=rng.choice(["return", made.function])),
                act("list"),
                *([act("delete", path=rng.choice(files))] if rng.random() < 0.2 else []),
            ]
        )
        observations, *_ = repair.step(turn)
        messages = (*messages, turn, *observations)
    return messages


@pytest.mark.parametrize("seed", range(40))
def test_the_teacher_wins_from_any_state_that_truth_calls_winnable(repair: Repair, seed: int) -> None:
    rng = random.Random(seed)
    task = make_tasks("train", 1, seed=seed, gap=1.0)[0]
    opening, _ = repair.reset(options={"task": task})
    messages = (*opening, *wander(repair, rng, rng.randint(1, 10)))
    truth = repair.truth()
    _, won = finish(repair, messages, rng.choice(["knowing", "exploring"]))
    assert won or not truth.winnable(repair.step_limit - (len(messages) - 1) // 2)
    assert not (won and truth.cost is None)


def test_the_teacher_puts_every_garbled_line_right(repair: Repair) -> None:
    task = task_with("conventional")
    made = package(task)
    repair.step_limit = 100
    opening, _ = repair.reset(options={"task": task})
    garbles = (
        "",
        " ",
        "x",
        "x x x",
        "price = price - price",
        "é\r",
        "\t\tdef",
        "return\u2028",
        "x" * 2000,
        made.files[made.path].split("\n")[0],
    )
    other = next(path for path in made.solution if path != made.path)
    wrong, steps = 0, 0
    for path in (other, made.path):
        say(repair, "open", path=path)
        lines = made.files[path].split("\n")
        for number, line in enumerate(lines, 1):
            garbled = garbles[number % len(garbles)]
            assert say(repair, "edit", line=number, old=line, new=garbled).startswith(f"{number} ")
            wrong += garbled != made.solution[path].split("\n")[number - 1]
        steps += 1 + len(lines)
    assert repair.truth().cost == wrong + 2
    repair.step_limit = steps + wrong + 2
    messages, won = finish(repair, opening)
    assert won
    calls = [call.name for message in messages for call in message.tool_calls]
    assert calls.count("edit") + calls.count("undo") == wrong


def test_only_code_run_in_the_sandbox_can_make_a_file_with_other_lines_and_it_is_lost(repair: Repair) -> None:
    task = task_with("conventional")
    made = package(task)
    text, (_, other, *_) = made.files[made.path], made.solution
    right = made.solution[other]
    for path, content, lost in (
        (made.path, text + "\n", True),
        (made.path, text.removesuffix("\n"), True),
        (other, f"import os\n{right}", True),
        (other, "", True),
        (other, "x" * 30_000 + "\n" * right.count("\n"), False),
        (other, right.replace("\n", "\r\n"), False),
    ):
        repair.step_limit = 60
        opening, _ = repair.reset(options={"task": task})
        write(repair, path, content)
        assert (repair.truth().cost is None) == lost
        _, won = finish(repair, opening)
        assert won != lost


def test_a_leftover_that_is_no_longer_text_must_still_be_deleted(repair: Repair) -> None:
    task = task_with("leftover")
    opening, _ = repair.reset(options={"task": task})
    before = repair.truth()
    assert repair.sandbox is not None
    repair.sandbox.write_file(package(task).leftover, b"\xff")
    assert repair.truth() == before
    assert finish(repair, opening)[1]


def test_truth_is_what_is_left_to_do_and_falls_by_one_with_every_needed_step(repair: Repair) -> None:
    task = task_with("leftover")
    made = package(task)
    repair.step_limit = 20
    repair.reset(options={"task": task})
    todo = edits(made.files[made.path], made.solution[made.path])
    assert repair.truth().cost == 3 + len(todo)
    say(repair, "list")
    assert repair.truth().cost == 3 + len(todo)
    say(repair, "open", path=made.path)
    for left, edit in zip(range(len(todo), 0, -1), todo, strict=True):
        assert repair.truth().cost == 2 + left
        say(repair, "edit", **edit._asdict())
    assert repair.truth().cost == 2
    say(repair, "delete", path=made.leftover)
    assert repair.truth().cost == 1
    snapshot = repair.snapshot()
    other = next(path for path in made.solution if path != made.path)
    say(repair, "delete", path=other)
    assert repair.truth().cost is None
    repair.restore(snapshot)
    say(repair, "open", path=other)
    say(repair, "edit", line=1, old="def ", new="def  ")
    assert repair.truth().cost == 2
    say(repair, "edit", line=2, old=made.files[other].split("\n")[1], new="broken")
    assert repair.truth().cost == 3
    say(repair, "submit")
    assert repair.truth().cost is None


def test_after_a_path_that_was_not_there_the_knowing_teacher_shows_how_to_find_it(repair: Repair) -> None:
    task = task_with("elsewhere")
    made = package(task)
    opening, _ = repair.reset(options={"task": task})
    turn = act("open", path=f"src/{made.module}.py")
    observations, *_ = repair.step(turn)
    messages, won = finish(repair, (*opening, turn, *observations))
    assert won
    calls = [call for message in messages for call in message.tool_calls]
    assert [call.name for call in calls[1:3]] == ["search", "open"]
    assert calls[2].arguments == {"path": made.path}


def test_with_little_budget_the_teacher_skips_what_is_not_needed(repair: Repair) -> None:
    task = task_with("two bugs")
    repair.reset(options={"task": task})
    needed = repair.truth().cost
    assert needed is not None
    for limit in (needed, needed + 1, needed + 2, needed + 3):
        repair.step_limit = limit
        opening, _ = repair.reset(options={"task": task})
        messages, won = finish(repair, opening, "exploring")
        assert won
        assert sum(message.role == "assistant" for message in messages) == min(limit, needed + 2)
    repair.step_limit = needed - 1
    opening, _ = repair.reset(options={"task": task})
    assert not finish(repair, opening)[1]
