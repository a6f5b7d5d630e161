"""The suite fails what it ought to fail: a backend that isolates nothing, that hangs, that lies about its limits."""

import json
import os
import time

import pytest
from naked import NakedBackend

from agentdistill.cli import main
from agentdistill.errors import ConfigError, UnknownNameError, UsageError
from agentdistill.sandbox.loading import BackendSpec, read_options
from agentdistill.testing.sandboxes import CHECKS, Bench, check_sandboxes, run_check, suite, title_of
from agentdistill.testing.sandboxes.suite import choose, subject_of

NAKED = "naked:NakedBackend"
BY_SUBJECT = {subject: choose(CHECKS, [subject]) for subject in {subject_of(check) for check in CHECKS.values()}}
OUT = [name for subject in ("host_files", "network", "processes", "privileges") for name in BY_SUBJECT[subject]]
BOMBS = [name for subject in ("exhaustion", "disk") for name in BY_SUBJECT[subject]]
# A child of ours has no terminal for its input, and a machine without IPv6 or a home has nothing to reach.
NOTHING_TO_REACH = {"input_is_at_its_end"}


@pytest.fixture(scope="module")
def naked():
    bench = Bench(BackendSpec(NAKED))
    yield bench
    bench.close()


class Hanging(NakedBackend):
    def create(self, snapshot=None):
        if self.sandboxes:
            time.sleep(60)
        return super().create(snapshot)


class Crashing(NakedBackend):
    def create(self, snapshot=None):
        if self.sandboxes:
            raise ZeroDivisionError("no\nsandbox")
        return super().create(snapshot)


def typed(capsys, *arguments):
    code = 0
    try:
        main(list(arguments))
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("name", sorted(set(OUT) - NOTHING_TO_REACH))
def test_every_way_out_is_found_open_where_nothing_closes_it(naked, name):
    finding = run_check(name, CHECKS[name], naked)
    assert finding.status == "failed", finding.detail
    assert "nothing is shown" not in finding.detail
    assert "could not be" not in finding.detail


@pytest.mark.parametrize("name", BOMBS)
def test_nothing_is_exhausted_where_it_would_hurt_the_host(naked, name):
    finding = run_check(name, CHECKS[name], naked)
    assert finding.status == "failed"
    assert "not tried" in finding.detail


def test_every_check_has_a_title_that_is_a_sentence():
    for name, check in CHECKS.items():
        assert title_of(check).endswith("."), name


def test_a_gap_that_is_owned_up_to_is_told_by_its_own_words():
    gaps = {"host_home_cannot_be_read": "x", "tcp does not reach the host": "it has a network", "fork bomb": "no limit"}
    spec = BackendSpec(NAKED, {"gaps": gaps})
    names = ["tcp_does_not_reach_the_host", "fork_bomb_meets_the_limit", "udp_does_not_reach_the_host"]
    found = {each.name: each for each in check_sandboxes(spec, names)}
    assert found["tcp_does_not_reach_the_host"].status == "known_gap"
    assert found["tcp_does_not_reach_the_host"].detail.startswith("it has a network (")
    assert found["fork_bomb_meets_the_limit"].status == "known_gap"
    assert found["udp_does_not_reach_the_host"].status == "failed"


def test_a_gap_that_does_not_show_is_told_as_well():
    spec = BackendSpec(NAKED, {"gaps": {"input_is_at_its_end": "it reads"}})
    (finding,) = check_sandboxes(spec, ["input_is_at_its_end"])
    assert finding.status == "passed"
    assert "it held, although it is listed as a known gap (it reads)" in finding.detail


def test_a_gap_that_no_check_is_about_is_told_after_a_whole_run(monkeypatch):
    monkeypatch.setattr("agentdistill.testing.sandboxes.CHECKS", {})
    (finding,) = check_sandboxes(BackendSpec(NAKED, {"gaps": {"quantum": "it is not proof against that"}}))
    assert (finding.name, finding.status, finding.detail) == ("quantum", "known_gap", "it is not proof against that")


def test_what_a_backend_says_it_cannot_do_is_a_gap_and_not_a_failure():
    spec = BackendSpec(NAKED, {"limits_held": ()})
    found = list(check_sandboxes(spec, ["forks_do_not_see_each_other", "memory_bomb_meets_the_limit"]))
    assert [each.status for each in found] == ["known_gap", "known_gap"]
    assert "capabilities.snapshot" in found[0].detail
    assert "memory_bytes" in found[1].detail


def test_a_crash_of_the_backend_is_a_failed_check_in_one_line():
    (finding,) = check_sandboxes(BackendSpec("test_suite:Crashing"), ["what_is_written_is_read"])
    assert (finding.status, finding.detail) == ("failed", "ZeroDivisionError: no sandbox")


def test_a_check_that_hangs_has_failed_and_the_others_are_run(monkeypatch):
    monkeypatch.setattr(suite, "DEADLINE", 0.5)
    names = ["what_is_written_is_read", "closed_backend_closes_its_sandboxes"]
    first, second = check_sandboxes(BackendSpec("test_suite:Hanging"), names)
    assert (first.status, first.detail) == ("failed", "it did not end within 0.5 s")
    assert (second.name, second.status) == (names[1], "failed")


def test_a_subject_stands_for_all_its_checks():
    found = list(check_sandboxes(BackendSpec(NAKED), ["disk"]))
    assert {each.name for each in found} == set(BY_SUBJECT["disk"])


# ---- finding backends ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bubblewrapp", "Did you mean 'bubblewrap'"),
        ("no.such.module:Class", "no module 'no'"),
        ("naked:NakedBacken", "Did you mean 'NakedBackend'"),
        ("naked:NakedSandbox", "does not take folder="),
        ("agentdistill.records:Task", "does not take folder="),
    ],
)
def test_a_wrong_backend_is_told_in_one_line(name, told):
    with pytest.raises(UsageError, match=told) as caught:
        BackendSpec(name).make()
    assert "\n" not in str(caught.value)


def test_a_wrong_option_is_told_with_the_nearest_right_one():
    with pytest.raises(ConfigError, match="Did you mean 'limits_held'"):
        BackendSpec(NAKED, {"limit_held": ()}).make()
    with pytest.raises(ConfigError, match="no option 'folder'"):
        BackendSpec(NAKED, {"folder": "x"}).make()
    with pytest.raises(ConfigError, match="key=value"):
        read_options(["image"])


def test_options_are_read_as_what_they_are():
    assert read_options(["image=debian:12", "uid=2000", "keep=true", "a=b=c"]) == {
        "image": "debian:12", "uid": 2000, "keep": True, "a": "b=c",
    }  # fmt: skip


def test_an_installed_package_offers_a_backend_by_its_entry_point(tmp_path, monkeypatch):
    info = tmp_path / "offer-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offer\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[agentdistill.sandboxes]\noffered = naked:NakedBackend\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(BackendSpec("offered").make(), NakedBackend)
    with pytest.raises(UnknownNameError, match="Did you mean 'offered'"):
        BackendSpec("offred").make()


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_tells_each_finding_and_fails_if_one_does(capsys):
    which = ("--only", "file_can_be_made_executable", "--only", "network")
    code, out, _ = typed(capsys, "sandbox", "check", NAKED, *which, "--json")
    told = json.loads(out)
    assert told["backend"] == NAKED
    assert all(set(each) == {"name", "status", "detail"} for each in told["checks"])
    assert {each["status"] for each in told["checks"]} == {"failed"}
    assert code == 1


def test_the_command_passes_where_nothing_failed(capsys):
    code, out, _ = typed(capsys, "sandbox", "check", NAKED, "--only", "input_is_at_its_end")
    assert code == 0
    assert out.splitlines()[0].startswith("passed    input_is_at_its_end")
    assert out.splitlines()[-1] == "1 passed, 0 failed, 0 known gaps"


def test_the_command_takes_options_of_the_backend(capsys):
    options = ("--option", "limits_held=[]")
    code, out, _ = typed(capsys, "sandbox", "check", NAKED, "--only", "thread_bomb_meets_the_limit", *options)
    assert code == 0
    assert out.startswith("known_gap thread_bomb_meets_the_limit")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((NAKED, "--only", "input_is_at_its_en"), "Did you mean 'input_is_at_its_end'"),
        ((NAKED, "--option", "x"), "key=value"),
        (("dockr",), "Did you mean 'docker'"),
    ],
)
def test_a_wrong_name_ends_the_command_with_exit_code_2(capsys, arguments, told):
    code, out, err = typed(capsys, "sandbox", "check", *arguments)
    assert (code, out) == (2, "")
    assert told in err


def test_the_suite_leaves_nothing_on_the_host(naked):
    assert not [name for name in os.listdir(os.path.expanduser("~")) if name.startswith(".agentdistill-check")]
