"""The ledger of calls: written before it is used, never beyond the budget, nothing bought twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from endpoints import asked, client, echo
from hypothesis import given
from hypothesis import strategies as st

from agentdistill.errors import BudgetError, PolicyError, StoreError, UsageError
from agentdistill.ledger import FILE, Budget, CallLedger, Price, Usage
from agentdistill.testing import ChatServer
from agentdistill.testing.chat_server import PASSING

HERE = Path(__file__).parent


def rows(folder: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(folder / FILE) as connection:
        return connection.execute(
            "SELECT state, request, input_tokens, output_tokens FROM calls ORDER BY id"
        ).fetchall()


def test_a_call_is_on_disk_before_it_is_sent_and_again_before_its_answer_is_used(tmp_path):
    found = []

    def answer(request):
        found.extend(rows(tmp_path))
        return echo(request)

    with ChatServer(answer) as server, CallLedger(tmp_path) as ledger, client(server, ledger) as policy:
        (completion,) = policy.act(asked("hello"))
        after = rows(tmp_path)
    assert [each[0] for each in found] == ["reserved"]
    assert [each[0] for each in after] == ["answered"]
    assert after[0][2:] == (completion.input_tokens, completion.output_tokens)
    assert found[0][2] > completion.input_tokens
    assert found[0][3] == 1024


def test_the_same_again_costs_nothing_and_says_the_same(tmp_path):
    requests = asked(*(f"number {n}" for n in range(10)))
    with ChatServer(echo) as server:
        with CallLedger(tmp_path) as ledger, client(server, ledger) as policy:
            first = policy.act(requests)
        with CallLedger(tmp_path) as ledger, client(server, ledger) as policy:
            assert policy.act(requests) == first
            assert policy.caller.replayed == 10
            assert policy.act(asked("number 3", seed=7)) != []
        assert server.served.answers == 11


def test_the_same_request_twice_in_a_batch_is_bought_once():
    with ChatServer(echo, latency=0.05) as server, client(server) as policy:
        assert len({each.message.content for each in policy.act(asked("hello") * 12)}) == 1
        assert server.served.answers == 1


def test_ten_in_a_hundred_calls_failing_in_every_way_lose_nothing_and_double_nothing(tmp_path):
    requests = asked(*(f"number {n}" for n in range(300)))
    faults = {name: 0.1 / len(PASSING) for name in PASSING}
    with ChatServer(echo, faults=faults, seed=11) as server, CallLedger(tmp_path) as ledger:
        with client(server, ledger, timeout=3.0) as policy:
            said = policy.act(requests)
        assert [each.message.content for each in said] == [echo(each) for each in requests]
        served, totals = server.served, ledger.totals
        assert set(served.faults) == set(PASSING)
        assert set(served.requests.values()) == {1}
        assert totals.answered == served.answers == 300
        assert (totals.usage.input_tokens, totals.usage.output_tokens) == (served.input_tokens, served.output_tokens)
        assert sum(each.output_tokens for each in said) == served.output_tokens
        assert totals.lost_tokens >= served.lost_tokens
        assert totals.refused + totals.lost == served.faults.total()


# ---- budget ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [Budget(tokens=9_000), Budget(dollars=0.03)])
def test_a_budget_is_never_passed_however_many_ask_at_once(tmp_path, budget):
    price = Price(input=1.0, output=5.0)
    faults = {"cut": 0.05, "server_error": 0.05}
    with ChatServer(echo, faults=faults, latency=0.005) as server, CallLedger(tmp_path, budget) as ledger:
        policy = client(server, ledger, price=price, max_tokens=200, concurrency=16)
        with policy, pytest.raises(BudgetError, match="the budget is spent"):
            policy.act(asked(*(f"number {n}" for n in range(400))))
        totals = ledger.totals
        spent = server.served.input_tokens + server.served.output_tokens + server.served.lost_tokens
        assert 10 < totals.answered < 400
        if budget.tokens:
            used = totals.usage.input_tokens + totals.usage.output_tokens + totals.lost_tokens
            assert spent <= used <= budget.tokens
            assert used > budget.tokens * 0.5
        else:
            assert 0.015 < totals.dollars + totals.lost_dollars <= 0.03
            assert server.served.input_tokens * 1e-6 + server.served.output_tokens * 5e-6 == pytest.approx(
                totals.dollars
            )


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(tmp_path):
    requests = asked(*(f"number {n}" for n in range(30)))
    with ChatServer(echo) as server:
        with CallLedger(tmp_path, Budget(tokens=600)) as ledger, client(server, ledger, max_tokens=50) as policy:
            with pytest.raises(BudgetError):
                policy.act(requests)
            bought = ledger.totals.answered
        with CallLedger(tmp_path, Budget(tokens=100_000)) as ledger, client(server, ledger, max_tokens=50) as policy:
            policy.act(requests)
            assert policy.caller.replayed == bought > 0
        assert server.served.answers == 30


def test_a_budget_in_dollars_needs_a_price():
    with ChatServer(echo) as server, CallLedger(budget=Budget(dollars=1.0)) as ledger:
        with pytest.raises(UsageError, match="needs the price"):
            client(server, ledger)
        with pytest.raises(UsageError, match="needs the price"):
            ledger.reserve("r", "m", Usage(1, 1))


def test_a_call_that_only_others_in_flight_keep_from_the_budget_waits_for_them():
    ledger = CallLedger(budget=Budget(tokens=100))
    first = ledger.reserve("a", "m", Usage(50, 40))
    began = time.monotonic()
    threading.Timer(0.3, ledger.settle, (first, "{}", Usage(5, 5), 0.1)).start()
    second = ledger.reserve("b", "m", Usage(50, 40))
    assert time.monotonic() - began > 0.25
    ledger.fail(second, "gone", 0.1, billed=True)
    with pytest.raises(BudgetError):
        ledger.reserve("c", "m", Usage(1, 0))


def test_a_server_that_does_not_count_is_charged_the_worst(tmp_path):
    with ChatServer(echo, faults={"no_usage": 1.0}) as server, CallLedger(tmp_path) as ledger:
        with client(server, ledger, max_tokens=77) as policy:
            (completion,) = policy.act(asked("hello"))
        assert ledger.totals.usage.output_tokens == completion.output_tokens == 77


def test_costs_are_summed_exactly():
    price = Price(input=0.15, output=0.6, cached=0.0375)
    assert price.of(Usage(1000, 100, 400)) == 600 * 150_000 + 400 * 37_500 + 100 * 600_000
    ledger = CallLedger()
    for n in range(10):
        call = ledger.reserve(str(n), "m", Usage(1, 1), price)
        ledger.settle(call, "{}", Usage(1, 0), 0.0, price)
    assert ledger.totals.dollars == 10 * 150_000 / 10**12


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["settle", "lose", "refuse"])), max_size=40
    )
)
def test_no_sequence_of_calls_passes_the_budget(calls):
    with CallLedger(budget=Budget(tokens=200)) as ledger:
        for number, (read, written, end) in enumerate(calls):
            try:
                call = ledger.reserve(str(number), "m", Usage(read, written))
            except BudgetError:
                continue
            if end == "settle":
                ledger.settle(call, "{}", Usage(read // 2, written // 2), 0.0)
            else:
                ledger.fail(call, end, 0.0, billed=end == "lose")
        totals = ledger.totals
        assert totals.usage.input_tokens + totals.usage.output_tokens + totals.lost_tokens <= 200


# ---- killed, shared, broken ------------------------------------------------------------------------------------------


def test_a_kill_in_the_middle_and_the_same_again_buys_nothing_twice(tmp_path):
    """A process is killed three times while it buys; each answer that was written down is bought exactly once."""
    faults = {"server_error": 0.05, "cut": 0.03}
    with ChatServer(echo, faults=faults, latency=0.02, seed=3) as server:
        for kill_after in (15, 40, 70, None):
            child = subprocess.Popen([sys.executable, str(HERE / "buyer.py"), server.url, str(tmp_path / "ledger")])
            while kill_after is not None and server.served.answers < kill_after and child.poll() is None:
                time.sleep(0.005)
            if kill_after is not None:
                child.send_signal(signal.SIGKILL)
            code = child.wait(60)
            assert code == (0 if kill_after is None else -signal.SIGKILL)
        with CallLedger(tmp_path / "ledger") as ledger:
            totals = ledger.totals
        in_flight = 3 * 8
        assert totals.answered == 120
        assert 120 <= server.served.answers <= 120 + in_flight
        assert len(server.served.requests) == 120
        # What was served and never written down is covered by what counts as lost.
        beyond = server.served.input_tokens + server.served.output_tokens + server.served.lost_tokens
        assert beyond <= totals.usage.input_tokens + totals.usage.output_tokens + totals.lost_tokens


def test_what_a_killed_process_had_in_flight_counts_as_spent(tmp_path):
    with CallLedger(tmp_path) as ledger:
        ledger.reserve("a", "m", Usage(30, 20))
    with CallLedger(tmp_path, Budget(tokens=60)) as ledger:
        assert (ledger.totals.lost, ledger.totals.lost_tokens) == (1, 50)
        with pytest.raises(BudgetError, match="50 of 60 tokens"):
            ledger.reserve("b", "m", Usage(10, 10))


def test_two_processes_do_not_write_one_ledger(tmp_path):
    with CallLedger(tmp_path), pytest.raises(StoreError, match="another process"):
        CallLedger(tmp_path)


def test_a_file_of_somebody_else_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(StoreError, match="another program"):
        CallLedger(tmp_path)
    (tmp_path / "no").mkdir()
    (tmp_path / "no" / FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError) as caught:
        CallLedger(tmp_path / "no")
    assert "\n" not in str(caught.value)


def test_a_ledger_commits_through_to_the_disk(tmp_path):
    with CallLedger(tmp_path) as ledger:
        assert ledger._row("PRAGMA synchronous") == (2,)
        assert ledger._row("PRAGMA journal_mode") == ("wal",)


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_a_key_is_written_nowhere(tmp_path, monkeypatch):
    """Not where a server tells it back in an answer or an error, under whatever name the variable has."""
    key = "plain-words-are-a-secret-too"
    monkeypatch.setenv("MY_CREDENTIAL", key)
    server, ledger = ChatServer(lambda _: f"your key is {key}", key=key), CallLedger(tmp_path)
    with server, ledger, client(server, ledger, api_key_env="MY_CREDENTIAL", token_ids=True, logprobs="raw") as policy:
        (completion,) = policy.act(asked("what is my key?"))
        assert completion.message.content == "your key is [redacted:MY_CREDENTIAL]"
        assert completion.token_ids == completion.logprobs == ()
        server.key = "another"
        with pytest.raises(PolicyError) as caught:
            policy.act(asked("and now?"))
        assert key not in str(caught.value)
        assert "HTTP 401" in str(caught.value)
        assert key not in repr(policy.config) + repr(vars(policy))
    for path in tmp_path.iterdir():
        assert key.encode() not in path.read_bytes(), path


def test_what_is_answered_is_json_again(tmp_path):
    server, ledger = ChatServer(["half \\ud800 and \x00 and \U0001f600"]), CallLedger(tmp_path)
    with server, ledger, client(server, ledger) as policy:
        (completion,) = policy.act(asked("hello"))
    assert "\U0001f600" in completion.message.content
    ((answer,),) = sqlite3.connect(tmp_path / FILE).execute("SELECT answer FROM calls").fetchall()
    assert json.loads(answer)["choices"]
    assert os.path.exists(tmp_path / FILE)


def test_ctrl_c_ends_a_batch_at_once_and_leaves_what_was_in_flight_in_the_books(tmp_path):
    script = (
        "import sys; from endpoints import *; from pathlib import Path\n"
        "config = EndpointConfig(url=sys.argv[1], model='fake', timeout=60)\n"
        "with CallLedger(Path(sys.argv[2])) as ledger, EndpointPolicy(config, ledger) as policy:\n"
        "    policy.act(asked(*(f'number {n}' for n in range(40))))\n"
    )
    with ChatServer(echo, latency=20.0) as server:
        command = [sys.executable, "-c", script, server.url, str(tmp_path)]
        child = subprocess.Popen(command, cwd=HERE, stderr=subprocess.PIPE)
        while server.served.peak < 8 and child.poll() is None:
            time.sleep(0.01)
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=30)
        assert time.monotonic() - began < 10
        assert b"KeyboardInterrupt" in err
        assert server.served.peak == 8
    with CallLedger(tmp_path) as ledger:
        assert (ledger.totals.answered, ledger.totals.lost) == (0, 8)
