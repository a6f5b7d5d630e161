#!/bin/bash
set -e
cat docs/database.md strides/migrate.py
python3 -c "import sqlite3; print(*sqlite3.connect('data/club.db').execute('SELECT * FROM meta'), sep='\n')"
cat > strides/migrate.py <<'PY'
"""Lengths in metres instead of kilometres."""

from strides.club import Club

_OLD = "id > :done_to AND length IS NOT NULL AND (:live IS NULL OR saved_at < :live)"
"""What is still kilometres: not yet migrated by number, and not saved by the new version."""


def migrate(club: Club) -> int:
    """Bring all lengths into metres, and return how many were changed. Everything happens at once, or nothing."""
    if club.meta("unit") == "metres":
        return 0
    known = {"done_to": int(club.meta("metres_done_to") or 0), "live": club.meta("metres_live_since")}
    with club.database:
        done = club.database.execute(
            f"UPDATE runs SET length = CAST(ROUND(length * 1000) AS INTEGER) WHERE {_OLD}", known
        )
        club.database.execute("REPLACE INTO meta VALUES ('unit', 'metres')")
        club.database.execute("DELETE FROM meta WHERE key = 'metres_done_to'")
    return done.rowcount
PY
sed -i 's/{length:.1f} km/{length \/ 1000:.1f} km/' strides/totals.py
sed -i 's/>= 42.195/>= 42_195/; s/> 50$/> 50_000/; s/>= 1_000$/>= 1_000_000/' strides/badges.py
python3 -m unittest
python3 -m strides migrate
python3 -m strides ranking 2024
