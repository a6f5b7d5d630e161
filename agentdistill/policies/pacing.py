"""How fast a server is asked: as many calls at once as it bears, pauses when it says so, and none when it is down."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from agentdistill.errors import PolicyError


class Throttle:
    """Calls in flight: one more after each round of successes, half as many once the server is overloaded.

    Args:
        start: how many at first.
        most: never more than this.
    """

    def __init__(self, start: int, most: int) -> None:
        self.limit = float(min(start, most))
        self.most = most
        self.busy = 0
        self.peak = 0
        self._cut_at = 0.0
        self._paused_until = 0.0
        self._change = threading.Condition()

    @contextmanager
    def slot(self, until: float) -> Iterator[bool]:
        """Wait for a place among the calls in flight; False if there was none by the monotonic time `until`."""
        with self._change:
            while (wait := self._wait()) > 0 and time.monotonic() < until:
                self._change.wait(min(wait, until - time.monotonic()))
            got = wait <= 0
            self.busy += got
            self.peak = max(self.peak, self.busy)
        try:
            yield got
        finally:
            with self._change:
                self.busy -= got
                self._change.notify_all()

    def succeeded(self) -> None:
        """A call was answered."""
        with self._change:
            self.limit = min(float(self.most), self.limit + 1.0 / self.limit)
            self._change.notify_all()

    def overloaded(self, sent_at: float, pause: float) -> None:
        """The server had too much to do with a call sent at the monotonic time `sent_at`, and may name a pause (s).

        Calls that were sent before the last halving do not halve again: they were refused for the same crowd.
        """
        with self._change:
            now = time.monotonic()
            if sent_at >= self._cut_at:
                self.limit = max(1.0, self.limit / 2)
                self._cut_at = now
            self._paused_until = max(self._paused_until, now + pause)

    def _wait(self) -> float:
        """Seconds to wait before it is worth looking again; 0 if there is a place now."""
        pause = self._paused_until - time.monotonic()
        if pause > 0:
            return pause
        return 0.0 if self.busy < int(self.limit) else 3600.0


class Breaker:
    """Stops asking a server that refuses our key, or that has failed many times in a row.

    Args:
        failures: so many failed calls in a row open it; then one call in `pause` seconds is let through to try.
        refusals: so many refusals of our key in a row close the matter for good.
        pause: seconds.
    """

    def __init__(self, failures: int, refusals: int, pause: float) -> None:
        self.failures = failures
        self.refusals = refusals
        self.pause = pause
        self._failed = 0
        self._refused = 0
        self._next_try = 0.0
        self._last = ""
        self._guard = threading.Lock()

    def check(self) -> None:
        """Pass, or raise.

        Raises:
            PolicyError: the server is not asked any more; the message says what was last wrong.
        """
        with self._guard:
            if self._refused >= self.refusals:
                raise PolicyError(f"{self._last} (refused {self._refused} times: not asked again)")
            if self._failed >= self.failures:
                if time.monotonic() < self._next_try:
                    raise PolicyError(
                        f"{self._last} (failed {self._failed} times in a row: not asked for {self.pause:.0f} s. See "
                        "the server's log, then run the same command again)"
                    )
                self._next_try = time.monotonic() + self.pause

    def succeeded(self) -> None:
        """A call was answered."""
        with self._guard:
            self._failed = self._refused = 0

    def failed(self, problem: str) -> None:
        """A call failed on the server's side."""
        with self._guard:
            self._failed, self._last = self._failed + 1, problem
            if self._failed == self.failures:
                self._next_try = time.monotonic() + self.pause

    def refused(self, problem: str) -> None:
        """Our key was refused."""
        with self._guard:
            self._refused, self._last = self._refused + 1, problem


def backoff(attempt: int, base: float, most: float) -> float:
    """Seconds to wait after the `attempt`-th failure (0-based): anything between none and an exponential bound.

    Full jitter spreads clients best ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    return random.uniform(0.0, min(most, base * 2.0 ** min(attempt, 30)))


def retry_after(header: str | None) -> float:
    """Seconds that a `Retry-After` header asks for (RFC 9110, 10.2.3: seconds or a date); 0 where it says nothing."""
    if not header:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
