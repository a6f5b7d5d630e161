"""Calls that cost something: each is written down before it is sent, and again before its answer is used.

One SQLite file, with `synchronous=FULL`. A call is reserved at the worst it can come to, and settled at what it did
come to; whatever was sent and never heard of again, for a killed process too, counts as spent at its worst. Answers
are kept under the hash of what was asked, so that a run that is resumed buys nothing twice. One process at a time
writes a ledger, from as many threads as it likes.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from agentdistill.errors import BudgetError, StoreError
from agentdistill.redaction import redact, redact_json

FILE = "calls.sqlite"
_APPLICATION_ID = 0x4147444C  # "AGDL"
_SCHEMA_VERSION = 1
_SCHEMA = f"""
    CREATE TABLE calls (id INTEGER PRIMARY KEY, at REAL NOT NULL, request TEXT NOT NULL, model TEXT NOT NULL,
        state TEXT NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL DEFAULT 0, picodollars INTEGER, seconds REAL, problem TEXT NOT NULL DEFAULT '',
        answer TEXT);
    CREATE UNIQUE INDEX answers ON calls (request) WHERE answer IS NOT NULL;
    PRAGMA application_id = {_APPLICATION_ID};
    PRAGMA user_version = {_SCHEMA_VERSION};
"""
_DOLLAR = 10**12


class Price(BaseModel):
    """What a model's tokens cost, in dollars per million."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0, allow_inf_nan=False)
    """Tokens read."""
    output: float = Field(ge=0, allow_inf_nan=False)
    """Tokens written."""
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Tokens read from the server's own cache; as others, if it is not given."""

    def of(self, usage: Usage) -> int:
        """The cost in millionths of a millionth of a dollar, so that sums are exact."""
        cached = self.input if self.cached is None else self.cached
        fresh = usage.input_tokens - usage.cached_tokens
        return sum(
            tokens * round(price * 1_000_000)
            for tokens, price in (
                (fresh, self.input),
                (usage.cached_tokens, cached),
                (usage.output_tokens, self.output),
            )
        )


class Budget(BaseModel):
    """What may be spent in all, over every run with the same ledger; nothing is set by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: int | None = Field(default=None, gt=0)
    """Tokens read and written, together."""
    dollars: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Money. It needs a price."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one call, or of many. `cached_tokens` are among the `input_tokens`."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class Totals:
    """What stands in a ledger.

    Attributes:
        answered: calls that were answered and settled, with their tokens in `usage` and their cost in `dollars`.
        refused: calls that the server refused: they cost nothing.
        lost: calls that were sent and not answered; `lost_tokens` and `lost_dollars` are the worst they can have cost.
    """

    answered: int
    refused: int
    lost: int
    usage: Usage
    lost_tokens: int
    dollars: float
    lost_dollars: float


class CallLedger:
    """The calls of a run, in one file; a context manager. Without a folder it is kept in memory, for one process.

    Raises:
        StoreError: the folder cannot hold a ledger, or another process is writing it.
    """

    def __init__(self, folder: Path | None = None, budget: Budget | None = None) -> None:
        self.folder = folder
        self.budget = budget or Budget()
        self._change = threading.Condition(threading.RLock())
        self._in_flight: dict[int, tuple[int, int]] = {}
        self._asking: set[str] = set()
        self._lock = _acquire(folder) if folder else None
        try:
            where = str(folder / FILE) if folder else ":memory:"
            self._connection = sqlite3.connect(where, timeout=30, isolation_level=None, check_same_thread=False)
            self._begin()
        except (sqlite3.Error, StoreError) as error:
            self.close()
            raise StoreError(f"{folder}: {error}") from error
        question = "SELECT coalesce(sum(input_tokens + output_tokens), 0), coalesce(sum(picodollars), 0) FROM calls"
        found: tuple[int, int] = self._row(question)
        self._tokens, self._cost = found

    def close(self) -> None:
        """Free the file. May be called twice."""
        with self._change:
            if hasattr(self, "_connection"):
                self._connection.close()
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- asking once ---------------------------------------------------------------------------------------------

    @contextmanager
    def asking(self, request: str) -> Iterator[str | None]:
        """Ask for something alone: the answer that is there already, also if another thread is just getting it."""
        with self._change:
            while request in self._asking:
                self._change.wait()
            self._asking.add(request)
        try:
            yield self.answer(request)
        finally:
            with self._change:
                self._asking.discard(request)
                self._change.notify_all()

    def answer(self, request: str) -> str | None:
        """What was answered to the request with this hash, or `None`."""
        row = self._row("SELECT answer FROM calls WHERE request = ? AND answer IS NOT NULL", (request,))
        return str(row[0]) if row else None

    # ---- one call ------------------------------------------------------------------------------------------------

    def refuse_unpriced(self, what: str) -> None:
        """Say that the price of `what` is not known.

        Raises:
            BudgetError: there is a budget in dollars.
        """
        if self.budget.dollars is not None:
            raise BudgetError(f"a budget in dollars needs the price of {what}: set price = {{input = …, output = …}}")

    def reserve(self, request: str, model: str, worst: Usage, price: Price | None = None) -> int:
        """Write down that a call is about to be sent, and hold what it costs at worst. On disk when it returns.

        Waits while only calls in flight are in the way of the budget.

        Raises:
            BudgetError: it could pass the budget, or the budget is in dollars and no price is known.
        """
        if price is None:
            self.refuse_unpriced(model)
        tokens = worst.input_tokens + worst.output_tokens
        cost = price.of(worst) if price else 0
        with self._change:
            while self._passes(tokens, cost, held=True):
                if self._passes(tokens, cost, held=False):
                    raise BudgetError(self._told(tokens, cost))
                self._change.wait()
            values = (time.time(), request, model, worst.input_tokens, worst.output_tokens, cost if price else None)
            with self._transaction():
                cursor = self._connection.execute(
                    "INSERT INTO calls (at, request, model, state, input_tokens, output_tokens, picodollars) "
                    "VALUES (?, ?, ?, 'reserved', ?, ?, ?)",
                    values,
                )
            call = int(cursor.lastrowid or 0)
            self._in_flight[call] = (tokens, cost)
            return call

    def settle(self, call: int, answer: str, usage: Usage | None, seconds: float, price: Price | None = None) -> str:
        """Keep the answer (JSON) and what it came to; `None` for a server that does not say: then it was the worst.

        Returns:
            The answer as it was kept, without secrets: what is used is what a resumed run will find.
        """
        kept = redact_json(answer).encode("utf-8", "replace").decode()
        columns: dict[str, object] = {"state": "answered", "seconds": seconds, "answer": kept}
        if usage is not None:
            columns |= vars(usage) | {"picodollars": price.of(usage) if price else None}
        self._close(call, columns, usage, price)
        return kept

    def fail(self, call: int, problem: str, seconds: float, *, billed: bool) -> None:
        """Keep that there was no answer. `billed` if the server may have worked for it: it counts as spent."""
        columns: dict[str, object] = {"state": "lost" if billed else "refused", "seconds": seconds}
        columns["problem"] = redact(problem)[:500]
        if billed:
            self._close(call, columns, None, None)
        else:
            columns |= {"input_tokens": 0, "output_tokens": 0, "picodollars": 0}
            self._close(call, columns, Usage(0, 0), None)

    @property
    def totals(self) -> Totals:
        """What was called so far."""
        found: dict[str, tuple[int, ...]] = {}
        with self._change:
            for state, *sums in self._connection.execute(
                "SELECT CASE state WHEN 'reserved' THEN 'lost' ELSE state END AS how, count(*), sum(input_tokens), "
                "sum(output_tokens), sum(cached_tokens), coalesce(sum(picodollars), 0) FROM calls GROUP BY how"
            ):
                found[state] = tuple(int(each) for each in sums)
        none = (0, 0, 0, 0, 0)
        answered, lost = found.get("answered", none), found.get("lost", none)
        return Totals(
            answered=answered[0],
            refused=found.get("refused", none)[0],
            lost=lost[0],
            usage=Usage(answered[1], answered[2], answered[3]),
            lost_tokens=lost[1] + lost[2],
            dollars=answered[4] / _DOLLAR,
            lost_dollars=lost[4] / _DOLLAR,
        )

    # ---- inside --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        for setting in ("journal_mode = WAL", "synchronous = FULL"):
            self._connection.execute(f"PRAGMA {setting}")
        (application,) = self._row("PRAGMA application_id") or (0,)
        (version,) = self._row("PRAGMA user_version") or (0,)
        (tables,) = self._row("SELECT count(*) FROM sqlite_master") or (0,)
        if not tables:
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif (application, version) != (_APPLICATION_ID, _SCHEMA_VERSION):
            raise StoreError(f"{FILE} belongs to another program or another version of agentdistill")
        # What a killed process had in flight may have been answered and paid for.
        problem = "the process ended before an answer came"
        self._connection.execute("UPDATE calls SET state = 'lost', problem = ? WHERE state = 'reserved'", (problem,))

    def _passes(self, tokens: int, cost: int, *, held: bool) -> bool:
        tokens, cost = tokens + self._tokens, cost + self._cost
        if held:
            tokens += sum(each for each, _ in self._in_flight.values())
            cost += sum(each for _, each in self._in_flight.values())
        most_tokens, most_dollars = self.budget.tokens, self.budget.dollars
        return (most_tokens is not None and tokens > most_tokens) or (
            most_dollars is not None and cost > most_dollars * _DOLLAR
        )

    def _told(self, tokens: int, cost: int) -> str:
        spent, most = f"{self._tokens} of {self.budget.tokens} tokens", f"{tokens} more tokens"
        if self.budget.tokens is None or self._tokens + tokens <= self.budget.tokens:
            spent = f"${self._cost / _DOLLAR:.4f} of ${self.budget.dollars:.4f}"
            most = f"${cost / _DOLLAR:.4f} more"
        return (
            f"the budget is spent: {spent}, and the next call could come to {most}. "
            "What was bought is kept: with a larger budget the same command goes on from here"
        )

    def _close(self, call: int, columns: dict[str, object], usage: Usage | None, price: Price | None) -> None:
        assignments = ", ".join(f"{name} = ?" for name in columns)
        with self._change:
            tokens, cost = self._in_flight[call]
            try:
                with self._transaction():
                    self._connection.execute(f"UPDATE calls SET {assignments} WHERE id = ?", (*columns.values(), call))
                if usage is not None:
                    tokens, cost = usage.input_tokens + usage.output_tokens, price.of(usage) if price else 0
            finally:  # what could not be written down counts as spent, too
                del self._in_flight[call]
                self._tokens += tokens
                self._cost += cost
                self._change.notify_all()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"{self.folder}: {error}") from error
            raise

    def _row(self, question: str, values: tuple[object, ...] = ()) -> Any:
        with self._change:
            return self._connection.execute(question, values).fetchone()


def _acquire(folder: Path) -> int:
    """Hold the ledger's lock; the kernel lets go of it however this process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / f"{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{folder} cannot hold a ledger: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreError(f"another process is writing the ledger in {folder}: let it end first") from error
    return lock
