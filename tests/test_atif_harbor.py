"""Harbor's own models accept what we write and hand it back whole; what they write and refuse, we read and refuse.

They live in an environment of their own, which needs Python 3.12 or newer: `make harbor-env` makes it.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from atif_documents import BROKEN, VERSIONS, foreign
from traces import real, trajectory_of

from agentdistill.errors import UsageError
from agentdistill.formats.atif import read_atif, write_atif
from agentdistill.records import Message

pytestmark = pytest.mark.slow

PYTHON = Path(__file__).parent.parent / ".venv-harbor" / "bin" / "python"
ACCEPT = """
import json, sys
from harbor.models.trajectories import Trajectory
from harbor.utils.trajectory_validator import TrajectoryValidator
answers = []
for document in json.load(sys.stdin):
    validator = TrajectoryValidator()
    if validator.validate(document):
        answers.append({"valid": True, "document": Trajectory.model_validate(document).to_json_dict()})
    else:
        answers.append({"valid": False, "errors": validator.errors})
json.dump(answers, sys.stdout)
"""
WRITE = """
import json, sys
from typing import get_args
from harbor.models.trajectories import *

def document(version):
    look = ToolCall(tool_call_id="c1", function_name="run", arguments={"command": "ls", "deep": [{"a": None}]})
    asked = ToolCall(tool_call_id="c2", function_name="ask", arguments={})
    answers = [ObservationResult(source_call_id="c1", content=[ContentPart(type="text", text="a.py")])]
    steps = [
        Step(step_id=1, source="system", message="You mend things.", timestamp="2026-01-01T00:00:00Z"),
        Step(step_id=2, source="user", message=[ContentPart(type="text", text="Fix it.")]),
        Step(step_id=3, source="agent", message="From before.", is_copied_context=True),
        Step(step_id=4, source="agent", message="", reasoning_content="Where?", reasoning_effort=0.5, llm_call_count=2,
             model_name="big", tool_calls=[look, asked], observation=Observation(results=answers),
             metrics=Metrics(prompt_tokens=3, completion_tokens=2, cached_tokens=1, cost_usd=0.25,
                             prompt_token_ids=[1, 2, 3], completion_token_ids=[4, 5], logprobs=[-0.5, -1.0])),
        Step(step_id=5, source="system", message="", observation=Observation(results=[
            ObservationResult(content="Context was compacted.")])),
        Step(step_id=6, source="agent", message="Handing over.", llm_call_count=0),
        Step(step_id=7, source="agent", message="Done.", extra={"theirs": True}),
    ]
    if version >= "ATIF-v1.7":
        steps[3].observation.results.append(ObservationResult(source_call_id="c2", extra={"score": 1},
            subagent_trajectory_ref=[SubagentTrajectoryRef(trajectory_id="sub")]))
    function = {"name": "run", "description": "Run it.", "parameters": {"type": "object"}}
    return Trajectory(
        schema_version=version, session_id="run-1", steps=steps, notes="A note.", extra={"theirs": [1]},
        agent=Agent(name="someone", version="1", model_name="small",
                    tool_definitions=[{"type": "function", "function": function}]),
        final_metrics=FinalMetrics(total_prompt_tokens=3, total_steps=7),
        **({} if version < "ATIF-v1.7" else {"trajectory_id": "doc-1", "subagent_trajectories": [
            Trajectory(schema_version=version, trajectory_id="sub", agent=Agent(name="sub", version="1"),
                       steps=[Step(step_id=1, source="agent", message="Yes.")])]}),
    )

versions = get_args(Trajectory.model_fields["schema_version"].annotation)
whole = {version: document(version).to_json_dict() for version in versions}
nulls = {version: document(version).to_json_dict(exclude_none=False) for version in versions}
media = document("ATIF-v1.8")
media.steps[1].message = [ContentPart(type="audio", source=AudioSource(media_type="audio/wav", path="a.wav"))]
json.dump({"whole": whole, "nulls": nulls, "media": media.to_json_dict()}, sys.stdout)
"""


def in_harbor(script: str, told: object = None) -> Any:
    """What a script prints as JSON, run with Harbor's models; a test that asks is skipped without, but fails in CI."""
    if not PYTHON.exists():
        missing = "no Harbor here to hold documents against: make harbor-env"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    # Our own packages must not be found there, nor our secrets.
    done = subprocess.run(
        [PYTHON, "-I", "-c", script], input=json.dumps(told), capture_output=True, text=True, env={}, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_harbor_accepts_every_trace_of_ours_and_hands_it_back_whole():
    records = real()
    traces = {kind: trajectory_of(record) for kind, record in records.items()}
    documents = {kind: write_atif(record) for kind, record in records.items()}
    nothing = traces["errored"].model_copy(update={"id": "nothing", "steps": (), "opening": ()})
    odd = traces["after"].model_copy(
        update={
            "id": "odd",
            "opening": (
                Message(role="tool", content="nobody asked", tool_call_id="x"),
                Message(role="assistant", content="said before", reasoning="thought before"),
                Message(role="system", content="a late prompt"),
            ),
        }
    )
    for trace in (nothing, odd):
        traces[trace.id], documents[trace.id] = trace, write_atif(trace)
    answers = dict(zip(documents, in_harbor(ACCEPT, list(documents.values())), strict=True))
    assert {kind: each["errors"] for kind, each in answers.items() if not each["valid"]} == {}
    for kind, answer in answers.items():
        assert read_atif(answer["document"], kind) == traces[kind]


def test_harbor_accepts_the_traces_of_a_real_model_with_its_tokens():
    """One that has learnt nothing: its calls cannot be read, and its tokens are known."""
    from agentdistill_environments.depot import Depot
    from students import depot_tokenizer, play, untrained

    from agentdistill.policies.local import LocalPolicy, Sampling

    traces = play(Depot, LocalPolicy(untrained(), depot_tokenizer(), Sampling(max_new_tokens=12)), 2)
    documents = [write_atif(trace) for trace in traces]
    metrics = [step["metrics"] for document in documents for step in document["steps"] if "metrics" in step]
    assert metrics
    assert all(len(each["logprobs"]) == len(each["completion_token_ids"]) for each in metrics)
    answers = in_harbor(ACCEPT, documents)
    assert [read_atif(answer["document"]) for answer in answers] == traces


def test_what_harbor_writes_in_each_version_is_read():
    written = in_harbor(WRITE)
    assert list(written["whole"]) == VERSIONS
    for version in VERSIONS:
        trajectory = read_atif(written["whole"][version], version)
        assert read_atif(written["nulls"][version]).messages() == trajectory.messages()
        assert [(message.role, message.content) for message in trajectory.messages()][:4] == [
            ("system", "You mend things."),
            ("user", "Fix it."),
            ("assistant", "From before."),
            ("assistant", ""),
        ]
        assert len(trajectory.opening) == 3
        turn, last = trajectory.steps
        completion = turn.completion
        assert (completion.model, completion.context_ids, completion.token_ids) == ("big", (1, 2, 3), (4, 5))
        assert completion.logprobs == (-0.5, -1.0)
        assert completion.message.tool_calls[0].arguments == {"command": "ls", "deep": [{"a": None}]}
        heard = ["a.py", *([""] if version >= "ATIF-v1.7" else []), "Context was compacted.", "Handing over."]
        assert [message.content for message in turn.observations] == heard
        assert (last.completion.message.content, last.completion.model) == ("Done.", "small")
        assert [tool.name for tool in trajectory.tools] == ["run"]
        assert read_atif(write_atif(trajectory)) == trajectory
    with pytest.raises(UsageError, match=r"steps\.1\.message: part 0 is audio"):
        read_atif(written["media"])


def test_what_harbor_refuses_we_refuse_and_the_rest_is_what_we_cannot_hold():
    documents = {}
    for what, (spoil, _) in BROKEN.items():
        try:
            documents[what] = json.loads(json.dumps(spoil(copy.deepcopy(foreign())), allow_nan=False))
        except (ValueError, RecursionError):
            continue  # no JSON can say it
    answers = dict(zip(documents, in_harbor(ACCEPT, list(documents.values())), strict=True))
    ours_alone = {what for what, answer in answers.items() if answer["valid"]}
    told = {"an image", "sound in an observation", "a tool without a name", "no version"}
    assert {what for what in ours_alone if not what.startswith("ours")} == told


def test_documents_of_others_in_these_tests_are_such_as_harbor_accepts():
    answers = in_harbor(ACCEPT, [foreign(schema_version=version) for version in VERSIONS])
    assert [answer["valid"] for answer in answers] == [True] * len(VERSIONS)
