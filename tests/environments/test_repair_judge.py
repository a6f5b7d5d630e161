"""Repair: going back meets the same answers, and nobody wins by cheating."""

from __future__ import annotations

import pytest
from agentdistill_environments.repair import Repair
from agentdistill_environments.repair.judge import judge
from repairs import act, fix, package, say, task_with, write

from agentdistill.errors import VerifierError
from agentdistill.records import Task
from agentdistill.sandbox import ExecResult


def test_the_same_calls_meet_the_same_answers_after_a_restore(repair: Repair) -> None:
    task = task_with("leftover")
    made = package(task)
    repair.reset(options={"task": task})
    say(repair, "open", path=made.path)
    end = made.files[made.path].count("\n") + 1
    say(repair, "edit", line=end, old="", new="# more")
    before = repair.snapshot()
    calls = [act("test"), act("edit", line=end, old="# more", new=""), act("delete", path=made.leftover), act("list")]
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
    write(repair, made.path, text)
    *_, info = repair.step(act("submit"))
    assert info["verdict"].score == float(info["verdict"].passed)
    return info["verdict"].passed, info["verdict"].detail


def test_doing_nothing_and_not_submitting_fail_and_the_edits_alone_pass(repair: Repair) -> None:
    task = task_with("conventional")
    repair.reset(options={"task": task})
    *_, info = repair.step(act("submit"))
    assert not info["verdict"].passed
    repair.reset(options={"task": task})
    fix(repair)
    *_, info = repair.step(act("submit"))
    assert info["verdict"].passed
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
