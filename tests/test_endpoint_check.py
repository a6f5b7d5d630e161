"""`agentdistill endpoint check` and `doctor`: what a server and a machine can do, and how to mend what they cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from endpoints import calling

from agentdistill.cli import main
from agentdistill.policies import Request
from agentdistill.records import Message
from agentdistill.testing import ChatServer
from agentdistill.testing.endpoints import CODE_WORD

ALL = {
    "answers",
    "token counts",
    "one tool call",
    "parallel tool calls",
    "long prompt",
    "log-probabilities",
    "token ids",
    "log-probabilities of given tokens",
}


def capable(request: Request) -> Message | str:
    """What an able model says to each question of the check."""
    text = request.messages[-1].content
    if CODE_WORD in text:
        return CODE_WORD
    if request.tools:
        return calling("door", "window") if "twice" in text else calling("door")
    return "ready"


def writing_calls(request: Request) -> str:
    """A model that calls tools behind a server that does not read its calls."""
    if "look" in request.messages[-1].content:
        return '<tool_call>{"name": "look", "arguments": {"at": "door"}}</tool_call>'
    return "ready"


def scores(ids: list[int]) -> list[float]:
    return [-1.0] * len(ids)


def typed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(each) for each in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


def checked(capsys: pytest.CaptureFixture[str], server: ChatServer, *more: object) -> tuple[int, dict[str, Any], Any]:
    code, out, err = typed(capsys, "endpoint", "check", server.url, "--json", "--timeout", 5, *more)
    assert err == ""
    found = json.loads(out)
    return code, {each["name"]: each for each in found["probes"]}, found["settings"]


def test_an_able_server_passes_and_its_settings_are_told(capsys):
    with ChatServer(capable, model="able", score=scores) as server:
        code, probes, settings = checked(capsys, server)
        assert settings == {
            "url": server.url,
            "model": "able",
            "token_ids": True,
            "logprobs": "raw",
            "scoring": "prompt_logprobs",
        }
    assert code == 0
    assert probes.keys() == ALL
    assert {each["status"] for each in probes.values()} == {"works"}


def test_a_server_that_takes_calls_for_text_is_told_its_flag(capsys):
    with ChatServer(writing_calls, gives=()) as server:
        code, probes, settings = checked(capsys, server)
    assert code == 1
    assert probes["one tool call"]["status"] == "failed"
    assert "--enable-auto-tool-choice --tool-call-parser" in probes["one tool call"]["mend"]
    assert {name for name, each in probes.items() if each["status"] == "missing"} == {
        "parallel tool calls",
        "log-probabilities",
        "token ids",
        "log-probabilities of given tokens",
    }
    assert all(each["mend"] for each in probes.values() if each["status"] != "works")
    assert settings.keys() == {"url", "model"}


def test_a_server_that_cuts_long_prompts_in_silence_fails(capsys):
    with ChatServer(capable, context=2048, cuts=True) as server:
        code, probes, _ = checked(capsys, server)
    assert code == 1
    assert probes["long prompt"]["status"] == "failed"
    assert "CUT: 6000 words were sent, 2048 tokens were read" in probes["long prompt"]["detail"]
    assert "OLLAMA_CONTEXT_LENGTH" in probes["long prompt"]["mend"]


def test_a_server_that_refuses_long_prompts_is_no_failure(capsys):
    with ChatServer(capable, context=2048) as server:
        code, probes, _ = checked(capsys, server)
        assert (code, probes["long prompt"]["status"]) == (0, "missing")
        assert checked(capsys, server, "--words", 500)[1]["long prompt"]["status"] == "works"


def test_a_strict_server_that_refuses_what_it_does_not_know_is_told_apart(capsys):
    with ChatServer(capable, gives=("tools",), strict=True) as server:
        code, probes, _ = checked(capsys, server)
    assert code == 0
    assert probes["log-probabilities"]["status"] == probes["token ids"]["status"] == "missing"
    assert "HTTP 422" in probes["token ids"]["detail"]


def test_a_table_is_printed_for_people(capsys):
    with ChatServer(capable, score=scores) as server:
        code, out, _ = typed(capsys, "endpoint", "check", server.url)
    assert code == 0
    assert "parallel tool calls" in out.replace("\n", " ")
    assert "settings for this server: url = " in out


def test_a_server_that_is_not_there_is_one_line(capsys):
    with ChatServer(capable) as server:
        url = server.url
    code, out, err = typed(capsys, "endpoint", "check", url)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "lists no models" in err
    code, out, err = typed(capsys, "endpoint", "check", url, "--model", "m", "--timeout", 1)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no connection" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(("nonsense",), "no address"), (("http://x/v1", "--api-key-env", "NOT_SET_KEY"), "NOT_SET_KEY")],
)
def test_a_wrong_argument_is_one_line(capsys, arguments, expected):
    code, out, err = typed(capsys, "endpoint", "check", *arguments, "--model", "m")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert expected in err


def test_a_key_is_used_and_never_shown(capsys, monkeypatch):
    monkeypatch.setenv("CHECK_KEY", "a-key-that-nobody-sees")
    with ChatServer(capable, key="a-key-that-nobody-sees", score=scores) as server:
        code, out, err = typed(capsys, "endpoint", "check", server.url, "--api-key-env", "CHECK_KEY", "--json")
        assert code == 0
        server.key = "another"
        wrong = typed(capsys, "endpoint", "check", server.url, "--api-key-env", "CHECK_KEY", "--model", "m")
    assert wrong[0] == 1
    assert "is the key in CHECK_KEY right?" in wrong[2]
    assert "nobody-sees" not in out + err + wrong[1] + wrong[2]


# ---- doctor ----------------------------------------------------------------------------------------------------------


def test_the_machine_is_looked_at_and_keys_are_never_shown(capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-this-is-never-printed-0123456789")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    code, out, _ = typed(capsys, "doctor", "--json")
    assert "never-printed" not in out
    found = {each["name"]: each for each in json.loads(out)["findings"]}
    assert found.keys() >= {"python", "transformers", "torch", "bubblewrap", "control groups", "docker", "disk"}
    assert (found["OPENAI_API_KEY"]["status"], found["OPENAI_API_KEY"]["detail"]) == ("ok", "set")
    assert found["HF_TOKEN"]["status"] == "missing"
    assert code == (1 if any(each["status"] == "failed" for each in found.values()) else 0)
    assert all(each["mend"] for each in found.values() if each["status"] != "ok")


def test_a_key_that_a_run_needs_and_that_is_not_set_fails(capsys, monkeypatch):
    monkeypatch.delenv("A_NEEDED_KEY", raising=False)
    code, out, _ = typed(capsys, "doctor", "--key", "A_NEEDED_KEY")
    assert code == 1
    assert "export A_NEEDED_KEY=" in out
    assert all(len(line) > 10 for line in out.splitlines())
