"""The run store: one SQLite file that every stage leaves its records in, so that any stage can be killed and resumed.

What is committed survives a `SIGKILL` (and, for the teacher ledger and results, a power cut). An episode is committed
whole or not at all and is known by its `EpisodeKey`, so a resumed run sees what is done and doubles nothing. One
process writes at a time, from as many threads as it likes; others may read meanwhile. Whatever is written passes
`redact` on its way.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import PydanticSerializationError

from agentdistill.errors import StoreError
from agentdistill.records import Record, Recovery, Trajectory
from agentdistill.redaction import redact_json

FILE = "run.sqlite"
_LOCK_FILE = "run.lock"
_SCHEMA_VERSION = 1
_APPLICATION_ID = 0x41474453  # "AGDS" in the file's header tells a run from any other SQLite file
_PAGE = 64  # episodes read at a time, so that reading a long run takes little memory
_EPISODE = """(key TEXT PRIMARY KEY, stage TEXT NOT NULL, arm TEXT NOT NULL, round INTEGER NOT NULL,
    task_id TEXT NOT NULL, attempt INTEGER NOT NULL, seed INTEGER NOT NULL, ending TEXT NOT NULL,
    succeeded INTEGER NOT NULL, record TEXT NOT NULL)"""
_SCHEMA = f"""
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE trajectories {_EPISODE};
    CREATE INDEX trajectories_by_stage ON trajectories (stage, arm, round, key);
    CREATE TABLE recoveries {_EPISODE};
    CREATE INDEX recoveries_by_stage ON recoveries (stage, arm, round, key);
    CREATE TABLE results (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE ledger (id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT, arm TEXT NOT NULL, round INTEGER NOT NULL,
        stage TEXT NOT NULL, policy TEXT NOT NULL, purpose TEXT NOT NULL, input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL, accepted INTEGER, UNIQUE (key, input_tokens, output_tokens));
    CREATE TABLE quarantine (id INTEGER PRIMARY KEY, at REAL NOT NULL, origin TEXT NOT NULL, key TEXT NOT NULL,
        problem TEXT NOT NULL, record BLOB);
    PRAGMA application_id = {_APPLICATION_ID};
    PRAGMA user_version = {_SCHEMA_VERSION};
"""

# Not part of the schema: a run that began before there were metrics gets the table when it is gone on with.
_METRICS = """CREATE TABLE IF NOT EXISTS metrics (stage TEXT NOT NULL, step INTEGER NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (stage, step)) WITHOUT ROWID"""

Kind = Literal["trajectories", "recoveries"]
_Episode = TypeVar("_Episode", Trajectory, Recovery)


class EpisodeKey(Record):
    """Which episode of a run this is. `attempt` tells apart several tries at one task, each with a seed of its own."""

    stage: str = Field(pattern=r"^[^/]+$")
    arm: str = Field(pattern=r"^[^/]+$")
    round: int = Field(ge=0)
    task_id: str
    attempt: int = Field(default=0, ge=0)

    def __str__(self) -> str:
        # Of the parts only the task's id may hold a slash, so no two keys are the same string.
        return f"{self.stage}/{self.arm}/{self.round}/{self.task_id}/{self.attempt}"


class LedgerEntry(Record):
    """Something a teacher was paid for, whether or not its answer was `accepted` (`None`: not decided yet).

    `key` names the piece of work. The same key with the same counts stands in the ledger once, so that a resumed run
    may enter again what it does again, and `accepted` may be entered later; work bought a second time at another
    length counts a second time. Entries without a key all count.
    """

    arm: str
    round: int
    stage: str
    policy: str
    purpose: str
    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)
    accepted: bool | None = None
    key: str | None = None


class TeacherTokens(Record):
    """What the teacher read and wrote, accepted or not."""

    input: int
    output: int


class RunStore:
    """The records of one run. Get it from `resume`, `open` or `read`; it is a context manager."""

    def __init__(self, folder: Path, *, writable: bool) -> None:
        self.folder = folder
        self._guard = threading.RLock()
        self._passed_over: set[tuple[str, str]] = set()
        self._lock = _acquire(folder) if writable else None
        where = f"{(folder / FILE).absolute().as_uri()}?mode={'rwc' if writable else 'ro'}"
        try:
            self._connection = sqlite3.connect(
                where, uri=True, timeout=30, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            if self._lock is not None:
                os.close(self._lock)
            raise StoreError(f"{folder / FILE}: {error}") from error

    # ---- opening and closing -------------------------------------------------------------------------------------

    @classmethod
    def resume(cls, folder: Path, config: Mapping[str, object]) -> RunStore:
        """Start a run with this JSON-able `config` in `folder`, or go on with the one there.

        Raises:
            StoreError: the run there was made with another configuration, or another process is writing it.
        """
        return cls._write(folder, config)

    @classmethod
    def open(cls, folder: Path) -> RunStore:
        """Go on with the run in `folder`, whatever its configuration.

        Raises:
            StoreError: there is no run, or another process is writing it.
        """
        if not (folder / FILE).is_file():
            raise _no_run(folder)
        return cls._write(folder, None)

    @classmethod
    def read(cls, folder: Path) -> RunStore:
        """Look at the run in `folder`, also while it is being written; nothing can be saved.

        Raises:
            StoreError: there is no run.
        """
        if not (folder / FILE).is_file():
            raise _no_run(folder)
        with _closed_on_error(cls(folder, writable=False)) as store:
            if not store._begun():
                raise _no_run(folder)
            return store

    @classmethod
    def _write(cls, folder: Path, config: Mapping[str, object] | None) -> RunStore:
        with _closed_on_error(cls(folder, writable=True)) as store:
            # A file without tables is what a kill in the first instant leaves: it holds nothing and may be begun.
            if store._begun():
                store._refuse_another(config)
                store._quarantine_torn()
            elif config is not None:
                store._begin(config)
            else:
                raise _no_run(folder)
            return store

    def close(self) -> None:
        """Free the file and the lock. May be called twice."""
        with self._guard:
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

    @property
    def config(self) -> dict[str, Any]:
        """The configuration the run was made with."""
        ((text,),) = self._rows("SELECT value FROM meta WHERE key = 'config'")
        config: dict[str, Any] = json.loads(text)
        return config

    # ---- episodes ------------------------------------------------------------------------------------------------

    def save_trajectory(self, key: EpisodeKey, trajectory: Trajectory) -> None:
        """Save one episode; see `save_trajectories`."""
        self.save_trajectories([(key, trajectory)])

    def save_trajectories(self, episodes: Iterable[tuple[EpisodeKey, Trajectory]]) -> None:
        """Save episodes in one transaction: after a kill all of them are there, or none.

        Saving an episode again as it is changes nothing. One that was an infrastructure error is replaced, since its
        retry is what counts.

        Raises:
            StoreError: a key is taken by another episode; nothing was saved.
        """
        self._save("trajectories", [(key, each, each) for key, each in episodes])

    def save_recovery(self, key: EpisodeKey, recovery: Recovery) -> None:
        """Save one takeover; see `save_trajectories`."""
        self.save_recoveries([(key, recovery)])

    def save_recoveries(self, recoveries: Iterable[tuple[EpisodeKey, Recovery]]) -> None:
        """Save takeovers, verified or not, in one transaction, under the rules of `save_trajectories`.

        Raises:
            StoreError: a key is taken by another takeover; nothing was saved.
        """
        self._save("recoveries", [(key, each, each.trajectory) for key, each in recoveries])

    def trajectories(
        self, stage: str | None = None, arm: str | None = None, round: int | None = None
    ) -> Iterator[tuple[EpisodeKey, Trajectory]]:
        """Saved episodes in the order of their keys, whatever order they were saved in.

        A row that cannot be read is put into quarantine, counted in `quarantined` and passed over.
        """
        return self._load("trajectories", Trajectory, stage, arm, round)

    def recoveries(
        self, stage: str | None = None, arm: str | None = None, round: int | None = None
    ) -> Iterator[tuple[EpisodeKey, Recovery]]:
        """Saved takeovers, as `trajectories` gives episodes."""
        return self._load("recoveries", Recovery, stage, arm, round)

    def known_keys(
        self, stage: str, arm: str, round: int, *, kind: Kind = "trajectories", errored: bool = True
    ) -> set[str]:
        """The keys, as strings, that are saved. With `errored=False` infrastructure errors count as not done."""
        question = f"SELECT key FROM {kind} WHERE stage = ? AND arm = ? AND round = ?"
        if not errored:
            question += " AND ending != 'infrastructure_error'"
        return {key for (key,) in self._rows(question, (stage, arm, round))}

    @property
    def quarantined(self) -> int:
        """How many rows could not be read so far."""
        ((count,),) = self._rows("SELECT count(*) FROM quarantine")
        return int(count) + len(self._passed_over)

    # ---- results and the teacher's ledger ------------------------------------------------------------------------

    def put_result(self, name: str, value: object) -> None:
        """Keep a JSON-able value under a name (a finished stage, an evaluation, a training log); the last one stands.

        Raises:
            ValueError: a number in it is not finite.
        """
        text = _encode(value)
        with self._transaction(durable=True):
            self._connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (name, text))

    def result(self, name: str) -> Any:
        """The value under `name`, or `None`."""
        return self.results(name).get(name)

    def results(self, name: str | None = None) -> dict[str, Any]:
        """All values by name, or the one under `name`. One that cannot be read is put into quarantine."""
        found = {}
        for key, text in self._rows("SELECT key, CAST(value AS BLOB) FROM results WHERE ? IN (key, '')", (name or "",)):
            try:
                found[key] = json.loads(text)
            except ValueError as error:
                self._quarantine("results", key, str(error), text)
        return found

    def put_metrics(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Keep what was measured in one step of a stage (a training round), for good once this returns.

        Whatever is there of this step and later ones goes: they belong to a life that was killed, and are done again. A
        number that is not finite is kept as null.
        """
        text = _encode({name: value if math.isfinite(value) else None for name, value in values.items()})
        with self._transaction():
            self._connection.execute(_METRICS)
            self._connection.execute("DELETE FROM metrics WHERE stage = ? AND step >= ?", (stage, step))
            self._connection.execute("INSERT INTO metrics VALUES (?, ?, ?)", (stage, step, text))

    def metrics(self) -> dict[str, list[dict[str, float | None]]]:
        """What was measured, by stage in their order by name: one entry a step, `step` among its values."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'metrics'"):
            return {}
        found: dict[str, list[dict[str, float | None]]] = {}
        for stage, step, text in self._rows("SELECT stage, step, record FROM metrics ORDER BY stage, step"):
            found.setdefault(stage, []).append({"step": step, **json.loads(text)})
        return found

    def ledger_add(self, *entries: LedgerEntry) -> None:
        """Enter what a teacher was paid for, on disk before this returns: call it before an answer is used."""
        rows = [(time.time(), *json.loads(_encode(each)).values()) for each in entries]
        columns = "at, " + ", ".join(LedgerEntry.model_fields)
        with self._transaction(durable=True):
            self._connection.executemany(
                f"INSERT INTO ledger ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (key, input_tokens, output_tokens) DO UPDATE SET accepted = excluded.accepted",
                rows,
            )

    def teacher_tokens(self, arm: str | None = None) -> TeacherTokens:
        """What the teacher read and wrote for one arm, or for all."""
        question = "SELECT total(input_tokens), total(output_tokens) FROM ledger WHERE ?1 IS NULL OR arm = ?1"
        ((read, written),) = self._rows(question, (arm,))
        return TeacherTokens(input=int(read), output=int(written))

    # ---- inside --------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All or nothing. `durable` waits for the disk, which only a power cut can tell from the faster commit."""
        if self._lock is None:
            raise StoreError(f"the run in {self.folder} is open for reading only")
        with self._guard, self._one_line_errors():
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"{self.folder / FILE}: {error}") from error

    def _rows(self, question: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._guard, self._one_line_errors():
            return self._connection.execute(question, values).fetchall()

    def _begun(self) -> bool:
        ((application,),) = self._rows("PRAGMA application_id")
        ((version,),) = self._rows("PRAGMA user_version")
        ((tables,),) = self._rows("SELECT count(*) FROM sqlite_master")
        if tables and application != _APPLICATION_ID:
            raise StoreError(f"{self.folder / FILE} belongs to another program: choose another folder")
        if tables and version != _SCHEMA_VERSION:
            raise StoreError(
                f"{self.folder} was made by another version of agentdistill (store {version}, here {_SCHEMA_VERSION})"
            )
        return bool(tables)

    def _begin(self, config: Mapping[str, object]) -> None:
        text = _encode(dict(config))
        with self._guard, self._one_line_errors():
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA}")
            self._connection.execute("INSERT INTO meta VALUES ('config', ?)", (text,))
            self._connection.execute("COMMIT")

    def _refuse_another(self, config: Mapping[str, object] | None) -> None:
        if config is None:
            return
        theirs, ours = dict(_flat(self.config)), dict(_flat(json.loads(_encode(dict(config)))))
        for key in [*ours, *theirs]:
            was, now = (json.dumps(side[key]) if key in side else "not set" for side in (theirs, ours))
            if was != now:
                raise StoreError(
                    f"{self.folder} holds a run made with {key} = {was}, and now it is {now}: "
                    "choose another folder, or delete this one"
                )

    def _save(self, kind: Kind, episodes: Iterable[tuple[EpisodeKey, Record, Trajectory]]) -> None:
        rows = []
        for key, record, episode in episodes:
            place = (str(key), key.stage, key.arm, key.round, key.task_id, key.attempt)
            rows.append((*place, episode.seed, episode.ending, episode.succeeded, _encode(record)))
        with self._transaction():
            for row in rows:
                changed = self._connection.execute(
                    f"INSERT INTO {kind} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                    "seed = excluded.seed, ending = excluded.ending, succeeded = excluded.succeeded, "
                    "record = excluded.record WHERE ending = 'infrastructure_error' OR record = excluded.record",
                    row,
                )
                if changed.rowcount == 0:
                    raise StoreError(f"{row[0]} is saved already and came out differently: nothing is overwritten")

    def _load(
        self, kind: Kind, model: type[_Episode], stage: str | None, arm: str | None, round: int | None
    ) -> Iterator[tuple[EpisodeKey, _Episode]]:
        given: dict[str, object] = {"stage = ?": stage, "arm = ?": arm, "round = ?": round}
        wanted: dict[str, object] = {condition: value for condition, value in given.items() if value is not None}
        question = (
            f"SELECT key, stage, arm, round, task_id, attempt, CAST(record AS BLOB) FROM {kind} "
            f"WHERE {' AND '.join([*wanted, 'key > ?'])} ORDER BY key LIMIT {_PAGE}"
        )
        last = ""
        while page := self._rows(question, (*wanted.values(), last)):
            for row in page:
                last, record = row[0], row[-1]
                try:
                    key = EpisodeKey(**dict(zip(EpisodeKey.model_fields, row[1:-1], strict=True)))
                    episode = model.model_validate_json(record)
                except ValidationError as error:
                    problem = error.errors(include_input=False, include_url=False)[0]
                    self._quarantine(kind, last, f"{problem['loc']}: {problem['msg']}", record)
                else:
                    yield key, episode

    def _quarantine_torn(self) -> None:
        """Free the keys of rows that are no JSON, so that a resumed run does these episodes again."""
        for origin in ("trajectories", "recoveries"):
            question = f"SELECT key, CAST(record AS BLOB) FROM {origin} WHERE NOT json_valid(record)"
            for key, record in self._rows(question):
                self._quarantine(origin, key, "not JSON", record)

    def _quarantine(self, origin: str, key: str, problem: str, record: bytes) -> None:
        if self._lock is None:
            self._passed_over.add((origin, key))
            return
        with self._transaction():
            row = (time.time(), origin, key, problem, record)
            self._connection.execute("INSERT INTO quarantine VALUES (NULL, ?, ?, ?, ?, ?)", row)
            self._connection.execute(f"DELETE FROM {origin} WHERE key = ?", (key,))


# ---- files -------------------------------------------------------------------------------------------------------


def _no_run(folder: Path) -> StoreError:
    return StoreError(f"{folder} is not the folder of a run (a run has {FILE} in it)")


def _acquire(folder: Path) -> int:
    """Hold the run's lock file; the kernel lets go of it however this process ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{folder} cannot hold a run: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(lock, 32).decode("ascii", "replace") or "unknown"
        os.close(lock)
        raise StoreError(f"another process (pid {holder}) is writing the run in {folder}: let it end first") from error
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


@contextmanager
def _closed_on_error(store: RunStore) -> Iterator[RunStore]:
    try:
        yield store
    except BaseException:
        store.close()
        raise


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested tables under dotted keys."""
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _encode(value: object) -> str:
    """JSON text fit to be written: without secrets, and without half characters, which UTF-8 cannot hold.

    Raises:
        StoreError: a secret in the environment is also a word that records are made of.
    """
    if not isinstance(value, Record):
        return redact_json(_whole(json.dumps(value, ensure_ascii=False, allow_nan=False)))
    try:
        text = value.model_dump_json()
    except PydanticSerializationError:
        text = _whole(json.dumps(value.model_dump(mode="json"), ensure_ascii=False))
    clean = redact_json(text)
    if clean is not text:
        try:
            type(value).model_validate_json(clean)
        except ValidationError as error:
            raise StoreError("a secret in the environment is a word that records are made of: change it") from error
    return clean


def _whole(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)
