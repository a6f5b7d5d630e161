"""Verification: judging what an agent left behind by tests that it has never met, in a sandbox of its own.

`crossing` carries declared files over into a fresh sandbox; `tests` judges them by hidden tests, `calls` by hidden
calls whose expected values never enter a sandbox. `agentdistill.verification.tests` says what is not covered.
"""

from .calls import HiddenCall, run_calls
from .crossing import Crossed, Crossing, cross, fresh_world
from .tests import HiddenTests, TestRun, run_tests

__all__ = [
    "Crossed",
    "Crossing",
    "HiddenCall",
    "HiddenTests",
    "TestRun",
    "cross",
    "fresh_world",
    "run_calls",
    "run_tests",
]
