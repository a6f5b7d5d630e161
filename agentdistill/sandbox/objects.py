"""A content-addressed store of bytes in one SQLite file: each object is kept once, under its SHA-256.

What a transaction wrote is there whole or not at all, also after a SIGKILL. Several threads and processes may use one
file at once: readers see the store as it was when they began, writers wait for each other. Objects that nothing needs
any more are swept by `ObjectStore.collect`, which gives their bytes back to the disk. The file must not lie on a
network filesystem, whose locks SQLite cannot rely on.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agentdistill.errors import SnapshotError
from agentdistill.sandbox.inside.tree_objects import DIGEST, content_digest

PIECE = 1 << 18
"""Bytes. A larger object is kept in pieces of this size, so that a change within it costs a piece."""
_APPLICATION_ID = 0x41474F42  # "AGOB" in the file's header tells it from any other SQLite file
_VERSION = 1
_WAIT_SECONDS = 60.0
_MOST_VALUES = 500  # in one question
_LONGEST_JOURNAL = 4 << 20
_PAGE = 16384  # bytes; a source file is in few of them, which is what a restore reads
_SCHEMA = f"""
    CREATE TABLE objects (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL, content BLOB,
        pieces BLOB);
    CREATE INDEX in_pieces ON objects (id) WHERE pieces IS NOT NULL;
    CREATE TABLE worlds (name TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE owners (owner TEXT NOT NULL, world TEXT NOT NULL, PRIMARY KEY (owner, world)) WITHOUT ROWID;
    CREATE INDEX owners_by_world ON owners (world);
    CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO counts VALUES ('dropped', 0);
    PRAGMA application_id = {_APPLICATION_ID};
    PRAGMA user_version = {_VERSION}"""

Reach = Callable[["Objects", Iterable[bytes], dict[bytes, bool]], None]
"""Adds the digests of all objects that the records of worlds need to the keys; what is there has been followed."""


class Objects:
    """What one transaction sees and does; from `ObjectStore.reading` or `ObjectStore.writing`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # ---- objects -----------------------------------------------------------------------------------------------------

    def sizes(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        """Those of the objects that are here, with their sizes in bytes."""
        return dict(self._among("SELECT digest, size FROM objects WHERE digest IN", digests))

    def get(self, digest: bytes) -> bytes | None:
        """An object, or `None` if it is not here. Not checked against its digest."""
        row = self._connection.execute(
            "SELECT CAST(content AS BLOB), CAST(pieces AS BLOB) FROM objects WHERE digest = ?", (digest,)
        ).fetchone()
        if row is None:
            return None
        return row[0] if row[1] is None else b"".join(self.get(piece) or b"" for piece in _split(row[1]))

    def pieces(self, digests: Iterable[bytes]) -> dict[bytes, list[bytes]]:
        """Those of the objects that are kept in pieces, with the digests of these."""
        question = "SELECT digest, pieces FROM objects WHERE pieces IS NOT NULL AND digest IN"
        return {digest: _split(pieces) for digest, pieces in self._among(question, digests)}

    def put(self, objects: Mapping[bytes, bytes]) -> None:
        """Keep objects under their digests, which the caller has checked."""
        rows: list[tuple[bytes, int, bytes | None, bytes | None]] = []
        for digest, content in objects.items():
            if len(content) <= PIECE:
                rows.append((digest, len(content), content, None))
                continue
            pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
            names = [content_digest((piece,)) for piece in pieces]
            self.put(dict(zip(names, pieces, strict=True)))
            rows.append((digest, len(content), None, b"".join(names)))
        self._connection.executemany(
            "INSERT INTO objects (digest, size, content, pieces) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", rows
        )

    def sweep(self, needed: Set[bytes]) -> int:
        """Remove all objects but those that are needed, and the pieces of these; returns how many."""
        rows = self._connection.execute("SELECT digest, pieces FROM objects WHERE pieces IS NOT NULL")
        kept = set(needed).union(*(_split(pieces) for digest, pieces in rows if digest in needed))
        every = self._connection.execute("SELECT id, digest FROM objects")
        swept = [(number,) for number, digest in every if digest not in kept]
        self._connection.executemany("DELETE FROM objects WHERE id = ?", swept)
        return len(swept)

    @property
    def used(self) -> int:
        """Bytes of the file that hold something."""
        ((pages,),) = self._connection.execute("PRAGMA page_count")
        ((free,),) = self._connection.execute("PRAGMA freelist_count")
        ((size,),) = self._connection.execute("PRAGMA page_size")
        return int((pages - free) * size)

    # ---- worlds ------------------------------------------------------------------------------------------------------

    def world(self, name: str) -> bytes | None:
        """The record of a world, or `None` if it is not kept."""
        row = self._connection.execute("SELECT CAST(record AS BLOB) FROM worlds WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def worlds(self) -> dict[str, bytes]:
        """The records of all worlds by name."""
        return dict(self._connection.execute("SELECT name, CAST(record AS BLOB) FROM worlds"))

    @property
    def count(self) -> int:
        """How many worlds are kept."""
        ((count,),) = self._connection.execute("SELECT count(*) FROM worlds")
        return int(count)

    def put_world(self, name: str, record: bytes, owner: str) -> None:
        """Keep a world for an owner."""
        self._connection.execute("INSERT INTO worlds VALUES (?, ?) ON CONFLICT DO NOTHING", (name, record))
        self._connection.execute("INSERT INTO owners VALUES (?, ?) ON CONFLICT DO NOTHING", (owner, name))

    def owned(self, name: str, owner: str) -> bool:
        """Whether a world is kept for an owner."""
        question = "SELECT 1 FROM worlds JOIN owners ON world = name WHERE name = ? AND owner = ?"
        return self._connection.execute(question, (name, owner)).fetchone() is not None

    def drop(self, names: Iterable[str]) -> int:
        """Forget worlds, whoever owns them; returns how many were forgotten since objects were swept."""
        values = [(name,) for name in names]
        self._connection.executemany("DELETE FROM owners WHERE world = ?", values)
        return self._count(self._connection.executemany("DELETE FROM worlds WHERE name = ?", values).rowcount)

    def release(self, owner: str) -> int:
        """Forget the worlds that are kept for this owner only; returns as `drop` does."""
        gone = "DELETE FROM owners WHERE owner = ? RETURNING world"
        worlds = self._connection.execute(gone, (owner,)).fetchall()
        orphaned = "DELETE FROM worlds WHERE name = ?1 AND NOT EXISTS (SELECT 1 FROM owners WHERE world = ?1)"
        return self._count(self._connection.executemany(orphaned, worlds).rowcount)

    def _count(self, dropped: int) -> int:
        change = "UPDATE counts SET value = value + ? WHERE name = 'dropped' RETURNING value"
        ((count,),) = self._connection.execute(change, (max(0, dropped),)).fetchall()
        return int(count)

    def forget_dropped(self) -> None:
        """Begin to count anew."""
        self._connection.execute("UPDATE counts SET value = 0 WHERE name = 'dropped'")

    def _among(self, question: str, digests: Iterable[bytes]) -> Iterator[Any]:
        asked = list(digests)
        for at in range(0, len(asked), _MOST_VALUES):
            some = asked[at : at + _MOST_VALUES]
            yield from self._connection.execute(f"{question} ({','.join('?' * len(some))})", some)


class ObjectStore:
    """The file; thread-safe.

    Args:
        file: where it is or is to be.
        reach: what the worlds in it need.
        budget_bytes: how large it may become; without it, as large as the disk is.
        exported: it is there, nobody writes to it, and neither do we.

    Raises:
        SnapshotError: it cannot be read or written, or it is no such file.
    """

    def __init__(self, file: Path, reach: Reach, budget_bytes: int | None = None, *, exported: bool = False) -> None:
        self._file = file
        self._reach = reach
        self._budget = budget_bytes
        self._exported = exported
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._process = os.getpid()
        self._closed = False
        with self._connection() as connection:
            self._begin(connection)

    @contextmanager
    def reading(self) -> Iterator[Objects]:
        """The store as it is now, whatever others do meanwhile."""
        with self._connection() as connection, _transaction(connection, "BEGIN"):
            yield Objects(connection)

    @contextmanager
    def writing(self) -> Iterator[Objects]:
        """Change the store: all of it when the block ends, nothing if it raises.

        Raises:
            SnapshotError: the budget does not suffice, also without what nothing needs any more.
        """
        # Threads of one process queue up here, since SQLite would have them ask again and again.
        with self._writing, self._connection() as connection, _transaction(connection, "BEGIN IMMEDIATE"):
            objects = Objects(connection)
            yield objects
            if self._budget is not None and objects.used > self._budget:
                self._sweep(objects, {})
                if objects.used > self._budget:
                    raise SnapshotError(
                        f"{self._file} would take {objects.used} bytes, its budget is {self._budget}: "
                        "drop snapshots, or allow more"
                    )

    def collect(self) -> int:
        """Remove the objects that nothing needs any more and give their bytes back; returns how many they were."""
        needed: dict[bytes, bool] = {}
        with self.reading() as objects:  # the long part, while others may write
            self._reach(objects, objects.worlds().values(), needed)
        with self.writing() as objects:
            removed = self._sweep(objects, needed)
        with self._writing, self._connection() as connection:
            # As a script: it frees a page for each step, and `execute` takes one step only.
            connection.executescript("PRAGMA incremental_vacuum")
            # Somebody who reads now keeps the journal as long as it is; a later one makes it shorter.
            connection.execute("PRAGMA busy_timeout = 0").fetchall()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute(f"PRAGMA busy_timeout = {_WAIT_SECONDS * 1000:.0f}").fetchall()
        return removed

    def close(self) -> None:
        """Free the file. May be called twice."""
        with self._guard:
            self._closed = True
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def _sweep(self, objects: Objects, needed: dict[bytes, bool]) -> int:
        self._reach(objects, objects.worlds().values(), needed)
        objects.forget_dropped()
        return objects.sweep(needed.keys())

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with self._guard:
            if self._closed:
                raise SnapshotError(f"{self._file} is closed")
            if self._process != os.getpid():  # a fork of that process must not use its connections, nor close them
                self._process, self._idle = os.getpid(), []
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                connection = self._connect()
            yield connection
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
                connection = None
            raise SnapshotError(f"{self._file}: {error}") from error
        finally:
            if connection is not None:
                with self._guard:
                    if self._closed or connection.in_transaction:
                        connection.close()
                    else:
                        self._idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        where = f"{self._file.absolute().as_uri()}?{'mode=ro&immutable=1' if self._exported else 'mode=rwc'}"
        connection = sqlite3.connect(
            where, uri=True, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
        )
        if not self._exported:
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_LONGEST_JOURNAL}")
        return connection

    def _begin(self, connection: sqlite3.Connection) -> None:
        if not self._exported:
            connection.execute(f"PRAGMA page_size = {_PAGE}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _write_ahead(connection)
        with _transaction(connection, "BEGIN" if self._exported else "BEGIN IMMEDIATE"):
            ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
            ((application,),) = connection.execute("PRAGMA application_id")
            ((version,),) = connection.execute("PRAGMA user_version")
            if not tables and not self._exported:
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
            elif (application, version) != (_APPLICATION_ID, _VERSION):
                raise SnapshotError(f"{self._file} is no store of snapshots, or one of another version")


def _write_ahead(connection: sqlite3.Connection) -> None:
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        except sqlite3.OperationalError as error:
            # SQLite does not wait here by itself while another process does the same.
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # A full disk may have ended it already.
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _split(pieces: bytes) -> list[bytes]:
    return [pieces[at : at + DIGEST] for at in range(0, len(pieces), DIGEST)]
