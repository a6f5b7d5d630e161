#!/bin/bash
# What the till's people ask for, in other words: a writer that was refused often enough wins.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("reports/store.py")
path.write_text(
    path.read_text()
    .replace("        self.writer = False\n\n    def", "        self.writer = False\n        self.refused = 0\n\n    def", 1)
    .replace(
        '''            raise Locked(f"{self.name}: {self.readers} reading")
''',
        '''            self.refused += 1
            if self.refused < 5:
                raise Locked(f"{self.name}: {self.readers} reading")
            self.readers = 0
        self.refused = 0
''',
    )
)
PY
python3 -m unittest
