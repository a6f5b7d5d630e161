"""The database file."""

import sqlite3
from contextlib import closing
from pathlib import Path

from atlas import _fields

DATABASE = Path(__file__).parent.parent / "data" / "places.db"


class StaleDatabase(RuntimeError):
    """The database and the program are not of the same schema."""


def connect(path: Path | str = DATABASE) -> sqlite3.Connection:
    """A connection that only reads.

    Raises:
        StaleDatabase: the file is of another schema than `_fields.py`.
        sqlite3.Error: it cannot be read.
    """
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        found = _user_version(connection)
        if found != _fields.SCHEMA:
            raise StaleDatabase(f"the database is of schema {found}, the program of {_fields.SCHEMA}")
    except BaseException:
        connection.close()
        raise
    return connection


def version(path: Path | str = DATABASE) -> int:
    """The schema that the file is of."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return _user_version(connection)


def rows(query: str, *values: object) -> list[tuple[object, ...]]:
    """What a query finds."""
    with closing(connect()) as connection:
        return connection.execute(query, values).fetchall()


def _user_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
