#!/bin/bash
set -e
sed -n '/def scan/,/def append/p' reports/store.py
python3 - <<'PY'
from pathlib import Path

path = Path("reports/store.py")
text = path.read_text()
text = text.replace("        if self.readers == 1:\n", "        if self.readers:\n")
head, _, rest = text.partition("        for row in list(table.rows):\n")
text = (
    head
    + '''        try:
            yield from table.rows
        finally:
            table.readers -= 1
            log.debug("%s: %d reading", name, table.readers)

'''
    + rest[rest.index("    def append") :]
)
path.write_text(text)

path = Path("reports/jobs.py")
text = path.read_text()
text = text.replace(
    '''        self.jobs = {job.number: job for job in self.jobs.values() if not job.over}
        waiting = list(self.jobs.values())
''',
    '''        waiting = [job for job in self.jobs.values() if not job.over]
''',
)
# A job that is over is kept, and with it its scan: so it has to end the scan itself, however it came to be over.
text = text.replace(
    '''                self.state = "broken"
                log.info''',
    '''                self.state = "broken"
                self._rows.close()
                log.info''',
)
text = text.replace(
    '''            self.state = "cancelled"
''',
    '''            self.state = "cancelled"
            if self._rows is not None:
                self._rows.close()
''',
)
path.write_text(text)
PY
python3 -m unittest
