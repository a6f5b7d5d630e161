"""Harbor task folders (schema 1.4, older ones read): what is to be done, in which files, and how it is judged.

Layout of a task of one step: ``task.toml``, ``instruction.md``, ``environment/``, ``tests/test.sh`` and, if there is a
reference solution, ``solution/solve.sh``. A task of several steps has ``steps/<name>/`` with ``instruction.md``,
``workdir/`` (with ``setup.sh``), ``tests/`` and ``solution/``; tests at the root are every step's.

Of our own, and passed by by other readers: ``messes/<name>/`` (`agentdistill.formats.harbor.messes`),
``wrong/<name>.sh`` and ``cheats/<name>.sh``.

What of the format is not covered, by the reading:

- Tasks for Windows (``os = "windows"``, ``test.bat``), and ``trajectory.json``, a conversation that comes before the
  task: refused.
- ``.harborignore``: a file like any other; what it excludes is read all the same.
- Links and anything else that is neither a file nor a folder: refused, wherever they lie in the parts that are read.
  So are file names that are no text. Empty folders and ``__pycache__`` are left out; of a file's mode, only whether its
  owner may execute it is kept.
- Lines at the head of an instruction that mark a benchmark's text ("canary") are part of the instruction here.
- Versions other than 1.x are refused. In versions 1.0 and 1.1 resources that are not said are those of
  `agentdistill.formats.harbor.versions.DEFAULTS`.
"""

from agentdistill.formats.harbor.config import (
    AgentSettings,
    EnvironmentSettings,
    StepSettings,
    TaskConfig,
    VerifierSettings,
)
from agentdistill.formats.harbor.messes import Mess, MessAction
from agentdistill.formats.harbor.reading import find_tasks, read_task
from agentdistill.formats.harbor.task import HarborFile, HarborStep, HarborTask

__all__ = [
    "AgentSettings",
    "EnvironmentSettings",
    "HarborFile",
    "HarborStep",
    "HarborTask",
    "Mess",
    "MessAction",
    "StepSettings",
    "TaskConfig",
    "VerifierSettings",
    "find_tasks",
    "read_task",
]
