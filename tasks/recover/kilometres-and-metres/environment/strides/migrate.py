"""Lengths in metres instead of kilometres."""

from strides.club import Club


def migrate(club: Club) -> int:
    """Bring all lengths into metres, and return how many were changed. Goes on where it was interrupted."""
    if club.meta("unit") == "metres":
        return 0
    done_to = int(club.meta("metres_done_to") or 0)
    rows = club.database.execute("SELECT id, length FROM runs WHERE id > ? ORDER BY id", (done_to,)).fetchall()
    for number, length in rows:
        with club.database:
            club.database.execute("UPDATE runs SET length = ? WHERE id = ?", (round(length * 1000), number))
            club.database.execute("REPLACE INTO meta VALUES ('metres_done_to', ?)", (str(number),))
    with club.database:
        club.database.execute("REPLACE INTO meta VALUES ('unit', 'metres')")
        club.database.execute("DELETE FROM meta WHERE key = 'metres_done_to'")
    return len(rows)
