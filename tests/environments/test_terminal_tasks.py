"""Harbor tasks in the terminal: rewards of their own scripts, worlds of their own, steps, separate verifiers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from agentdistill_environments.terminal import Terminal
from terminals import RENAME, SUBMIT, TASKS, VERIFIER, bash, submit

from agentdistill.errors import (
    EmptyRewardError,
    MissingRewardError,
    SandboxError,
    UnreadableRewardError,
    UsageError,
    VerifierError,
)
from agentdistill.records import Verdict
from agentdistill.sandbox.bubblewrap import BubblewrapBackend

# ---- judged by the task's own script ---------------------------------------------------------------------------------


def as_a_script(tmp_path: Path, test: str, backend: BubblewrapBackend, more: str = "") -> Terminal:
    """The same task, judged by a script of its own."""
    shutil.copytree(RENAME, tmp_path / "task")
    settings = (RENAME / "task.toml").read_text().replace(VERIFIER, "")
    settings = settings.replace("timeout_sec = 20.0", f"timeout_sec = 3.0\n{more}")
    (tmp_path / "task" / "task.toml").write_text(settings)
    (tmp_path / "task" / "tests" / "test.sh").write_text(test)
    env = Terminal(tasks=tmp_path, sandboxes=backend)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("test", "score"),
    [
        ("test -f stock/report.py && test -f /tests/test_rename.py && echo 1 > /logs/verifier/reward.txt", 1.0),
        (
            '#!/bin/bash\nmkdir -p /logs/verifier; echo \'{"reward": 0.25, "more": 3}\' > /logs/verifier/reward.json',
            0.25,
        ),
        ("rm stock/report.py; echo 0 > /logs/verifier/reward.txt; exit 3", 0.0),
        ("echo 1 > /logs/verifier/reward.txt; sleep 30", 0.0),
        ("echo 0.5 > /logs/verifier/reward.txt; echo '{\"reward\": 1}' > /logs/verifier/reward.json", 1.0),
    ],
)
def test_the_reward_that_a_script_leaves_is_the_score(
    tmp_path: Path, backend: BubblewrapBackend, test: str, score: float
) -> None:
    env = as_a_script(tmp_path, test, backend)
    verdict = submit(env)
    assert (verdict.passed, verdict.score) == (score == 1, score), verdict.detail
    assert env.sandbox is not None
    assert "stock/report.py" in env.sandbox.list_files()
    env.close()


@pytest.mark.parametrize(
    ("test", "error"),
    [
        ("exit 0", MissingRewardError),
        (": > /logs/verifier/reward.txt", EmptyRewardError),
        ("echo much > /logs/verifier/reward.txt", UnreadableRewardError),
        ("echo 2 > /logs/verifier/reward.txt", UnreadableRewardError),
        ("echo 1 > /logs/reward.txt; ln -s ../reward.txt /logs/verifier/reward.txt", UnreadableRewardError),
        ("#!/no/such/program", VerifierError),
    ],
)
def test_a_script_that_leaves_no_reward_is_an_error_and_never_a_zero(
    tmp_path: Path, backend: BubblewrapBackend, test: str, error: type[Exception]
) -> None:
    env = as_a_script(tmp_path, test, backend)
    with pytest.raises(error):
        submit(env)
    env.close()


def test_a_reward_that_the_agent_left_is_not_read(tmp_path: Path, backend: BubblewrapBackend) -> None:
    env = as_a_script(
        tmp_path, "test ! -e .harbor/logs/verifier/reward.json && echo 0 > /logs/verifier/reward.txt", backend
    )
    for folder in ("logs/verifier", ".harbor/logs/verifier", "/logs/verifier"):
        bash(env, f"mkdir -p {folder}; echo '{{\"reward\": 1}}' > {folder}/reward.json")
    bash(env, "mkdir -p .harbor/tests; echo 'echo 1 > /logs/verifier/reward.txt' > .harbor/tests/test.sh")
    assert submit(env).score == 0.0
    env.close()


def test_a_script_gets_its_variables_and_what_it_repeats_of_a_secret_is_not_kept(
    tmp_path: Path, backend: BubblewrapBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_WORD", "correct-horse-battery")
    more = 'env = { WORD = "${JUDGE_WORD}", FULL = "${NOT_SET:-1}" }'
    env = as_a_script(tmp_path, "echo $FULL > /logs/verifier/reward.txt; echo the word is $WORD", backend, more)
    verdict = submit(env)
    assert verdict.passed
    assert "correct-horse-battery" not in verdict.detail
    assert "the word is" in verdict.detail
    env.close()


# ---- worlds on bubblewrap --------------------------------------------------------------------------------------------


def in_a_world(
    tmp_path: Path, backend: BubblewrapBackend, environment: str, dockerfile: str = "", test: str = ""
) -> Terminal:
    shutil.copytree(RENAME, tmp_path / "task")
    settings = (RENAME / "task.toml").read_text().replace(VERIFIER, "").partition("[environment]")[0]
    settings = settings.replace("needs_image = false", "needs_image = true")
    (tmp_path / "task" / "task.toml").write_text(f"{settings}[environment]\n{environment}\n")
    if dockerfile:
        (tmp_path / "task" / "environment" / "Dockerfile").write_text(dockerfile)
    (tmp_path / "task" / "tests" / "test.sh").write_text(test or "echo 1 > /logs/verifier/reward.txt")
    env = Terminal(tasks=tmp_path, sandboxes=backend)
    env.reset(seed=0)
    return env


def test_a_plain_dockerfile_is_done_in_the_sandbox_for_the_agent_and_for_the_verifier(
    tmp_path: Path, backend: BubblewrapBackend
) -> None:
    dockerfile = (
        "FROM debian:12\nENV KIND=bolt\nWORKDIR /app\nCOPY stock stock/\nRUN echo $KIND > made && mkdir -p deep\n"
    )
    test = "test $PWD = /app -a $(cat made) = bolt -a $KIND = bolt -a -f left && echo 1 > /logs/verifier/reward.txt"
    env = in_a_world(tmp_path, backend, "", dockerfile, test)
    assert bash(env, "pwd; cat made; echo $KIND; ls; ls -d /logs; touch left") == (
        "/app\nbolt\nbolt\ndeep\nmade\nstock\nls: cannot access '/logs': No such file or directory\n"
    )
    assert submit(env).passed
    env.close()


def test_a_snapshot_of_a_task_with_its_own_world_is_restored_in_another_environment_with_the_same_backend(
    tmp_path: Path, backend: BubblewrapBackend
) -> None:
    env = in_a_world(tmp_path, backend, 'workdir = "/app"\nmemory_mb = 256\nenv = {KIND = "bolt"}')
    bash(env, "echo work > here; cd stock")
    kept = env.snapshot()
    other = Terminal(tasks=TASKS, sandboxes=backend)
    other.reset(seed=0)
    again = Terminal(tasks=tmp_path, sandboxes=backend)
    again.restore(kept, task=env.task)
    assert bash(again, "pwd; cat ../here; echo $KIND") == "/app/stock\nwork\nbolt\n"
    assert again.snapshot().world_digest == kept.world_digest
    assert bash(other, "pwd") == "/workspace\n"
    for each in (env, other, again):
        each.close()


@pytest.mark.parametrize(
    ("environment", "dockerfile", "complaint"),
    [
        ('docker_image = "python:3.12-slim"', "", "python:3.12-slim.*docker"),
        ("", "FROM scratch\n", "Dockerfile.*docker"),
        ("", "FROM debian\nRUN touch /etc/made\n", "line 2, RUN.*docker"),
        ('network_mode = "public"', "", "network.*docker"),
        ('network_mode = "allowlist"\nallowed_hosts = ["example.org"]', "", "allowlist"),
        ("gpus = 1", "", "gpus"),
        ('workdir = "/usr/share"', "", "/usr/share.*docker"),
        ('env = {KEY = "${KEY}"}', "", "environment.env"),
        ("mcp_servers = [{name = 'a', transport = 'stdio', command = 'x'}]", "", "mcp_servers"),
    ],
)
def test_what_bubblewrap_does_not_have_is_refused_in_one_line(
    tmp_path: Path, backend: BubblewrapBackend, environment: str, dockerfile: str, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        in_a_world(tmp_path, backend, environment, dockerfile)
    assert "\n" not in str(caught.value)


def test_a_world_that_does_not_become_healthy_is_the_machinerys_fault(
    tmp_path: Path, backend: BubblewrapBackend
) -> None:
    check = 'healthcheck = {command = "test -f ready", interval_sec = 0.01, retries = 2}'
    with pytest.raises(SandboxError, match="not healthy"):
        in_a_world(tmp_path, backend, check)


# ---- steps -----------------------------------------------------------------------------------------------------------


def in_steps(tmp_path: Path, backend: BubblewrapBackend, strategy: str = "mean") -> Terminal:
    task = tmp_path / "task"
    (task / "environment").mkdir(parents=True)
    (task / "environment" / "base").write_text("base\n")
    (task / "task.toml").write_text(
        f'multi_step_reward_strategy = "{strategy}"\n[task]\nname = "a/steps"\n[environment]\n'
        '[[steps]]\nname = "one"\nmin_reward = 0.5\n[[steps]]\nname = "two"\n'
    )
    for name in ("one", "two"):
        step = task / "steps" / name
        (step / "tests").mkdir(parents=True)
        (step / "workdir").mkdir()
        (step / "instruction.md").write_text(f"Write {name}.")
        (step / "workdir" / "setup.sh").write_text(f'echo {name} >> begun; rm -- "$0"\n')
        (step / "tests" / "test.sh").write_text(
            f"cat {name} > /logs/verifier/reward.txt 2>/dev/null || echo 0 > /logs/verifier/reward.txt"
        )
    env = Terminal(tasks=tmp_path, sandboxes=backend)
    opening, _ = env.reset(seed=0)
    assert opening[0].content == "Write one."
    return env


def test_a_step_that_is_done_leads_to_the_next_in_the_same_world(tmp_path: Path, backend: BubblewrapBackend) -> None:
    env = in_steps(tmp_path, backend)
    assert bash(env, "cat begun base; echo 0.5 > one; cd /") == "one\nbase\n"
    said, _, ended, _, info = env.step(SUBMIT)
    assert said[0].content.endswith("Write two.")
    assert not ended
    assert "verdict" not in info
    half = env.snapshot()
    bash(env, "echo 1 > /workspace/two; cat /workspace/begun")
    assert submit(env) == Verdict(passed=False, score=0.75, detail="one 0.5, two 1; test.sh: exit code 0")
    env.restore(half)
    assert bash(env, "cat /workspace/begun; ls /workspace") == "one\ntwo\nbase\nbegun\none\n"
    assert submit(env).score == 0.25
    env.close()


def test_a_step_below_its_least_reward_ends_the_task(tmp_path: Path, backend: BubblewrapBackend) -> None:
    env = in_steps(tmp_path, backend)
    bash(env, "echo 0.4 > one")
    assert submit(env).score == 0.4
    env.close()


def test_the_final_steps_reward_is_the_score_where_the_task_says_so(tmp_path: Path, backend: BubblewrapBackend) -> None:
    env = in_steps(tmp_path, backend, "final")
    bash(env, "echo 0.5 > one; echo 1 > two")
    env.step(SUBMIT)
    assert submit(env).passed
    env.close()


# ---- a separate verifier ---------------------------------------------------------------------------------------------


def test_only_artifacts_reach_a_separate_verifier_and_they_are_part_of_snapshots(
    tmp_path: Path, backend: BubblewrapBackend
) -> None:
    shutil.copytree(RENAME, tmp_path / "task")
    settings = (
        (RENAME / "task.toml")
        .read_text()
        .replace(VERIFIER, "")
        .replace(
            "timeout_sec = 20.0",
            (
                'timeout_sec = 20.0\nenvironment_mode = "separate"\n'
                'collect = [{command = "wc -l < stock/report.py > /logs/artifacts/lines"}]'
            ),
        )
    )
    settings = 'artifacts = [{source = "/workspace/out", exclude = ["*.tmp"]}]\n' + settings
    (tmp_path / "task" / "task.toml").write_text(settings)
    (tmp_path / "task" / "tests" / "test.sh").write_text(
        "cat out/a /logs/artifacts/b /logs/artifacts/lines; ls out; test -e mine -o -e /logs/verifier/reward.json || "
        "test $(cat out/a)$(cat /logs/artifacts/b) = xy && echo 1 > /logs/verifier/reward.txt\n"
        "test -f /logs/verifier/reward.txt || echo 0 > /logs/verifier/reward.txt"
    )
    env = Terminal(tasks=tmp_path, sandboxes=backend)
    env.reset(seed=0)
    bash(env, "mkdir out; echo x > out/a; echo z > out/a.tmp; echo y > /logs/artifacts/b; touch mine")
    bash(env, "mkdir -p /logs/verifier; echo '{\"reward\": 1}' > /logs/verifier/reward.json")
    kept = env.snapshot()
    bash(env, "rm /logs/artifacts/b")
    assert submit(env).score == 0.0
    env.restore(kept)
    assert submit(env).passed
    env.close()
