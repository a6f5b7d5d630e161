"""The `agentdistill` command."""

from agentdistill.cli.main import main

__all__ = ["main"]
