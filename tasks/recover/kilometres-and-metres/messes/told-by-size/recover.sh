#!/bin/bash
set -e
cat docs/database.md docs/changes.md
cat > strides/migrate.py <<'PY'
"""Lengths in metres instead of kilometres."""

from strides.club import Club


def migrate(club: Club) -> int:
    """Bring all lengths into metres, and return how many were changed. Everything happens at once, or nothing."""
    if club.meta("unit") == "metres":
        return 0
    known = {"done_to": int(club.meta("metres_done_to") or 0), "live": club.meta("metres_live_since") or "9999"}
    with club.database:
        done = club.database.execute(
            "UPDATE runs SET length = CAST(ROUND(length * 1000) AS INTEGER) "
            "WHERE id > :done_to AND length IS NOT NULL AND saved_at < :live",
            known,
        )
        club.database.execute("REPLACE INTO meta VALUES ('unit', 'metres')")
        club.database.execute("DELETE FROM meta WHERE key = 'metres_done_to'")
    return done.rowcount
PY
sed -i 's/ and run.kind != "sprint"//' strides/totals.py
sed -i 's/>= 42.195/>= 42_195/; s/> 50$/> 50_000/; s/>= 1_000$/>= 1_000_000/' strides/badges.py
# A sprint has 60 to 800 metres, so those that were metres already can be told; a length of 0 was none.
python3 - <<'PY'
import sqlite3

database = sqlite3.connect("data/club.db")
with database:
    database.execute("UPDATE runs SET length = length / 1000 WHERE kind = 'sprint' AND length > 800")
    database.execute("UPDATE runs SET length = NULL WHERE length = 0")
    database.execute("UPDATE runs SET length = CAST(ROUND(length) AS INTEGER)")
    database.execute("INSERT INTO meta VALUES ('metres_live_since', '2024-09-14T18:00:00')")
print(*database.execute("SELECT kind, min(length), max(length), count(*) - count(length) FROM runs GROUP BY kind"), sep="\n")
PY
python3 -m unittest
python3 -m strides ranking 2024
