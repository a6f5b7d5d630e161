"""Counts of what happened."""

import time


class Stats:
    """How often each event happened, and when last. Events may come from any number of threads; none is lost.

    `clock` tells the time. It may be slow, and may count events itself.
    """

    def __init__(self, clock=time.time):
        self._clock = clock
        self._counts = {}
        self._last = {}

    def count(self, event):
        """`event` happened now."""
        before = self._counts.get(event, 0)
        self._last[event] = self._clock()
        self._counts[event] = before + 1

    def of(self, event):
        """How often `event` happened."""
        return self._counts.get(event, 0)

    def last(self, event):
        """When `event` happened last, `None` if it never did."""
        return self._last.get(event)

    def summary(self):
        """``hit 3, load 2``, by name."""
        return ", ".join(f"{event} {count}" for event, count in sorted(self._counts.items()))
