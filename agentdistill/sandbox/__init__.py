"""Worlds that commands run in: the protocol in `base`, one file per backend, and the program `inside` each."""

from agentdistill.sandbox.base import (
    Capabilities,
    Exceeded,
    ExecResult,
    Limits,
    LiveProcesses,
    Sandbox,
    SandboxBackend,
    SandboxFile,
    SnapshotId,
)

__all__ = [
    "Capabilities",
    "Exceeded",
    "ExecResult",
    "Limits",
    "LiveProcesses",
    "Sandbox",
    "SandboxBackend",
    "SandboxFile",
    "SnapshotId",
]
