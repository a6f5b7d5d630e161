"""agentdistill teaches small language-model agents to recover.

What an environment author or a script needs is importable from here; a name is loaded with its module when it is first
used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentdistill.environment import ToolEnvironment, Truth, task_seed
    from agentdistill.errors import (
        AgentDistillError,
        BudgetError,
        ConfigError,
        EmptyRewardError,
        InfrastructureError,
        MissingRewardError,
        NothingSupervisedError,
        PolicyError,
        ReplayError,
        SandboxError,
        SandboxLostError,
        SandboxUnavailableError,
        SegmentError,
        SegmentTooLongError,
        SnapshotError,
        StoreError,
        TaskError,
        TemplateError,
        ToolError,
        UnknownNameError,
        UnreadableRewardError,
        UsageError,
        VerifierError,
    )
    from agentdistill.policies.base import Joinable, Policy, Request, Scorer, ScoreRequest, Scores
    from agentdistill.records import (
        Completion,
        Cost,
        Divergence,
        Fork,
        Message,
        PreferencePair,
        Record,
        Recovery,
        Segment,
        Snapshot,
        Step,
        Task,
        ToolCall,
        ToolOutcome,
        ToolSpec,
        Trajectory,
        Verdict,
    )
    from agentdistill.sandbox.base import (
        Capabilities,
        ExecResult,
        Limits,
        LiveProcesses,
        Sandbox,
        SandboxBackend,
        SandboxFile,
    )
    from agentdistill.spaces import MessageSpace, MessagesSpace
    from agentdistill.store import EpisodeKey, LedgerEntry, RunStore, TeacherTokens
    from agentdistill.tools import tool
    from agentdistill.trackers import Tracker

__version__ = "0.1.0"

__all__ = [
    "AgentDistillError",
    "BudgetError",
    "Capabilities",
    "Completion",
    "ConfigError",
    "Cost",
    "Divergence",
    "EmptyRewardError",
    "EpisodeKey",
    "ExecResult",
    "Fork",
    "InfrastructureError",
    "Joinable",
    "LedgerEntry",
    "Limits",
    "LiveProcesses",
    "Message",
    "MessageSpace",
    "MessagesSpace",
    "MissingRewardError",
    "NothingSupervisedError",
    "Policy",
    "PolicyError",
    "PreferencePair",
    "Record",
    "Recovery",
    "ReplayError",
    "Request",
    "RunStore",
    "Sandbox",
    "SandboxBackend",
    "SandboxError",
    "SandboxFile",
    "SandboxLostError",
    "SandboxUnavailableError",
    "ScoreRequest",
    "Scorer",
    "Scores",
    "Segment",
    "SegmentError",
    "SegmentTooLongError",
    "Snapshot",
    "SnapshotError",
    "Step",
    "StoreError",
    "Task",
    "TaskError",
    "TeacherTokens",
    "TemplateError",
    "ToolCall",
    "ToolEnvironment",
    "ToolError",
    "ToolOutcome",
    "ToolSpec",
    "Tracker",
    "Trajectory",
    "Truth",
    "UnknownNameError",
    "UnreadableRewardError",
    "UsageError",
    "Verdict",
    "VerifierError",
    "__version__",
    "task_seed",
    "tool",
]

# Searched in this order, the lightest first. A name that none of them has is an AttributeError as usual.
_HOMES = ("errors", "records", "tools", "store", "trackers", "spaces", "sandbox.base", "policies.base", "environment")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if getattr(vars(module).get(name), "__module__", "") == module.__name__:
                globals()[name] = vars(module)[name]
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
