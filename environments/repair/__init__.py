"""Repair: a small Python package with bugs, real files and a real interpreter; see `Repair`."""

from .environment import Repair
from .tasks import make_tasks

__all__ = ["Repair", "make_tasks"]
