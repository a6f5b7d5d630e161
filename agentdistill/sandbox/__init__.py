"""Worlds that commands run in: the protocol in `base`, one file per backend."""

from agentdistill.sandbox.base import Capabilities, ExecResult, Limits, Sandbox, SandboxBackend, SnapshotId

__all__ = ["Capabilities", "ExecResult", "Limits", "Sandbox", "SandboxBackend", "SnapshotId"]
