"""Jobs: reports that are made piece by piece, so that other things can be done in between.

A job is stepped by its runner, some rows at a time, until it is done, cancelled or broken. See docs/jobs.md.
"""

import logging
from collections.abc import Iterator

from reports.render import Unprintable, header, row_text
from reports.store import Locked, Store

log = logging.getLogger("jobs")

PATIENCE = 5
"""How often a job tries to begin before it gives up."""


class Cancelled(Exception):
    """The job was cancelled, and cannot be stepped."""


class Job:
    """One report: `state` is waiting, running, done, cancelled or broken; `lines` is what there is of it so far."""

    def __init__(self, number: int, table: str) -> None:
        self.number = number
        self.table = table
        self.state = "waiting"
        self.tries = 0
        self.lines: list[str] = []
        self._rows: Iterator[tuple[object, ...]] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "cancelled", "broken")

    def step(self, store: Store, most: int) -> None:
        """Take up to `most` rows. A row that cannot be shown breaks the job."""
        if self.state == "cancelled":
            raise Cancelled(f"job {self.number}")
        if self.over:
            return
        if self._rows is None:
            self.lines.append(header(store.table(self.table).columns))
            self._rows = store.scan(self.table)
            self.state = "running"
            log.info("job %d: report on %s begins", self.number, self.table)
        for _ in range(most):
            row = next(self._rows, None)
            if row is None:
                self.state = "done"
                log.info("job %d: done, %d rows", self.number, len(self.lines) - 1)
                return
            try:
                self.lines.append(row_text(row))
            except Unprintable as error:
                self.state = "broken"
                log.info("job %d: ended after %d rows: %s", self.number, len(self.lines) - 1, error)
                return

    def cancel(self) -> None:
        """End the job; what there is of it stays in `lines`."""
        if not self.over:
            self.state = "cancelled"
            log.info("job %d: cancelled after %d rows", self.number, max(len(self.lines) - 1, 0))


class Runner:
    """Steps jobs in turn. Jobs that are over are kept, for those who ask for them later."""

    def __init__(self, store: Store, most: int = 50) -> None:
        self.store = store
        self.most = most
        self.jobs: dict[int, Job] = {}

    def submit(self, table: str) -> Job:
        """A new job."""
        job = Job(len(self.jobs) + 1, table)
        self.jobs[job.number] = job
        return job

    def turn(self) -> bool:
        """Step every job that is not over once; whether there was any."""
        waiting = [job for job in self.jobs.values() if not job.over]
        for job in waiting:
            try:
                job.step(self.store, self.most)
            except Locked as error:
                job.tries += 1
                job.lines.clear()
                job._rows, job.state = None, "waiting"
                log.warning("job %d: %s, try %d of %d", job.number, error, job.tries, PATIENCE)
                if job.tries == PATIENCE:
                    job.state = "broken"
                    log.error("job %d: gave up", job.number)
        return bool(waiting)

    def run(self) -> None:
        """Step all jobs until they are over."""
        while self.turn():
            pass
