"""Recovery from messes: they are played as they were recorded, and whoever is put behind them is measured fairly."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import climbers
import pytest
from agentdistill_environments.terminal import Terminal
from endpoints import QUICK
from hypothesis import given
from hypothesis import strategies as st

from agentdistill.cli import main
from agentdistill.config import read_config
from agentdistill.errors import BudgetError, InfrastructureError, StoreError, TaskError
from agentdistill.ledger import Budget, CallLedger
from agentdistill.messes import BenchmarkFile, read_set
from agentdistill.policies import Request
from agentdistill.policies.endpoint import EndpointConfig
from agentdistill.policies.local import Checkpoint, Sampling
from agentdistill.policies.tiny import TinyConfig, make_student, make_tokenizer, save_student
from agentdistill.records import Completion
from agentdistill.recovering import MessConfig, climb_out
from agentdistill.results import MessReport, clustered_rate, rate_of, read_report
from agentdistill.testing import ChatServer

ROOT = Path(__file__).parent.parent
COMMAND = str(Path(sys.executable).with_name("agentdistill"))
MENDER = f"{ROOT / 'tests' / 'climbers.py'}:Mender"
BASELINES = ROOT / "examples" / "mess_baselines.py"
TEST = '[ "$(cat n)" = 42 ] && echo 1 > /logs/verifier/reward.txt || echo 0 > /logs/verifier/reward.txt\n'


class Quiet:
    """A watcher that says nothing."""

    def begin(self, stage: str, total: int | None = None) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None: ...

    def end(self, note: str = "") -> None: ...


def mess(number: str, recovery: str = "echo 42 > n\n", say: str = "") -> dict[str, str]:
    """A mess of two actions that leave a number behind."""
    first = f'[[actions]]\ntool = "bash"\nsay = "{say}"\narguments = {{ command = "cat n" }}\n'
    second = f'[[actions]]\ntool = "create"\narguments = {{ path = "n", content = "{number}\\n" }}\n'
    return {"mess.toml": f'description = "It is {number}."\nby = "hand"\n{first}{second}', "recover.sh": recovery}


def write_task(folder: Path, messes: dict[str, dict[str, str]], family: str = "", split: str = "train") -> None:
    about = f'[metadata]\nfamily = "{family}"\ndifficulty = "easy"\nsplit = "{split}"\n'
    own = "[metadata.agentdistill]\nneeds_image = false\n"
    files = {
        "task.toml": f'schema_version = "1.4"\n[task]\nname = "test/{folder.name}"\n{about}{own}',
        "instruction.md": "Write 42 into the file n.\n",
        "environment/n": "41\n",
        "tests/test.sh": f"#!/bin/sh\n{TEST}",
        "solution/solve.sh": '[ "$(cat n)" = 7 ] && exit 1\necho 42 > n\n',
    }
    files |= {f"messes/{name}/{file}": text for name, each in messes.items() for file, text in each.items()}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Two tasks, three messes; one of them says a word in passing, another is beyond the solution."""
    root = tmp_path / "tasks"
    write_task(root / "one", {"low": mess("7"), "high": mess("99", say="This is hopeless.")}, "numbers")
    write_task(root / "two", {"low": mess("8")}, "letters", "heldout")
    (root / "benchmark.toml").write_text('name = "small"\nversion = "1.0"\n')
    return root


def climb(actor: Any, tasks: Path, folder: Path, **settings: Any) -> MessReport:
    return climb_out(actor, "somebody", MessConfig(**{"tasks": tasks, "live": 4, **settings}), folder, Quiet())


def letters(report: MessReport) -> str:
    return report.arms["somebody"].climbs


def digest(tasks: Path) -> str:
    return read_set(tasks, Terminal(tasks=tasks)).digest


# ---- what is measured ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), [("Recover", "111"), ("DoNothing", "000"), ("BlindSolution", "101")])
def test_the_way_out_leads_out_doing_nothing_does_not_and_the_blind_solution_sometimes(tasks, tmp_path, name, expected):
    report = climb(f"{BASELINES}:{name}", tasks, tmp_path / "run")
    assert letters(report) == expected  # high, low of one; low of two
    assert report.arms["somebody"].recovery.rate == expected.count("1") / 3
    assert report.privileged == (name != "DoNothing")


def test_a_policy_behind_a_mess_sees_its_own_turns_is_told_nothing_and_has_all_its_steps(tasks, tmp_path, monkeypatch):
    asked: list[Request] = []

    def act(self: climbers.Idler, requests: Sequence[Request]) -> list[Completion]:
        asked.extend(requests)
        return [self.answer(request) for request in requests]

    monkeypatch.setattr(climbers.Idler, "act", act)
    report = climb("climbers:Idler", tasks, tmp_path / "run", only=("two",), steps=3)
    first, *later = asked
    assert [message.role for message in first.messages] == ["user", "assistant", "tool", "assistant", "tool"]
    assert first.messages[2].content == "41\n"
    assert first.messages[1].tool_calls[0].name == "bash"
    assert first.note == ""
    assert len(later) == 2
    assert report.arms["somebody"].steps == 3
    assert letters(report) == "0"


def test_results_are_told_by_family_split_task_and_mess(tasks, tmp_path):
    report = climb(f"{BASELINES}:BlindSolution", tasks, tmp_path / "run", tries=2)
    assert letters(report) == "101101"
    assert {name: each.climbs for name, each in report.groups["family"].items()} == {"letters": "11", "numbers": "1010"}
    assert {name: each.climbs for name, each in report.groups["split"].items()} == {"heldout": "11", "train": "1010"}
    assert report.groups["mess"]["one/low"].climbs == "00"
    assert report.groups["task"]["one"].recovery.n == 4
    assert report.arms["somebody"].recovery == clustered_rate([(2, 4), (2, 2)])


def test_an_episode_whose_machinery_broke_is_in_no_rate_and_is_tried_again(tasks, tmp_path):
    actor = f"{ROOT / 'tests' / 'climbers.py'}:Breaking"
    report = climb(actor, tasks, tmp_path / "run", live=1)
    result = report.arms["somebody"]
    assert (result.climbs, result.errored, result.recovery.n) == ("x11", 1, 2)
    assert climb(actor, tasks, tmp_path / "run", live=1).arms["somebody"].climbs == "x11"
    shutil.rmtree(tasks / "one" / "messes" / "low")
    with pytest.raises(InfrastructureError, match=r"no episode came to a verdict.*the server did not answer"):
        climb(actor, tasks, tmp_path / "other", only=("one",))


# ---- any policy ------------------------------------------------------------------------------------------------------


def mend(request: Request) -> Any:
    return climbers.Mender().answer(request).message


def test_a_model_behind_a_server_is_paid_once_and_its_tokens_are_counted(tasks, tmp_path):
    with ChatServer(mend) as server:
        actor = EndpointConfig(url=server.url, model="fake", **QUICK)
        report = climb(actor, tasks, tmp_path / "run")
        result = report.arms["somebody"]
        assert result.climbs == "111"
        assert result.steps == 2
        assert min(result.student_tokens, result.student_input_tokens) > 0
        with CallLedger(tmp_path / "run") as ledger:
            paid = ledger.totals.usage
        assert (paid.input_tokens, paid.output_tokens) == (result.student_input_tokens, result.student_tokens)
        asked = len(server.seen)
        assert climb(actor, tasks, tmp_path / "run") == report
        assert len(server.seen) == asked == 6


def test_a_spent_budget_stops_a_run_and_a_larger_one_goes_on_from_there(tasks, tmp_path):
    with ChatServer(mend) as server:
        actor = EndpointConfig(url=server.url, model="fake", max_tokens=64, **QUICK)
        with pytest.raises(BudgetError, match="the same command goes on"):
            climb(actor, tasks, tmp_path / "run", live=1, budget=Budget(tokens=4_000))
        asked = len(server.seen)
        assert 0 < asked < 6
        assert letters(climb(actor, tasks, tmp_path / "run", live=1)) == "111"
        assert len(server.seen) == 6


def test_a_checkpoint_on_this_machine_can_be_measured(tasks, tmp_path):
    config = TinyConfig(vocabulary=400, hidden=16, layers=1, heads=2, context=2048)
    tokenizer = make_tokenizer(
        ["Write 42 into the file n.", '{"name": "bash", "arguments": {"command": "ls"}}'], config
    )
    save_student(make_student(tokenizer, config, 0), tokenizer, tmp_path / "model")
    sampling = Sampling(max_new_tokens=8)
    report = climb(Checkpoint(model=str(tmp_path / "model")), tasks, tmp_path / "run", steps=2, sampling=sampling)
    assert letters(report) == "000"
    assert 0 < report.arms["somebody"].student_tokens <= 3 * 2 * 8
    other = make_student(tokenizer, config, 1)
    save_student(other, tokenizer, tmp_path / "model")
    with pytest.raises(StoreError, match=r"policy\.weights"):
        climb(Checkpoint(model=str(tmp_path / "model")), tasks, tmp_path / "run", steps=2, sampling=sampling)


# ---- stopping and going on -------------------------------------------------------------------------------------------


def test_more_tries_are_added_to_those_that_are_there(tasks, tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("CLIMBERS_LOG", str(log))
    climb("climbers:Slow", tasks, tmp_path / "run")
    before = log.read_text().split()
    assert letters(climb("climbers:Slow", tasks, tmp_path / "run", tries=2)) == "111111"
    after = log.read_text().split()
    assert after[: len(before)] == before
    assert len(after) == 2 * len(before)
    assert len(set(after)) == len(after)  # each try has luck of its own


@pytest.mark.slow
def test_what_was_finished_when_a_run_was_killed_is_not_done_again(tasks, tmp_path):
    log, folder = tmp_path / "log", tmp_path / "run"
    command = [COMMAND, "evaluate", f"{ROOT / 'tests' / 'climbers.py'}:Slow", "--from-messes", str(tasks), "--json"]
    command += ["--folder", str(folder), "--live", "1"]
    environment = os.environ | {"CLIMBERS_LOG": str(log), "CLIMBERS_SECONDS": "0.3"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and finished(folder) < 1:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = finished(folder)
    assert 1 <= kept < 3
    before = len(log.read_text().split())
    done = subprocess.run(command, env=environment | {"CLIMBERS_SECONDS": "0"}, capture_output=True, check=True)
    assert json.loads(done.stdout)["arms"]["Slow"]["climbs"] == "111"
    assert len(log.read_text().split()) - before == 2 * (3 - kept)


def finished(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder / 'run.sqlite'}?mode=ro", uri=True) as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM trajectories WHERE stage = 'messes'").fetchall()
    except sqlite3.Error:
        return 0
    return int(count)


def test_a_run_can_be_shown_again(tasks, tmp_path, capsys):
    report = climb(MENDER, tasks, tmp_path / "run")
    assert read_report(tmp_path / "run") == report
    main(["report", str(tmp_path / "run")])
    shown = capsys.readouterr().out
    assert "small 1.0" in shown
    assert "100.0%" in shown
    assert report.digest in shown.replace("\n", "")


def test_names_of_others_are_shown_as_they_are_and_command_no_terminal(tasks, tmp_path, capsys):
    file = tasks / "two" / "task.toml"
    odd = 'family = "[/b] [red]x[/red] \\u001b[2J"'
    file.write_text(re.sub(r"(?m)^family = .*", lambda _: odd, file.read_text()))
    main(["evaluate", MENDER, "--from-messes", str(tasks), "--folder", str(tmp_path / "run")])
    said = capsys.readouterr().out
    assert "[/b] [red]x[/red] [2J" in said
    assert "\x1b" not in said


def test_settings_of_sampling_leave_room_for_a_whole_file(tasks):
    assert MessConfig.model_validate({"tasks": tasks, "sampling": {"temperature": 0.5}}).sampling.max_new_tokens == 1024
    assert MessConfig.model_validate({"tasks": tasks, "sampling": {"max_new_tokens": 7}}).sampling.max_new_tokens == 7


# ---- which benchmark it is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "old", "new", "same"),
    [
        ("two/messes/low/mess.toml", "8", "9", False),
        ("two/tests/test.sh", "42", "43", False),
        ("two/instruction.md", "42", "43", False),
        ("two/environment/n", "41", "40", False),
        ("two/task.toml", "easy", "hard", False),
        ("two/messes/low/recover.sh", "42", "42 ", True),
        ("two/solution/solve.sh", "42", "42 ", True),
        ("benchmark.toml", "1.0", "1.1", True),
    ],
)
def test_the_digest_changes_with_all_that_decides_a_result_and_with_nothing_else(tasks, file, old, new, same):
    before = digest(tasks)
    text = (tasks / file).read_text()
    assert old in text
    (tasks / file).write_text(text.replace(old, new))
    assert (digest(tasks) == before) is same


def test_the_digest_does_not_depend_on_where_the_tasks_lie(tasks, tmp_path):
    shutil.copytree(tasks, tmp_path / "elsewhere")
    assert digest(tmp_path / "elsewhere") == digest(tasks)


def test_a_set_that_is_not_what_its_version_says_is_told(tasks, tmp_path, capsys):
    about = tasks / "benchmark.toml"
    about.write_text(f'name = "small"\nversion = "1.0"\ndigest = "{digest(tasks)}"\n')
    main(["evaluate", "--from-messes", str(tasks)])
    assert "as pinned" in capsys.readouterr().out
    (tasks / "two" / "instruction.md").write_text("Write 42 into n, please.\n")
    main(["evaluate", MENDER, "--from-messes", str(tasks), "--folder", str(tmp_path / "run")])
    assert "CHANGED" in capsys.readouterr().out


def test_the_shipped_tasks_are_those_of_the_shipped_version():
    root = ROOT / "tasks" / "recover"
    told = (
        f"version and digest in {root / 'benchmark.toml'} are those of other tasks: write a new version and the digest"
    )
    assert read_config(root / "benchmark.toml", [], BenchmarkFile).digest == digest(root), told


# ---- messes that are none --------------------------------------------------------------------------------------------


def rewrite(old: str, new: str) -> Callable[[Path], None]:
    return lambda file: file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (rewrite('content = "8', 'content = "42'), "this is no mess, the hidden tests pass"),
        (rewrite('tool = "bash"', 'tool = "shell"'), "actions[0].tool: there is no tool 'shell'"),
        (rewrite("command =", "line ="), "actions[0].arguments: "),
        (rewrite('"create"\narguments = { path = "n", content = "8\\n" }', '"submit"'), "actions[1] ends the task"),
        (rewrite('"bash"\nsay = ""\narguments = { command = "cat n" }', '"submit"'), "actions[0] ends the task"),
        (rewrite('by = "hand"', f'by = "hand"\nworld = "{"0" * 64}"'), "world: its actions lead to"),
    ],
)
def test_a_mess_that_is_none_is_told_in_one_line(tasks, tmp_path, change, told):
    change(tasks / "two" / "messes" / "low" / "mess.toml")
    with pytest.raises(TaskError) as caught:
        climb(MENDER, tasks, tmp_path / "run", only=("two",))
    line = str(caught.value)
    assert line.startswith(f"{tasks / 'two'}: messes/low/mess.toml: ")
    assert told in line
    assert "\n" not in line


def test_the_world_that_a_mess_leads_to_can_be_pinned(tasks, tmp_path):
    file = tasks / "two" / "messes" / "low" / "mess.toml"
    rewrite('by = "hand"', f'by = "hand"\nworld = "{"0" * 64}"')(file)
    with pytest.raises(TaskError) as caught:
        climb(MENDER, tasks, tmp_path / "run", only=("two",))
    rewrite("0" * 64, str(caught.value).partition("lead to ")[2][:64])(file)
    assert letters(climb(MENDER, tasks, tmp_path / "run", only=("two",))) == "1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--from-messes"),
        (("x", "--run", "r", "--from-messes", "t"), "--run RUN"),
        (("--run", "r"), "whom"),
        (("m@http://localhost:1/v1", "--from-messes", "/nowhere"), "no folder of tasks"),
        (("/nowhere", "--from-messes", "TASKS"), "MODEL@URL"),
        (("http://localhost:1/v1", "--from-messes", "TASKS"), "MODEL@http"),
        (("climbers:Mendr", "--from-messes", "TASKS"), "Did you mean 'Mender'"),
        (("climbers:Mender", "--from-messes", "TASKS", "--only", "onee"), "Did you mean 'one'"),
        (("climbers:Mender", "--from-messes", "TASKS", "--split", "test"), "heldout, train or all"),
        (("climbers:Mender", "--from-messes", "TASKS", "--tries", "0"), "--tries"),
        (("climbers:Mender", "--from-messes", "TASKS", "--sandbox", "bublewrap"), "Did you mean 'bubblewrap'"),
        (("--from-messes", "TASKS", "--environment", "depot"), "do not fit depot"),
        (("climbers:Mender", "--from-messes", "TASKS", "--sampling", "{temprature = 1}"), "Did you mean 'temperature'"),
    ],
)
def test_a_command_that_makes_no_sense_is_one_line(tasks, tmp_path, capsys, arguments, told):
    given = [str(tasks) if each == "TASKS" else each for each in arguments]
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *given, "--folder", str(tmp_path / "run")])
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, "")
    assert told in said.err
    assert said.err.count("\n") == 1


# ---- intervals -------------------------------------------------------------------------------------------------------


def test_tries_that_come_out_alike_do_not_narrow_the_interval():
    alike = clustered_rate([(5, 5), (0, 5), (5, 5), (0, 5), (5, 5), (0, 5)])
    assert alike.n == 30
    assert alike.high - alike.low >= rate_of(3, 6).high - rate_of(3, 6).low - 0.05
    assert alike.high - alike.low > 1.5 * (rate_of(15, 30).high - rate_of(15, 30).low)


def test_one_try_at_one_mess_each_gives_wilsons_interval():
    found, known = clustered_rate([(1, 1)] * 7 + [(0, 1)] * 5), rate_of(7, 12)
    assert (found.low, found.high) == (pytest.approx(known.low, abs=0.02), pytest.approx(known.high, abs=0.02))
    assert clustered_rate([(2, 2), (3, 3)]) == rate_of(5, 5, 2)


@given(st.lists(st.integers(0, 6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=8))
def test_an_interval_over_clusters_is_never_narrower_than_over_independent_episodes(clusters):
    found = clustered_rate(clusters)
    plain = rate_of(sum(passed for passed, _ in clusters), sum(n for _, n in clusters))
    assert 0 <= found.low <= found.rate <= found.high <= 1
    assert found.low <= plain.low + 1e-12
    assert found.high >= plain.high - 1e-12
