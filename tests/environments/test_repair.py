"""Repair: what its tasks promise, that its teacher gets out of anything, and that nobody wins by cheating."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterator

import gymnasium
import pytest
from agentdistill_environments.repair import Repair
from agentdistill_environments.repair.bugs import FAMILIES, FAMILY_NAMES, VARIABLE
from agentdistill_environments.repair.judge import judge
from agentdistill_environments.repair.modules import MODULES
from agentdistill_environments.repair.tasks import Package, combos, draw_task, make_tasks
from agentdistill_environments.repair.teacher import first_edit
from gymnasium.utils.env_checker import check_env

from agentdistill.errors import TaskError, UsageError, VerifierError
from agentdistill.records import Message, Task, ToolCall
from agentdistill.sandbox import ExecResult, SandboxBackend
from agentdistill.sandbox.bubblewrap import BubblewrapBackend


@pytest.fixture(scope="module")
def backend() -> Iterator[SandboxBackend]:
    backend = BubblewrapBackend()
    yield backend
    backend.close()


@pytest.fixture
def repair(backend: SandboxBackend) -> Iterator[Repair]:
    environment = Repair(gap=0.5, sandboxes=backend)
    yield environment
    environment.close()


def act(name: str, **arguments: str) -> Message:
    return Message(role="assistant", tool_calls=(ToolCall(id="call_0_0", name=name, arguments=dict(arguments)),))


def say(repair: Repair, name: str, **arguments: str) -> str:
    observations, *_ = repair.step(act(name, **arguments))
    return observations[0].content


def package(task: Task) -> Package:
    return Package.model_validate(task.data)


def task_with(condition: str, gap: float = 0.5) -> Task:
    """The first training task for which a property of its package holds."""
    return next(task for task in make_tasks("train", 300, gap=gap) if CONDITIONS[condition](package(task)))


CONDITIONS = {
    "conventional": lambda p: p.path.count("/") == 1 and not p.leftover and len(p.combos) == 1,
    "elsewhere": lambda p: p.path.count("/") == 2 and not p.leftover,
    "leftover": lambda p: bool(p.leftover),
    "two bugs": lambda p: len(p.combos) == 2,
}


def finish(repair: Repair, messages: tuple[Message, ...], style: str = "knowing") -> tuple[tuple[Message, ...], bool]:
    """Let the teacher act to the end; the conversation and whether it won."""
    while True:
        turn = repair.teach(messages, style)
        observations, reward, terminated, truncated, _ = repair.step(turn)
        messages = (*messages, turn, *observations)
        if terminated or truncated:
            return messages, reward == 1.0


# ---- tasks -------------------------------------------------------------------------------------------------------


def test_the_ith_task_is_the_same_however_many_are_drawn() -> None:
    many = make_tasks("train", 30, seed=3)
    assert make_tasks("train", 5, seed=3) == many[:5]
    assert make_tasks("train", 5, seed=3, first=20) == many[20:25]
    assert make_tasks("train", 5, seed=4) != many[:5]
    assert len({task.content_hash for task in many}) == 30


def test_held_out_tasks_share_neither_content_nor_combination_with_training() -> None:
    train, heldout = make_tasks("train", 600), make_tasks("heldout", 300)
    assert not {task.content_hash for task in train} & {task.content_hash for task in heldout}
    seen = {combo for task in train for combo in package(task).combos}
    unseen = {combo for task in heldout for combo in package(task).combos}
    assert not seen & unseen
    assert unseen == {f"{module}:{family}" for module, family in combos("heldout")}
    assert 0.2 <= len(combos("heldout")) / len(combos("train") | combos("heldout")) <= 0.3


def test_every_module_and_every_family_occurs_in_training() -> None:
    assert {module for module, _ in combos("train")} == {module.name for module in MODULES}
    assert {family for _, family in combos("train")} == set(FAMILY_NAMES)
    assert {family for _, family in combos("heldout")} == set(FAMILY_NAMES)
    assert all(len(module.families) >= 2 and len(module.sites) >= 3 for module in MODULES)


def test_at_gap_0_the_wrong_token_alone_determines_the_fix() -> None:
    for family in FAMILIES:
        assert len({family.wrong_partner(token) for token in family.tokens}) == len(family.tokens)
    partners = {(s.partner, s.usual) for m in MODULES for s in m.sites if s.family == VARIABLE}
    assert len({wrong for wrong, _ in partners}) == len(partners)
    for task in make_tasks("heldout", 100, gap=0.0):
        made = package(task)
        assert made.candidates == (1,)
        assert made.path == f"src/{made.module}.py"
        assert not made.leftover


def test_the_dial_sets_how_often_each_difficulty_occurs() -> None:
    for gap, elsewhere, ambiguous, double, leftover in ((0.5, 0.42, 0.8, 0.15, 0.15), (1.0, 0.8, 1.0, 0.35, 0.25)):
        made = [package(task) for task in make_tasks("train", 500, gap=gap)]
        candidates = [count for p in made for count in p.candidates]
        assert abs(sum(p.path.count("/") == 2 for p in made) / 500 - elsewhere) < 0.07
        assert abs(sum(count > 1 for count in candidates) / len(candidates) - ambiguous) < 0.07
        assert abs(sum(len(p.combos) == 2 for p in made) / 500 - double) < 0.07
        assert abs(sum(bool(p.leftover) for p in made) / 500 - leftover) < 0.07


def test_the_hidden_calls_are_not_the_visible_ones_and_no_answer_is_in_the_workspace() -> None:
    for task in make_tasks("train", 50):
        made = package(task)
        tests = made.files[f"tests/test_{made.module}.py"]
        calls = [call for path, call, _ in made.hidden if path == made.path]
        assert len(calls) >= 2
        assert not any(f"assert {call} ==" in tests for call in calls)
        assert made.solution[made.path] not in made.files.values()


def test_a_functions_name_stands_in_one_line_of_the_whole_catalogue() -> None:
    texts = {module.name: module.source(module.usual) for module in MODULES}
    for module in MODULES:
        for function in module.functions:
            assert Counter({name: text.count(function) for name, text in texts.items()}).total() == 1


def test_a_task_of_another_environment_and_a_gap_out_of_range_are_refused(repair: Repair) -> None:
    with pytest.raises(TaskError, match="not a repair task"):
        repair.reset(options={"task": Task(id="x", environment="other", instruction="?")})
    with pytest.raises(UsageError, match="between 0 and 1"):
        Repair(gap=1.5)
    with pytest.raises(UsageError, match="no split"):
        make_tasks("test", 1)


# ---- tools -------------------------------------------------------------------------------------------------------


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
    assert say(repair, "edit", old="a", new="b") == "error: no file is open"
    assert say(repair, "open", path=f"src/{made.module}.py") == f"error: no such file: src/{made.module}.py"
    assert say(repair, "open", path="src") == "error: cannot read src"
    assert say(repair, "open", path="../../etc/passwd").startswith("error: ")
    assert say(repair, "open", path="\0").startswith("error: no such file")
    assert say(repair, "search", text="nowhere to be found") == "no match"
    assert say(repair, "search", text=made.function).startswith(f"{made.path}: def {made.function}(")
    assert made.path in say(repair, "list").splitlines()
    assert say(repair, "open", path=made.path) == made.files[made.path].rstrip("\n")
    assert say(repair, "edit", old="nowhere", new="") == "error: text not found"
    assert (
        say(repair, "edit", old="return", new="") == f"error: text occurs {made.files[made.path].count('return')} times"
    )
    assert say(repair, "delete", path="src/none.py") == "error: no such file: src/none.py"
    assert say(repair, "edit", old="def ", new="def \ud800").startswith("error: ")


def test_the_visible_tests_say_what_the_issue_says_and_pass_once_it_is_fixed(repair: Repair) -> None:
    task = task_with("conventional")
    made = package(task)
    repair.reset(options={"task": task})
    first = say(repair, "test").splitlines()
    assert first[0].endswith("failed")
    said = task.instruction.split(": ", 1)[1].rstrip(".")
    assert first[1] == said
    repair.reset(options={"task": task})
    say(repair, "open", path=made.path)
    say(repair, "edit", old=made.files[made.path], new=made.solution[made.path])
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
    say(repair, "open", path=made.path)
    head = next(text for text in made.files[made.path].splitlines() if text.startswith(f"def {made.function}("))
    say(repair, "edit", old=head, new=f"{head}\n    {inside}")
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
    for _ in range(steps):
        made = repair.package
        files = [*made.files, f"src/{made.module}.py"]
        where = made.files.get(repair.state.open, "x")
        at = rng.randrange(len(where))
        old = where[at : at + rng.randint(1, 30)]
        new = rng.choice(["", "\n", " ", "x", where, old + old, "price", "é\r\n", old[::-1]])
        turn = rng.choice(
            [
                *[act("open", path=made.path)] * 3,
                act("open", path=rng.choice(files)),
                *[act("edit", old=old, new=new)] * 6,
                act("edit", old=where, new=new),
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


def test_truth_is_what_is_left_to_do_and_falls_by_one_with_every_needed_step(repair: Repair) -> None:
    task = task_with("leftover")
    made = package(task)
    repair.reset(options={"task": task})
    assert repair.truth().cost == 4
    say(repair, "list")
    assert repair.truth().cost == 4
    say(repair, "open", path=made.path)
    assert repair.truth().cost == 3
    say(repair, "edit", old=made.files[made.path], new=made.solution[made.path])
    assert repair.truth().cost == 2
    say(repair, "delete", path=made.leftover)
    assert repair.truth().cost == 1
    snapshot = repair.snapshot()
    other = next(path for path in made.solution if path != made.path)
    say(repair, "delete", path=other)
    assert repair.truth().cost is None
    repair.restore(snapshot)
    say(repair, "open", path=other)
    say(repair, "edit", old="def ", new="def  ") if made.files[other].count("def ") == 1 else say(
        repair, "edit", old=made.files[other], new="broken"
    )
    assert repair.truth().cost == 2
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
        assert sum(message.role == "assistant" for message in messages) == limit
    repair.step_limit = needed - 1
    opening, _ = repair.reset(options={"task": task})
    assert not finish(repair, opening)[1]


def test_an_edit_of_the_teacher_is_short_and_occurs_once() -> None:
    goal = "def f(a):\n    b = max(a)\n    return b + 1\n"
    assert first_edit(goal.replace("max", "min"), goal, 3) == ("b = min(a", "b = max(a")
    assert first_edit(goal.replace("+", "-"), goal, 3) == ("b - 1", "b + 1")
    both = goal.replace("max", "min").replace("+", "-")
    assert first_edit(both, goal, 1) == ("b = min(a", "b = max(a")
    rng = random.Random(0)
    for _ in range(300):
        text = goal
        for _ in range(rng.randint(0, 4)):
            i, j = sorted(rng.choices(range(len(text) + 1), k=2))
            text = text[:i] + rng.choice(["", text[i:j] * 2, "\n\n", "b", " - "]) + text[j:]
        for spare in (3, 2, 1, 0, 0):
            if text == goal:
                break
            old, new = first_edit(text, goal, spare)
            assert text.count(old) == 1
            text = text.replace(old, new)
        assert text == goal


# ---- going back, judging -----------------------------------------------------------------------------------------


def test_the_same_calls_meet_the_same_answers_after_a_restore(repair: Repair) -> None:
    task = task_with("leftover")
    made = package(task)
    repair.reset(options={"task": task})
    say(repair, "open", path=made.path)
    say(repair, "edit", old=made.files[made.path], new=made.files[made.path] + "# more\n")
    before = repair.snapshot()
    calls = [act("test"), act("edit", old="# more\n", new=""), act("delete", path=made.leftover), act("list")]
    first = [repair.step(call)[0] for call in calls]
    after = repair.snapshot()
    repair.restore(before)
    assert repair.snapshot() == before
    assert [repair.step(call)[0] for call in calls] == first
    assert repair.snapshot() == after


def submitted_with(repair: Repair, task: Task, text: str) -> tuple[bool, str]:
    """Put `text` in place of the module, submit, and say how it was judged."""
    made = package(task)
    repair.reset(options={"task": task})
    say(repair, "open", path=made.path)
    say(repair, "edit", old=made.files[made.path], new=text)
    *_, info = repair.step(act("submit"))
    assert info["verdict"].score == float(info["verdict"].passed)
    return info["verdict"].passed, info["verdict"].detail


def test_doing_nothing_and_not_submitting_fail(repair: Repair) -> None:
    task = task_with("conventional")
    repair.reset(options={"task": task})
    *_, info = repair.step(act("submit"))
    assert not info["verdict"].passed
    repair.step_limit = 1
    repair.reset(options={"task": task})
    *_, info = repair.step(act("list"))
    assert info["verdict"].detail == "nothing was submitted"


def test_answers_learnt_by_heart_and_hostile_modules_fail_and_a_rewrite_passes(repair: Repair) -> None:
    task = task_with("conventional")
    made = package(task)
    good, tests = made.solution[made.path], made.files[f"tests/test_{made.module}.py"]
    pairs = [line.strip().removeprefix("assert ").split(" == ") for line in tests.splitlines() if "assert" in line]
    heads = {call.split("(")[0] for call, _ in pairs}
    known = {f"{call.split('(')[0]}{eval(call[call.index('(') : -1] + ',)')!r}": eval(value) for call, value in pairs}
    learnt = "".join(f"def {head}(*a):\n    return {known!r}.get('{head}' + repr(a))\n" for head in heads)
    fake = "import os, sys\nsaid = '\\n' + sys.argv[1] + '\\n=0' * 40 + '\\n'\n"
    fake += "for fd in range(20):\n    try:\n        os.write(fd, said.encode())\n    except OSError:\n        pass\n"
    assert submitted_with(repair, task, good) == (True, f"{len(made.hidden)} hidden calls right")
    assert submitted_with(repair, task, "# rewritten\n" + good.replace("    ", "\t"))[0]
    for text in (
        learnt,
        "import os\nos._exit(0)\n",
        "raise SystemExit(0)\n",
        "print('2 passed')\n",
        "while True: pass\n",
        "def\n",
        *[fake.replace("40", str(count)) + "os._exit(0)\n" for count in (0, len(made.hidden), 40)],
        "import os\nos.write(1, b'x' * 10_000_000)\n",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
        "x = []\nwhile True: x.append(' ' * 10_000_000)\n",
    ):
        assert not submitted_with(repair, task, text)[0], text


def test_a_broken_or_missing_other_module_and_a_leftover_fail(repair: Repair) -> None:
    task = task_with("leftover")
    made = package(task)
    assert submitted_with(repair, task, made.solution[made.path]) == (False, f"{made.leftover} is still there")
    backend, right = repair.backend, {path: text.encode() for path, text in made.solution.items()}
    assert judge(made, right, backend).passed
    for path in made.solution:
        assert not judge(made, {**right, path: b"def"}, backend).passed
    assert not judge(made, {made.path: right[made.path]}, backend).passed


def test_a_judge_that_cannot_start_is_an_infrastructure_failure(
    repair: Repair, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_with("conventional")
    repair.reset(options={"task": task})
    assert repair.sandbox is not None
    broken = lambda self, *args, **kwargs: ExecResult(exit_code=127, output="no interpreter")  # noqa: E731
    monkeypatch.setattr(type(repair.sandbox), "exec", broken)
    with pytest.raises(VerifierError, match="did not start"):
        repair.step(act("submit"))


def test_a_task_survives_json_and_hides_its_answer_from_the_instruction() -> None:
    task = draw_task(random.Random(1), "train", 1.0)
    again = Task.model_validate_json(task.model_dump_json())
    assert again == task
    assert package(again) == package(task)
