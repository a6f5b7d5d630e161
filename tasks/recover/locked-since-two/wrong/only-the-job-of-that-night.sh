#!/bin/bash
# The quiet line is found, and the one way is closed that it tells of. A job that somebody cancels still holds its table.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("reports/jobs.py")
path.write_text(
    path.read_text().replace(
        '''            except Unprintable as error:
                self.state = "broken"
''',
        '''            except Unprintable as error:
                self.state = "broken"
                store.table(self.table).readers -= 1
''',
    )
)
PY
python3 -m unittest
