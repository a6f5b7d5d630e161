"""Reads logs of weather stations and sums them up."""

from telemetry.readings import Reading, read_log
from telemetry.summary import Summary, summarize

__all__ = ["Reading", "Summary", "read_log", "summarize"]
