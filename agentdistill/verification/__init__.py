"""Verification: judging what an agent left behind by tests that it has never met, in a sandbox of its own.

`crossing` carries declared files over into a fresh sandbox; `tests` judges them by hidden tests, `calls` by hidden
calls whose expected values never enter a sandbox; `scripts` runs a task's own script, which leaves a reward.
`agentdistill.verification.tests` and `agentdistill.verification.scripts` say what is not covered.
"""

from .calls import HiddenCall, run_calls
from .crossing import Crossed, Crossing, cross, fresh_world
from .scripts import ScriptRun, carry, make_folder, run_script
from .tests import HiddenTests, TestRun, run_tests

__all__ = [
    "Crossed",
    "Crossing",
    "HiddenCall",
    "HiddenTests",
    "ScriptRun",
    "TestRun",
    "carry",
    "cross",
    "fresh_world",
    "make_folder",
    "run_calls",
    "run_script",
    "run_tests",
]
