"""Makes data/places.db of the schema and the sources; ``--fresh`` begins with an empty one."""

import csv
import sqlite3
import sys
from contextlib import closing

from tools import DATABASE, SCHEMA, SOURCES
from tools.schema import columns, schema_version


def build(fresh: bool) -> int:
    """Bring the database up to date, and say how many places it has.

    Raises:
        ValueError: it is of another schema, and has to be made afresh.
        sqlite3.Error: it cannot be read.
    """
    draft = DATABASE.with_suffix(".new") if fresh else DATABASE
    if fresh:
        draft.unlink(missing_ok=True)
    with closing(sqlite3.connect(draft)) as connection:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found == 0:
            connection.executescript(SCHEMA.read_text("utf-8"))
            connection.execute(f"PRAGMA user_version = {schema_version()}")
        elif found != schema_version():
            raise ValueError(f"{draft.name} is of schema {found}: make it --fresh")
        names = columns()
        marks = ", ".join("?" for _ in names)
        with connection:
            for path in sorted(SOURCES.glob("*.csv")):
                with path.open(newline="", encoding="utf-8") as file:
                    for row in csv.DictReader(file):
                        values = [_value(name, row[name]) for name in names]
                        connection.execute(f"REPLACE INTO places ({', '.join(names)}) VALUES ({marks})", values)
        count = connection.execute("SELECT count(*) FROM places").fetchone()[0]
    if fresh:
        draft.replace(DATABASE)
    return int(count)


def _value(name: str, text: str) -> str | int:
    if name in ("name", "country"):
        return text
    return int(text == "yes") if name == "capital" else int(text)


if __name__ == "__main__":
    print(f"{build('--fresh' in sys.argv[1:])} places")
