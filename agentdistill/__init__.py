"""agentdistill teaches small language-model agents to recover."""

__version__ = "0.1.0"
