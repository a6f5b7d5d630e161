"""Restore the world and the conversation exactly where the student diverged, and let a teacher take over."""

from agentdistill.takeover.config import TakeoverConfig
from agentdistill.takeover.running import Critic, Find, Takeover

__all__ = ["Critic", "Find", "Takeover", "TakeoverConfig"]
