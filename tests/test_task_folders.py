"""Reading Harbor task folders: nothing is lost, and what is broken is told in one line that names file and key."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentdistill.cli.main import main
from agentdistill.errors import TaskError
from agentdistill.formats.harbor import HarborTask, TaskConfig, find_tasks, read_task
from agentdistill.formats.harbor.config import StepSettings
from agentdistill.formats.harbor.variables import resolve_variables, wanted_variables
from agentdistill.formats.harbor.versions import DEFAULTS, upgraded

WHOLE = """
schema_version = "1.4"
source = "somewhere"
artifacts = ["/logs/out", {source = "/data", destination = "kept/data", exclude = ["*.tmp"]}]

[task]
name = "org/whole"
version = "2"
authors = [{name = "A", email = "a@example.org"}, {name = "B"}]
keywords = ["python"]

[metadata]
split = "heldout"

[agent]
timeout_sec = 60
user = "worker"
network_mode = "allowlist"
allowed_hosts = ["Example.org.", "*.example.net", "192.0.2.0/24", "2001:DB8::1"]

[verifier]
timeout_sec = 5.5
env = {MODE = "strict", TOKEN = "${JUDGE_TOKEN}"}
user = 1000
environment_mode = "separate"
collect = [{command = "dump > /logs/artifacts/state"}]

[verifier.environment]
docker_image = "judge:1"
allowed_hosts = ["example.org"]
network_mode = "allowlist"

[solution]
env = {FAST = "1"}

[environment]
cpus = 0.5
memory_mb = 512
workdir = "/app"
tpu = {type = "v6e", topology = "2x4"}
healthcheck = {command = "true", retries = 5}

[[environment.mcp_servers]]
name = "notes"
transport = "http"
url = "http://notes/mcp"
headers = {Authorization = "Bearer ${NOTES}"}
"""
MESS_FILE = "messes/half/mess.toml"
STEPS = """
multi_step_reward_strategy = "final"

[[steps]]
name = "first"
min_reward = 0.5

[[steps]]
name = "second"
min_reward = {correct = 1, quick = 0.5}
agent = {timeout_sec = 9}
artifacts = ["/more"]
"""
MESS = 'description = "half a rename"\nby = "hand"\n[[actions]]\ntool = "bash"\narguments = {command = "true"}\n'


def put(path: Path, text: str | bytes = "#!/bin/bash\ntrue\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A whole task folder of one step, with everything of ours."""
    folder = tmp_path / "whole"
    put(folder / "task.toml", WHOLE)
    put(folder / "instruction.md", "Do it.\n")
    put(folder / "environment" / "src" / "code.py", "x = 1\n")
    put(folder / "tests" / "test.sh").chmod(0o755)
    put(folder / "solution" / "solve.sh")
    put(folder / "messes" / "half" / "mess.toml", MESS)
    put(folder / "messes" / "half" / "recover.sh")
    put(folder / "wrong" / "quick.sh")
    put(folder / "cheats" / "reward.sh")
    return folder


@pytest.fixture
def stepped(task: Path) -> Path:
    """The same as a task of two steps."""
    put(task / "task.toml", STEPS)
    (task / "instruction.md").unlink()
    for name in ("first", "second"):
        put(task / "steps" / name / "instruction.md", f"Do the {name}.")
    put(task / "steps" / "second" / "workdir" / "setup.sh", "touch ready\n")
    put(task / "steps" / "second" / "tests" / "test.sh", "exit 3\n")
    put(task / "steps" / "second" / "solution" / "solve.sh")
    put(task / "tests" / "common.py", "")
    return task


# ---- what is read ----------------------------------------------------------------------------------------------------


def test_a_whole_folder_is_read_and_survives_json(task: Path) -> None:
    read = read_task(task)
    assert HarborTask.model_validate_json(read.model_dump_json()) == read
    assert (read.name, read.instruction) == ("org/whole", "Do it.")
    assert read.settings.agent.allowed_hosts == ("example.org", "*.example.net", "192.0.2.0/24", "2001:db8::1")
    assert read.settings.artifacts[0].source == "/logs/out"
    assert read.settings.environment.mcp_servers[0].transport == "streamable-http"
    assert (read.settings.verifier.user, read.settings.verifier.timeout_sec) == (1000, 5.5)
    assert [mess.actions[0].arguments for mess in read.messes] == [{"command": "true"}]
    assert (list(read.wrong), list(read.cheats)) == (["quick"], ["reward"])
    assert read.tests["test.sh"].executable
    assert not read.environment["src/code.py"].executable


def test_a_task_of_several_steps_shares_its_tests_and_a_step_has_the_last_word(stepped: Path) -> None:
    first, second = read_task(stepped).steps
    assert (first.instruction, second.instruction) == ("Do the first.", "Do the second.")
    assert first.tests["test.sh"].content == b"#!/bin/bash\ntrue\n"
    assert second.tests["test.sh"].content == b"exit 3\n"
    assert set(second.tests) == {"test.sh", "common.py"}
    assert second.workdir["setup.sh"].content == b"touch ready\n"
    assert second.settings.agent.timeout_sec == 9


@pytest.mark.parametrize(
    ("least", "rewards", "goes_on"),
    [
        (None, {}, True),
        (0.5, {"reward": 0.5}, True),
        (0.5, {"reward": 0.4}, False),
        (0.5, {"other": 1.0}, False),
        ({"a": 1, "b": 0.5}, {"a": 1.0, "b": 0.5}, True),
        ({"a": 1, "b": 0.5}, {"a": 1.0}, False),
    ],
)
def test_the_next_step_is_begun_only_with_enough_of_each_reward(
    least: object, rewards: dict[str, float], goes_on: bool
) -> None:
    assert StepSettings.model_validate({"name": "a", "min_reward": least}).goes_on(rewards) is goes_on


@pytest.mark.parametrize(
    ("verifier", "of_step", "mode", "image"),
    [
        ({}, {}, "shared", None),
        ({"environment": {"docker_image": "t"}}, {}, "separate", "t"),
        ({"environment_mode": "separate"}, {}, "separate", "agent"),
        ({"environment_mode": "separate"}, {"environment_mode": "shared"}, "shared", None),
        ({"environment": {"docker_image": "t"}}, {"environment": {"docker_image": "s"}}, "separate", "s"),
        ({"environment_mode": "shared"}, {"environment": {"docker_image": "s"}}, "separate", "s"),
    ],
)
def test_where_a_step_is_judged_follows_from_the_step_then_the_task(
    verifier: object, of_step: object, mode: str, image: str | None
) -> None:
    config = TaskConfig.model_validate(
        {
            "environment": {"docker_image": "agent"},
            "verifier": verifier,
            "steps": [{"name": "one", "verifier": of_step}],
        }
    )
    assert config.steps is not None
    world = config.verifier_environment(config.steps[0])
    assert config.verifier_mode(config.steps[0]) == mode
    assert (world.docker_image if world else None) == image


def test_an_image_of_a_separate_verifier_may_hold_the_tests(task: Path) -> None:
    shutil.rmtree(task / "tests")
    assert read_task(task).tests == {}
    put(task / "task.toml", '[verifier]\nenvironment_mode = "separate"\n')
    put(task / "tests" / "Dockerfile", "FROM scratch\n")
    assert list(read_task(task).tests) == ["Dockerfile"]


# ---- older versions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('version = "1.0"', {**DEFAULTS, "network_mode": "public"}),
        ('schema_version = "1.1"\n[environment]\ncpus = 3', {**DEFAULTS, "cpus": 3}),
        ('schema_version = "1.2"', {"cpus": None, "memory_mb": None, "gpus": None}),
        ("[environment]\nmemory = '2G'\nstorage = '512M'", {"memory_mb": 2048, "storage_mb": 512}),
        ("[environment]\nmemory = '0.5G'\nmemory_mb = 512", {"memory_mb": 512}),
        ("[environment]\nallow_internet = false", {"network_mode": "no-network"}),
        ("[environment]\nallow_internet = true", {"network_mode": "public"}),
        ("[environment]\nallow_internet = false\nnetwork_mode = 'public'", {"network_mode": "public"}),
        ("[environment]\nos = 'Linux'", {"os": "linux"}),
    ],
)
def test_what_older_files_say_is_read_under_the_keys_of_today(
    task: Path, text: str, expected: dict[str, object]
) -> None:
    put(task / "task.toml", text)
    read = read_task(task)
    found = read.settings.environment
    assert {key: getattr(found, key) for key in expected} == expected
    assert "version" not in read.settings.model_dump()
    assert read.name == "whole"


# ---- what is broken --------------------------------------------------------------------------------------------------

ENVIRONMENT = "[environment]\n"
STEP = "[[steps]]\nname = 'first'\n"
SERVER = "[[environment.mcp_servers]]\nname = 'n'\n"
# A broken task.toml, the key at fault, and some of what is told about it.
BROKEN_CONFIGS: list[tuple[str, str, str]] = [
    ("schema_version = '2.0'", "schema_version", "'2.0' is not known"),
    ("schema_version = 1.4", "schema_version", "not known"),
    ("schema_version = '1.x'", "schema_version", "must look like 1.4"),
    ("source = 3", "source", "must be text in quotes, not 3"),
    ("task = 'org/name'", "task", "must be a table"),
    ("[task]\ndescription = 'x'", "task.name", 'is missing: write name = "org/name"'),
    ("[task]\nname = 'plain'", "task.name", "must look like org/name"),
    ("[task]\nname = 'a/b..c'", "task.name", "must not hold '..'"),
    ("[task]\nname = 'a/b'\nversion = ''", "task.version", "must not be empty"),
    ("[task]\nname = 'a/b'\nauthors = [{email = 'x'}]", "task.authors[0].name", "is missing"),
    ("[task]\nname = 'a/b'\nkeywords = 'python'", "task.keywords", "must be a list"),
    ("metadata = 3", "metadata", "must be a table"),
    ("[metadata]\nagentdistill = 3", "metadata.agentdistill", "must be a table"),
    ("[metadata.agentdistill]\nneeds_image = 'no'", "metadata.agentdistill.needs_image", "must be true or false"),
    ("[agent]\ntimeout_sec = '60'", "agent.timeout_sec", "must be a number"),
    ("[agent]\ntimeout_sec = -1", "agent.timeout_sec", "must be 0 or more"),
    ("[agent]\nuser = 1.5", "agent.user", "must be text in quotes or must be a whole number"),
    ("[agent]\nnetwork_mode = 'none'", "agent.network_mode", "must be 'public', 'no-network' or 'allowlist'"),
    ("[agent]\nallowed_hosts = ['a.org']", "agent.allowed_hosts", 'only beside network_mode = "allowlist"'),
    ("[verifier]\ntimeout_sec = true", "verifier.timeout_sec", "must be a number"),
    ("[verifier]\nenvironment_mode = 'own'", "verifier.environment_mode", "must be 'shared' or 'separate'"),
    (
        "[verifier]\nenvironment_mode = 'shared'\n[verifier.environment]",
        "verifier.environment",
        'does not go with environment_mode = "shared"',
    ),
    ("[verifier]\nenv = {A = 1}", "verifier.env.A", "must be text in quotes"),
    ("[[verifier.collect]]\nservice = 'db'", "verifier.collect[0].command", "is missing"),
    ("[[verifier.collect]]\ncommand = 'x'\nservice = '-x'", "verifier.collect[0].service", "no name of a service"),
    ("[solution]\nenv = {'A B' = '1'}", "solution.env", "'A B' is no name of a variable"),
    (f"{ENVIRONMENT}cpus = 'two'", "environment.cpus", "must be a number"),
    (f"{ENVIRONMENT}cpus = nan", "environment.cpus", "must be a finite number"),
    (f"{ENVIRONMENT}memory_mb = 1.5", "environment.memory_mb", "must be a whole number"),
    (f"{ENVIRONMENT}memory = 'lots'", "environment.memory", 'a size such as "512M" or "2G"'),
    (f"{ENVIRONMENT}memory = '2G'\nmemory_mb = 1", "environment.memory", "contradict each other"),
    (f"{ENVIRONMENT}allow_internet = 'no'", "environment.allow_internet", "must be true or false"),
    (f"{ENVIRONMENT}os = 'plan9'", "environment.os", "must be 'linux' or 'windows'"),
    (f"{ENVIRONMENT}os = 'windows'", "environment.os", "Windows cannot be run here"),
    (f"{ENVIRONMENT}docker_image = ['a']", "environment.docker_image", "must be text in quotes"),
    (
        f"{ENVIRONMENT}network_mode = 'allowlist'\nallowed_hosts = ['http://a.org']",
        "environment.allowed_hosts[0]",
        "no name",
    ),
    (
        f"{ENVIRONMENT}network_mode = 'allowlist'\nallowed_hosts = ['a.org:80']",
        "environment.allowed_hosts[0]",
        "no name",
    ),
    (f"{ENVIRONMENT}network_mode = 'allowlist'\nallowed_hosts = ['a.*']", "environment.allowed_hosts[0]", "no name"),
    (
        f"{ENVIRONMENT}network_mode = 'allowlist'\nallowed_hosts = ['*.1.2.3.4']",
        "environment.allowed_hosts[0]",
        "no name",
    ),
    (f"{ENVIRONMENT}allowed_hosts = ['a.org']", "environment.allowed_hosts", "only beside"),
    (f"{ENVIRONMENT}tpu = {{type = 'v6e'}}", "environment.tpu.topology", 'write topology = "2x4"'),
    (f"{ENVIRONMENT}tpu = {{type = 'v6e', topology = '4'}}", "environment.tpu.topology", "has no dimensions"),
    (f"{ENVIRONMENT}healthcheck = {{retries = 3}}", "environment.healthcheck.command", "is missing"),
    (
        f"{ENVIRONMENT}healthcheck = {{command = 'x', retries = 0}}",
        "environment.healthcheck.retries",
        "must be 1 or more",
    ),
    (f"{SERVER}", "environment.mcp_servers[0].url", "is missing"),
    (f"{SERVER}transport = 'stdio'", "environment.mcp_servers[0].command", "is missing"),
    (
        f"{SERVER}transport = 'tcp'",
        "environment.mcp_servers[0].transport",
        "must be 'stdio', 'sse' or 'streamable-http'",
    ),
    (
        f"{SERVER}url = 'u'\nheaders = {{Authorization = 'Bearer hunter2hunter2'}}",
        "environment.mcp_servers[0].headers",
        "write it as a variable",
    ),
    ("artifacts = [{destination = 'x'}]", "artifacts[0].source", "is missing"),
    ("artifacts = ['/a/../b']", "artifacts[0].source", "without '..'"),
    ("artifacts = [{source = '/a', destination = '/b'}]", "artifacts[0].destination", "relative path"),
    ("artifacts = [{source = '/a', destination = 'manifest.json'}]", "artifacts[0].destination", "not manifest.json"),
    ("artifacts = [{source = 'a', service = 'db'}]", "artifacts[0].service", "absolute path"),
    ("multi_step_reward_strategy = 'max'", "multi_step_reward_strategy", "must be 'mean' or 'final'"),
    ("steps = 'first'", "steps", "must be a list"),
    ("[[steps]]\nmin_reward = 1", "steps[0].name", "is missing"),
    ("[[steps]]\nname = 'a/b'", "steps[0].name", "cannot be a folder's name"),
    ("[[steps]]\nname = '..'", "steps[0].name", "cannot be a folder's name"),
    (f"{STEP}[[steps]]\nname = 'First'", "steps", "two have the name"),
    (f"{STEP}min_reward = 'high'", "steps[0].min_reward", "must be a number or must be a table"),
    (f"{STEP}min_reward = {{a = 'x'}}", "steps[0].min_reward", "must be a number"),
    ("[[steps]]\nname = 'third'", "steps", "'third' has no folder: make steps/third/instruction.md"),
]


@pytest.mark.parametrize(
    ("text", "key", "told"), BROKEN_CONFIGS, ids=[f"{key}-{told}" for _, key, told in BROKEN_CONFIGS]
)
def test_a_broken_config_is_told_in_one_line_that_names_its_key(stepped: Path, text: str, key: str, told: str) -> None:
    put(stepped / "task.toml", text)
    put(stepped / "instruction.md", "Do it.")
    with pytest.raises(TaskError) as caught:
        read_task(stepped)
    line = str(caught.value)
    assert line.startswith(f"{stepped}: task.toml: {key}")
    assert line[len(f"{stepped}: task.toml: {key}")] in " :[."  # this key and not one that begins like it
    assert told in line
    assert "\n" not in line
    assert "hunter2" not in line


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path: Path, to: str = "/etc/passwd") -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(to)


def lead_away(folder: Path) -> None:
    """Put the folder elsewhere, and a link to it in its place."""
    elsewhere = folder.rename(folder.parents[2] / "elsewhere")
    folder.symlink_to(elsewhere)


Change = Callable[[Path], object]
# What is done to the folder of several steps, the file at fault, and some of what is told about it.
BROKEN_FOLDERS: list[tuple[str, Change, str]] = [
    ("task.toml", lambda at: (at / "task.toml").unlink(), "is missing"),
    ("task.toml", lambda at: put(at / "task.toml", "= 3"), "is not TOML"),
    ("task.toml", lambda at: put(at / "task.toml", "a = " + "[" * 5000), "is not TOML"),
    ("task.toml", lambda at: put(at / "task.toml", b"\xff"), "save it as UTF-8"),
    ("task.toml", lambda at: link(at / "task.toml"), "is a link"),
    ("task.toml", lambda at: fifo(at / "task.toml"), "not a file"),
    ("instruction.md", lambda at: put(at / "task.toml", ""), "is missing"),
    ("instruction.md", lambda at: (put(at / "task.toml", ""), put(at / "instruction.md", " \n")), "is empty"),
    ("instruction.md", lambda at: (put(at / "task.toml", ""), link(at / "instruction.md")), "is a link"),
    ("environment/", lambda at: shutil.rmtree(at / "environment"), "environment.docker_image in task.toml"),
    ("environment/etc", lambda at: link(at / "environment/etc", "/etc"), "is a link"),
    ("environment/pipe", lambda at: fifo(at / "environment" / "pipe"), "not a file"),
    (r"environment/'a\nb'", lambda at: put(at / "environment" / "a\nb"), "rename it"),
    ("environment", lambda at: (shutil.rmtree(at / "environment"), (at / "environment").symlink_to("/etc")), "link"),
    ("tests", lambda at: (shutil.rmtree(at / "tests"), put(at / "tests")), "must be a folder"),
    ("tests/test.sh", lambda at: (put(at / "task.toml", ""), (at / "tests" / "test.sh").unlink()), "is missing"),
    ("tests/link.py", lambda at: link(at / "tests" / "link.py"), "is a link"),
    ("steps/first/tests/test.sh", lambda at: (at / "tests" / "test.sh").unlink(), "is missing"),
    ("steps/first/instruction.md", lambda at: (at / "steps/first/instruction.md").unlink(), "is missing"),
    ("steps/first/instruction.md", lambda at: put(at / "steps/first/instruction.md", ""), "is empty"),
    ("steps", lambda at: lead_away(at / "steps"), "is a link"),
    ("steps/first", lambda at: lead_away(at / "steps" / "first"), "is a link"),
    ("steps/first/solution/solve.sh", lambda at: put(at / "steps/first/solution/x"), "is missing"),
    ("steps/second/workdir/l", lambda at: link(at / "steps/second/workdir/l"), "is a link"),
    ("steps/second/trajectory.json", lambda at: put(at / "steps/second/trajectory.json", "{}"), "cannot be given"),
    ("trajectory.json", lambda at: put(at / "trajectory.json", "{}"), "cannot be given"),
    ("solution/solve.sh", lambda at: (at / "solution/solve.sh").rename(at / "solution/run.sh"), "is missing"),
    ("messes/notes.txt", lambda at: put(at / "messes/notes.txt"), "make a folder messes/<name>/"),
    ("messes/half/mess.toml", lambda at: (at / MESS_FILE).unlink(), "is missing"),
    ("messes/half/mess.toml", lambda at: put(at / MESS_FILE, "["), "is not TOML"),
    ("messes/half/mess.toml: description", lambda at: put(at / MESS_FILE, "by = 'x'"), "is missing"),
    ("messes/half/mess.toml: by", lambda at: put(at / MESS_FILE, "description = 'x'\nactions = []"), "hand"),
    ("messes/half/mess.toml: actions", lambda at: put(at / MESS_FILE, MESS.partition("[[")[0]), "[[actions]]"),
    ("messes/half/mess.toml: actions[0].tool", lambda at: put(at / MESS_FILE, MESS.replace('"bash"', "7")), "text"),
    (
        "messes/half/mess.toml: actions[0].arguments",
        lambda at: put(at / MESS_FILE, MESS.replace('{command = "true"}', '"true"')),
        "must be a table",
    ),
    (
        "messes/half/mess.toml: actions[0].argument ",
        lambda at: put(at / MESS_FILE, MESS.replace("arguments", "argument")),
        "Did you mean 'arguments'?",
    ),
    ("messes/half/recover.sh", lambda at: (at / "messes/half/recover.sh").unlink(), "is missing"),
    ("messes/half/recover.sh", lambda at: put(at / "messes/half/recover.sh", "\n"), "is empty"),
    ("messes/half/more.py", lambda at: put(at / "messes/half/more.py"), "does not belong here"),
    ("wrong/fix.py", lambda at: put(at / "wrong/fix.py"), "wrong/<name>.sh"),
    ("wrong/quick.sh", lambda at: put(at / "wrong/quick.sh", b"\xff\xfe"), "save it as UTF-8"),
    ("cheats/empty.sh", lambda at: put(at / "cheats/empty.sh", ""), "is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "told"), BROKEN_FOLDERS, ids=[f"{n}-{t}" for n, _, t in BROKEN_FOLDERS])
def test_a_broken_folder_is_told_in_one_line_that_names_the_file(
    stepped: Path, name: str, change: Change, told: str
) -> None:
    assert len(read_task(stepped).steps) == 2
    change(stepped)
    with pytest.raises(TaskError) as caught:
        read_task(stepped)
    line = str(caught.value)
    assert line.startswith(f"{stepped}: {name}")
    assert told in line
    assert "\n" not in line


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"there is no task folder at '.*/nowhere'"):
        read_task(tmp_path / "nowhere")


# ---- nothing is lost -------------------------------------------------------------------------------------------------

KEYS = st.from_regex(r"x_[a-z]{1,6}", fullmatch=True)  # no key of the format begins so
VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
UNKNOWN = st.dictionaries(KEYS, VALUES, max_size=3)


@settings(max_examples=40, deadline=None)
@given(st.tuples(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN))
def test_unknown_keys_come_back_from_every_table_as_they_were(unknown: tuple[dict[str, object], ...]) -> None:
    root, agent, world, step, check = unknown
    config = {
        **root,
        "schema_version": "1.4",
        "metadata": dict(root),
        "agent": {**agent, "timeout_sec": 3.0},
        "environment": {**world, "healthcheck": {**check, "command": "true"}},
        "steps": [{**step, "name": "one"}],
    }
    typed = TaskConfig.model_validate(upgraded(json.loads(json.dumps(config))))
    assert typed.model_dump(mode="json", exclude_unset=True) == config
    assert TaskConfig.model_validate_json(typed.model_dump_json()) == typed


PARTS = ["environment", "tests", "solution", "steps/second/workdir", "steps/second/tests", "steps/first/solution"]


@settings(max_examples=25, deadline=None)
@given(
    part=st.sampled_from(PARTS),
    name=st.from_regex(r"[a-z]{1,5}(/[a-z]{1,5})?", fullmatch=True),
    content=st.binary(max_size=20),
)
def test_the_digest_is_the_same_wherever_a_task_lies_and_another_with_any_file(
    tmp_path_factory: pytest.TempPathFactory, part: str, name: str, content: bytes
) -> None:
    base = tmp_path_factory.mktemp("digests")
    one = base / "one"
    put(one / "task.toml", STEPS)
    for step in ("first", "second"):
        put(one / "steps" / step / "instruction.md", step)
    for script in ("environment/a", "tests/test.sh", "solution/solve.sh", "steps/first/solution/solve.sh"):
        put(one / script)
    before = read_task(one).digest
    shutil.copytree(one, base / "elsewhere" / "other")
    assert read_task(base / "elsewhere" / "other").digest == before
    added = put(one / part / "added" / name, content)
    after = read_task(one).digest
    assert after != before
    added.write_bytes(content + b"!")
    assert read_task(one).digest not in (before, after)
    added.write_bytes(content)
    added.chmod(0o755)
    assert read_task(one).digest not in (before, after)


@pytest.mark.parametrize(
    "name",
    [
        "task.toml",
        "steps/first/instruction.md",
        "messes/half/mess.toml",
        "messes/half/recover.sh",
        "wrong/quick.sh",
        "cheats/reward.sh",
    ],
)
def test_the_digest_changes_with_every_file_that_is_run_or_judged_by(stepped: Path, name: str) -> None:
    before = read_task(stepped).digest
    text = (stepped / name).read_text()
    put(stepped / name, text.replace("half a", "whole").replace("0.5", "0.25") + "# more\n")
    if not name.endswith(".toml"):
        put(stepped / name, f"{text}more\n")
    assert read_task(stepped).digest != before


def test_a_file_of_a_task_that_looks_like_a_task_is_none(task: Path) -> None:
    put(task / "environment" / "task.toml", "")
    put(task.parent / "whole-b" / "task.toml", "")
    put(task.parent / "deep" / "er" / "task.toml", "")
    assert find_tasks(task.parent) == [task.parent / "deep" / "er", task, task.parent / "whole-b"]
    assert find_tasks(task) == [task]


def test_bytecode_and_what_lies_beside_the_parts_is_no_part_of_the_task(task: Path) -> None:
    before = read_task(task)
    put(task / "environment" / "src" / "__pycache__" / "code.pyc")
    put(task / "README.md", "About it.")
    assert read_task(task) == before


# ---- variables -------------------------------------------------------------------------------------------------------


def test_templates_take_their_values_from_outside_and_literals_stay() -> None:
    env = {"A": "${OUT}", "B": "${NOT_SET:-fall back}", "C": "${EMPTY:-unused}", "D": "x${OUT}", "E": "${NOT_SET:-}"}
    assert resolve_variables(env, {"OUT": "1", "EMPTY": ""}, "t") == {
        "A": "1", "B": "fall back", "C": "", "D": "x${OUT}", "E": "",
    }  # fmt: skip
    assert wanted_variables(env) == ("EMPTY", "NOT_SET", "OUT")


def test_a_variable_that_is_not_set_is_named_and_no_other_value_told() -> None:
    with pytest.raises(TaskError) as caught:
        resolve_variables({"A": "${HAVE}", "KEY": "${API_KEY}"}, {"HAVE": "hunter2"}, "task.toml: verifier.env")
    assert str(caught.value).startswith("task.toml: verifier.env.KEY needs the environment variable API_KEY")
    assert "hunter2" not in str(caught.value)


def test_a_secret_from_outside_is_in_no_record_of_the_task(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_TOKEN", "hunter2hunter2")
    read = read_task(task)
    assert resolve_variables(read.settings.verifier.env, os.environ, "v")["TOKEN"] == "hunter2hunter2"
    assert "hunter2" not in read.model_dump_json()


# ---- on the command line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("task.toml", "[agent]\ntimeout_sec = 'long'", "task.toml: agent.timeout_sec must be a number"),
        ("instruction.md", "", "instruction.md is empty"),
        ("messes/half/mess.toml", "by = 'hand'", "messes/half/mess.toml: description is missing"),
    ],
)
def test_the_command_line_tells_it_in_one_line_and_ends_with_2(
    task: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, told: str
) -> None:
    put(task / name, text)
    with pytest.raises(SystemExit) as ended:
        main(["task", "check", str(task)])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.count("\n") == 1
    assert said.startswith(f"agentdistill: {task}: {told}")
    assert "Traceback" not in said
