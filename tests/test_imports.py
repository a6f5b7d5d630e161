"""Importing the library costs little: what is heavy is loaded by the rooms that need it, when they are used."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "tokenizers", "docker", "httpx", "gymnasium", "numpy", "pydantic", "rich", "typer"}
MODELS = {"torch", "transformers", "tokenizers", "docker", "httpx"}


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after `statement`."""
    script = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(name.split('.')[0] for name in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_nothing_but_the_standard_library():
    assert not loaded_by("import agentdistill; agentdistill.__version__; dir(agentdistill)") & HEAVY


@pytest.mark.parametrize(
    "module",
    [
        "records",
        "errors",
        "tools",
        "chat",
        "store",
        "environment",
        "sandbox",
        "policies",
        "rollout",
        "testing",
        "loading",
    ],
)
def test_acting_in_an_environment_needs_no_model_library(module):
    assert not loaded_by(f"import agentdistill.{module}") & MODELS


def test_a_name_from_the_top_loads_only_its_own_room():
    assert not loaded_by("from agentdistill import Task") & (HEAVY - {"pydantic"})
    assert not loaded_by("from agentdistill import ToolEnvironment, tool") & MODELS
