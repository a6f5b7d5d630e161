"""The run store: what is committed stays, nothing is doubled, and secrets never get in."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdistill.errors import StoreError
from agentdistill.records import (
    Completion,
    Divergence,
    Message,
    Recovery,
    Snapshot,
    Step,
    Task,
    ToolCall,
    Trajectory,
    Verdict,
)
from agentdistill.redaction import redact, redact_json
from agentdistill.store import FILE, EpisodeKey, LedgerEntry, RunStore

CONFIG = {"seed": 1, "student": {"layers": 2}}


def a_trajectory(name: str = "t", *, ending: str = "submitted", passed: bool = True, said: str = "done") -> Trajectory:
    call = ToolCall(id="c", name="read", arguments={"path": "main.py"})
    completion = Completion(
        message=Message(role="assistant", content=said, tool_calls=(call,)),
        token_ids=(1, 2, 3),
        logprobs=(-0.5, -1, -2),
    )
    observation = Message(role="tool", content="text\n" * 20, tool_call_id="c", name="read")
    step = Step(actor="student", completion=completion, observations=(observation,), snapshot=Snapshot(state={"n": 1}))
    return Trajectory(
        id=name,
        task=Task(id=name, environment="counter", instruction="Count."),
        policy="student",
        seed=7,
        opening=(Message(role="user", content="Count."),),
        steps=(step,) * 5,
        ending=ending,
        verdict=None if ending == "infrastructure_error" else Verdict(passed=passed, score=float(passed)),
    )


def a_key(
    task: str = "t", attempt: int = 0, *, stage: str = "explore", arm: str = "base", round: int = 0
) -> EpisodeKey:
    return EpisodeKey(stage=stage, arm=arm, round=round, task_id=task, attempt=attempt)


@pytest.fixture
def store(tmp_path):
    with RunStore.resume(tmp_path / "run", CONFIG) as opened:
        yield opened


def raw(store: RunStore) -> sqlite3.Connection:
    return sqlite3.connect(store.folder / FILE, isolation_level=None)


# ---- keeping and finding ---------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=()), max_size=20)


@given(
    episodes=st.dictionaries(
        st.tuples(st.sampled_from(["explore", "probe"]), st.sampled_from(["a", "b"]), st.integers(0, 2), texts),
        st.tuples(st.sampled_from(["submitted", "step_limit"]), st.booleans(), st.text(max_size=20)),
        max_size=12,
    )
)
def test_episodes_come_back_as_they_were_once_each_and_in_one_order(tmp_path_factory, episodes):
    saved = {
        EpisodeKey(stage=stage, arm=arm, round=round, task_id=task, attempt=0): a_trajectory(
            ending=ending, passed=passed, said=said
        )
        for (stage, arm, round, task), (ending, passed, said) in episodes.items()
        if task.isascii()
    }
    folder = tmp_path_factory.mktemp("run")
    with RunStore.resume(folder, CONFIG) as store:
        store.save_trajectories(saved.items())
        store.save_trajectories(reversed(list(saved.items())))
        found = list(store.trajectories())
        assert dict(found) == saved
        assert len(found) == len(saved)
        for stage, arm, round in {(key.stage, key.arm, key.round) for key in saved}:
            chosen = {key: each for key, each in found if (key.stage, key.arm, key.round) == (stage, arm, round)}
            assert dict(store.trajectories(stage=stage, arm=arm, round=round)) == chosen
            assert store.known_keys(stage, arm, round) == {str(key) for key in chosen}
    with RunStore.resume(folder, CONFIG) as again:
        assert list(again.trajectories()) == found


part = st.text("ab/0", min_size=1, max_size=4)


@given(first=st.tuples(part, part, st.integers(0, 9), part), second=st.tuples(part, part, st.integers(0, 9), part))
def test_different_episodes_never_share_a_key(first, second):
    keys = []
    for stage, arm, round, task in (first, second):
        keys.append(EpisodeKey(stage=stage.replace("/", "-"), arm=arm.replace("/", "-"), round=round, task_id=task))
    assert (str(keys[0]) == str(keys[1])) == (keys[0] == keys[1])


@given(text=texts)
def test_whatever_a_model_says_can_be_kept(tmp_path_factory, text):
    with RunStore.resume(tmp_path_factory.mktemp("run"), CONFIG) as store:
        store.save_trajectory(a_key(), a_trajectory(said=text))
        ((_, kept),) = store.trajectories()
        expected = "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
        assert kept == a_trajectory(said=expected)


def test_more_episodes_than_one_page_come_back_in_the_order_of_their_keys(store):
    keys = [a_key(f"task-{number:03}") for number in range(200)]
    store.save_trajectories((key, a_trajectory(key.task_id)) for key in reversed(keys))
    assert [key for key, _ in store.trajectories(stage="explore")] == keys


def test_an_episode_is_never_overwritten_by_another_and_a_refused_batch_leaves_nothing(store):
    store.save_trajectory(a_key("one"), a_trajectory("one"))
    with pytest.raises(StoreError, match=r"explore/base/0/one/0 is saved already"):
        store.save_trajectories(
            [(a_key("two"), a_trajectory("two")), (a_key("one"), a_trajectory("one", passed=False))]
        )
    assert [key.task_id for key, _ in store.trajectories()] == ["one"]


def test_the_retry_of_an_infrastructure_error_takes_its_place(store):
    store.save_trajectory(a_key(), a_trajectory(ending="infrastructure_error"))
    assert store.known_keys("explore", "base", 0) == {str(a_key())}
    assert store.known_keys("explore", "base", 0, errored=False) == set()
    store.save_trajectory(a_key(), a_trajectory())
    assert [each.ending for _, each in store.trajectories()] == ["submitted"]
    assert store.known_keys("explore", "base", 0, errored=False) == {str(a_key())}


def test_takeovers_are_kept_beside_episodes(store):
    divergence = Divergence(trajectory_id="t", step=2, reason="first tool error", detector="tool-error")
    recovery = Recovery(divergence=divergence, trajectory=a_trajectory(), teacher_tokens=40)
    store.save_recovery(a_key(stage="takeover"), recovery)
    assert list(store.recoveries(arm="base")) == [(a_key(stage="takeover"), recovery)]
    assert list(store.trajectories()) == []
    assert store.known_keys("takeover", "base", 0, kind="recoveries") == {str(a_key(stage="takeover"))}


def test_the_last_result_under_a_name_stands(store):
    assert store.result("evaluation/base") is None
    store.put_result("evaluation/base", {"rate": 0.25})
    store.put_result("evaluation/base", {"rate": 0.5})
    store.put_result("training/base", [1.5, 1.25])
    assert store.result("evaluation/base") == {"rate": 0.5}
    assert store.results() == {"evaluation/base": {"rate": 0.5}, "training/base": [1.5, 1.25]}
    with pytest.raises(ValueError, match="JSON compliant"):
        store.put_result("loss", float("nan"))


# ---- the teacher's ledger --------------------------------------------------------------------------------------------


def an_entry(
    arm: str = "recovery", *, tokens: int = 10, key: str | None = None, accepted: bool | None = None
) -> LedgerEntry:
    return LedgerEntry(
        arm=arm, round=0, stage="takeover", policy="teacher", purpose="takeover",
        input_tokens=3 * tokens, output_tokens=tokens, accepted=accepted, key=key,
    )  # fmt: skip


def test_what_was_bought_counts_accepted_or_not(store):
    store.ledger_add(an_entry(accepted=True), an_entry(accepted=False), an_entry("clean", tokens=7))
    assert store.teacher_tokens("recovery").output == 20
    assert store.teacher_tokens("recovery").input == 60
    assert store.teacher_tokens().output == 27
    assert store.teacher_tokens("base").output == 0


@given(times=st.integers(1, 4), tokens=st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_work_entered_again_counts_once_but_work_bought_at_another_length_counts(tmp_path_factory, times, tokens):
    with RunStore.resume(tmp_path_factory.mktemp("run"), CONFIG) as store:
        for _ in range(times):
            for each in tokens:
                store.ledger_add(an_entry(tokens=each, key="takeover/t/0"))
        assert store.teacher_tokens("recovery").output == sum(set(tokens))


def test_whether_an_answer_was_accepted_may_be_entered_later(store):
    store.ledger_add(an_entry(key="takeover/t/0"))
    store.ledger_add(an_entry(key="takeover/t/0", accepted=True))
    assert raw(store).execute("SELECT accepted, output_tokens FROM ledger").fetchall() == [(1, 10)]


# ---- whose run it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"seed": 2, "student": {"layers": 2}}, "made with seed = 1, and now it is 2"),
        ({"seed": 1, "student": {"layers": 4}}, "made with student.layers = 2, and now it is 4"),
        ({"seed": 1, "student": {"layers": 2}, "arms": []}, "made with arms = not set, and now it is []"),
        ({"student": {"layers": 2}}, "made with seed = 1, and now it is not set"),
    ],
)
def test_another_configuration_is_refused_by_its_first_different_key(tmp_path, config, line):
    RunStore.resume(tmp_path, CONFIG).close()
    with pytest.raises(StoreError) as refusal:
        RunStore.resume(tmp_path, config)
    assert line in str(refusal.value)
    assert "choose another folder, or delete this one" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with RunStore.resume(tmp_path, dict(reversed(CONFIG.items()))) as store:
        assert store.config == CONFIG


def test_a_folder_that_is_no_run_is_refused_and_left_alone(tmp_path):
    for way in (RunStore.open, RunStore.read):
        with pytest.raises(StoreError, match="is not the folder of a run"):
            way(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path, content):
    if content is None:
        with sqlite3.connect(tmp_path / FILE) as other:
            other.execute("CREATE TABLE notes (text)")
    else:
        (tmp_path / FILE).write_bytes(content)
    before = (tmp_path / FILE).read_bytes()
    for way in (RunStore.read, lambda folder: RunStore.resume(folder, CONFIG)):
        with pytest.raises(StoreError) as refusal:
            way(tmp_path)
        assert str(tmp_path) in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_store_of_another_version_is_refused(tmp_path):
    RunStore.resume(tmp_path, CONFIG).close()
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="another version of agentdistill"):
        RunStore.resume(tmp_path, CONFIG)


def test_a_run_killed_before_its_first_commit_can_be_started_again(tmp_path):
    sqlite3.connect(tmp_path / FILE).execute("PRAGMA journal_mode = WAL").close()
    with pytest.raises(StoreError, match="is not the folder of a run"):
        RunStore.read(tmp_path)
    with RunStore.resume(tmp_path, CONFIG) as store:
        assert store.config == CONFIG


def test_the_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "a run? #1 100% ümlaut"
    RunStore.resume(folder, CONFIG).close()
    assert RunStore.read(folder).config == CONFIG


# ---- several at once -------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_a_reader_is_not(store):
    with pytest.raises(StoreError, match=rf"another process \(pid {os.getpid()}\) is writing the run"):
        RunStore.resume(store.folder, CONFIG)
    script = (
        f"from pathlib import Path; from agentdistill.store import RunStore; RunStore.open(Path({str(store.folder)!r}))"
    )
    refused = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert refused.returncode != 0
    assert "is writing the run" in refused.stderr
    with RunStore.read(store.folder) as reader:
        assert list(reader.trajectories()) == []
        store.save_trajectory(a_key(), a_trajectory())
        assert list(reader.trajectories()) == [(a_key(), a_trajectory())]
        with pytest.raises(StoreError, match="open for reading only"):
            reader.save_trajectory(a_key("other"), a_trajectory())


def test_the_lock_goes_with_the_store(tmp_path):
    for _ in range(3):
        with RunStore.resume(tmp_path, CONFIG) as store:
            store.close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(StoreError):
            RunStore.resume(tmp_path, {"seed": 5})
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_threads_save_and_read_at_once(store):
    def work(number: int) -> None:
        for attempt in range(10):
            store.save_trajectory(a_key(f"task-{number}", attempt), a_trajectory())
            store.ledger_add(an_entry(tokens=1))
            assert sum(1 for _ in store.trajectories()) >= attempt

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key for key, _ in store.trajectories()}) == 80
    assert store.teacher_tokens().output == 80


WRITER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_store import CONFIG, a_key, a_trajectory, an_entry
    from agentdistill.store import RunStore

    with RunStore.resume(Path({folder!r}), CONFIG) as store:
        known = store.known_keys("explore", "base", 0)
        for number in range({count}):
            key = a_key(f"task-{{number:05}}")
            if str(key) not in known:
                store.ledger_add(an_entry(tokens=1, key=str(key)))
                store.save_trajectory(key, a_trajectory(key.task_id))
                print(key.task_id, flush=True)
"""


def test_killed_in_the_middle_of_writing_it_loses_and_doubles_nothing(tmp_path):
    count = 400
    script = textwrap.dedent(WRITER.format(tests=str(Path(__file__).parent), folder=str(tmp_path), count=count))
    told: list[str] = []
    for kill_after in (0, 1, 37, 90, None):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = iter(child.stdout.readline, "")
            if kill_after is not None:
                told += [next(lines).strip() for _ in range(kill_after)]
                time.sleep(0.0 if kill_after else 0.4)
                child.send_signal(signal.SIGKILL)
            told += [line.strip() for line in lines if line.endswith("\n")]
            assert child.wait() == (0 if kill_after is None else -signal.SIGKILL)
        if told:
            # What was told to the world is there at once: nobody repairs anything first.
            with RunStore.read(tmp_path) as reader:
                assert set(told) <= {key.task_id for key, _ in reader.trajectories()}
    # A kill may fall between the commit and the telling, so the told may be fewer, but never told twice.
    assert len(told) == len(set(told))
    with RunStore.resume(tmp_path, CONFIG) as store:
        names = [f"task-{number:05}" for number in range(count)]
        assert list(store.trajectories()) == [(a_key(name), a_trajectory(name)) for name in names]
        assert store.teacher_tokens("recovery").output == count
        assert store.quarantined == 0


# ---- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ['\'{"id": "t", "ta\'', "'{}'", "x'ff00'", "'null'", "''"])
def test_a_row_that_cannot_be_read_is_put_aside_and_counted(tmp_path, damage):
    with RunStore.resume(tmp_path, CONFIG) as store:
        store.save_trajectories((a_key(f"task-{number}"), a_trajectory(f"task-{number}")) for number in range(3))
        raw(store).execute(f"UPDATE trajectories SET record = {damage} WHERE task_id = 'task-1'")
        with RunStore.read(tmp_path) as reader:
            assert [key.task_id for key, _ in reader.trajectories()] == ["task-0", "task-2"]
            list(reader.trajectories())
            assert reader.quarantined == 1
        assert [key.task_id for key, _ in store.trajectories()] == ["task-0", "task-2"]
        assert store.quarantined == 1
        # The key is free again: a resumed run does the episode once more.
        assert len(store.known_keys("explore", "base", 0)) == 2
        store.save_trajectory(a_key("task-1"), a_trajectory("task-1"))
        assert len(list(store.trajectories())) == 3
        assert raw(store).execute("SELECT origin, key FROM quarantine").fetchall() == [
            ("trajectories", "explore/base/0/task-1/0")
        ]


def test_a_torn_row_counts_as_not_done_as_soon_as_the_run_is_opened(tmp_path):
    with RunStore.resume(tmp_path, CONFIG) as store:
        store.save_trajectory(a_key(), a_trajectory())
        raw(store).execute("UPDATE trajectories SET record = substr(record, 1, 50)")
    with RunStore.resume(tmp_path, CONFIG) as store:
        assert store.known_keys("explore", "base", 0) == set()
        assert store.quarantined == 1


def test_a_torn_result_counts_as_not_there(store):
    store.put_result("stage", {"done": True})
    raw(store).execute("UPDATE results SET value = '{\"do'")
    assert store.result("stage") is None
    assert store.quarantined == 1


# ---- secrets ---------------------------------------------------------------------------------------------------------

FAKE_KEYS = ["sk-" + "Ab3" * 10, "sk-proj-" + "x_9" * 9, "hf_" + "Zq7" * 8, "ghp_" + "A1b2" * 9, "AKIA" + "Q2" * 8]


@pytest.mark.parametrize("key", FAKE_KEYS)
def test_what_looks_like_a_key_is_redacted(key):
    assert key not in redact(f"the key is {key}.")
    assert redact(f"the key is {key}.").startswith("the key is [redacted:")


@pytest.mark.parametrize(
    "text", ["task-oriented-dialogue-state-tracking-2", "sk-learn", "half_hf_", "risk-assessment-of-2020-models"]
)
def test_words_that_only_resemble_a_key_stay(text):
    assert redact(text) == text


def test_short_values_and_other_variables_are_no_secrets(monkeypatch):
    monkeypatch.setenv("SHORT_KEY", "abc1234")
    monkeypatch.setenv("KEYBOARD", "qwertz-layout")
    assert redact("abc1234 qwertz-layout") == "abc1234 qwertz-layout"


def test_a_secret_inside_another_is_redacted_with_it(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "correct-horse")
    monkeypatch.setenv("B_PASSWORD", "correct-horse-battery")
    assert redact("it is correct-horse-battery") == "it is [redacted:B_PASSWORD]"


def test_no_secret_reaches_the_disk(tmp_path, monkeypatch):
    secret = 'pa"ss\\wörd\n-of-the-house'
    monkeypatch.setenv("HOUSE_PASSWORD", secret)
    monkeypatch.setenv("NUMBER_TOKEN", "12345678")
    monkeypatch.setenv("ESCAPE_SECRET", "nuclear-code")
    said = f"{secret} and {FAKE_KEYS[0]}\n{FAKE_KEYS[2]}\nuclear-code nuclear-code"
    with RunStore.resume(tmp_path, {"seed": 12345678, "endpoint": {"key": secret}}) as store:
        store.save_trajectory(a_key(), a_trajectory(said=said).model_copy(update={"seed": 12345678, "error": said}))
        store.put_result("log", {"said": said, secret: 1})
        store.ledger_add(an_entry().model_copy(update={"purpose": said}))
        ((_, kept),) = store.trajectories()
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for hidden in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], *FAKE_KEYS):
        assert hidden.encode() not in on_disk
    completion = kept.steps[0].completion
    assert completion.message.content == (
        "[redacted:HOUSE_PASSWORD] and [redacted:sk-key]\n[redacted:hf-token]\nuclear-code [redacted:ESCAPE_SECRET]"
    )
    assert kept.seed == 12345678
    # The ids spell what the text no longer says.
    assert completion.token_ids == ()
    assert completion.logprobs == ()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_redaction_leaves_everything_else_as_it_was(value):
    text = json.dumps(value)
    assert redact_json(text) is text


@given(before=st.text(), after=st.text())
def test_a_secret_is_found_between_any_neighbours(before, after):
    hidden = "Zb#9\"\\'é-secret"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_SECRET", hidden)
        clean = redact_json(json.dumps([before + hidden + after]))
    assert hidden not in json.loads(clean)[0]


def test_a_secret_that_is_a_word_of_the_records_is_refused_in_one_line(store, monkeypatch):
    monkeypatch.setenv("BAD_PASSWORD", "submitted")
    with pytest.raises(StoreError, match="a secret in the environment is a word that records are made of"):
        store.save_trajectory(a_key(), a_trajectory())


# ---- metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_are_kept_by_stage_and_step(tmp_path):
    with RunStore.resume(tmp_path, CONFIG) as store:
        for step in (1, 2):
            store.put_metrics("base/0", step, {"loss": 1.0 / step})
        store.put_metrics("arm/1", 1, {"loss": 3.0})
    with RunStore.read(tmp_path) as store:
        wanted = {"arm/1": [{"step": 1, "loss": 3.0}], "base/0": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]}
        assert store.metrics() == wanted


def test_a_step_that_is_done_again_replaces_itself_and_all_that_came_after(tmp_path):
    with RunStore.resume(tmp_path, CONFIG) as store:
        for step in range(1, 6):
            store.put_metrics("train", step, {"loss": 1.0})
        store.put_metrics("train", 3, {"loss": 2.0})
        assert [(each["step"], each["loss"]) for each in store.metrics()["train"]] == [(1, 1.0), (2, 1.0), (3, 2.0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_kept_as_null(tmp_path, value):
    with RunStore.resume(tmp_path, CONFIG) as store:
        store.put_metrics("train", 1, {"loss": value})
        assert store.metrics() == {"train": [{"step": 1, "loss": None}]}


def test_a_run_from_before_there_were_metrics_is_read_and_gone_on_with(tmp_path):
    with RunStore.resume(tmp_path, CONFIG) as store:
        store.put_result("one", 1)
    with RunStore.read(tmp_path) as store:
        assert store.metrics() == {}
    with RunStore.resume(tmp_path, CONFIG) as store:
        store.put_metrics("train", 1, {"loss": 1.0})
        assert store.result("one") == 1
        assert len(store.metrics()["train"]) == 1
