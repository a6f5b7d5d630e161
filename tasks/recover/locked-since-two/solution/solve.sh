#!/bin/bash
set -e
grep 'store: orders: . reading' logs/server.log | tail -n 2
grep -n ' jobs: .*ended' logs/server.log
cat docs/jobs.md
python3 - <<'PY'
from pathlib import Path

path = Path("reports/store.py")
path.write_text(
    path.read_text().replace(
        '''        for row in table.rows:
            yield row
        table.readers -= 1
        log.debug("%s: %d reading", name, table.readers)
''',
        '''        try:
            yield from table.rows
        finally:
            table.readers -= 1
            log.debug("%s: %d reading", name, table.readers)
''',
    )
)
path = Path("reports/jobs.py")
path.write_text(
    path.read_text()
    .replace(
        '''                log.info("job %d: ended after %d rows: %s", self.number, len(self.lines) - 1, error)
''',
        '''                self._let_go()
                log.info("job %d: ended after %d rows: %s", self.number, len(self.lines) - 1, error)
''',
    )
    .replace(
        '''            self.state = "cancelled"
''',
        '''            self.state = "cancelled"
            self._let_go()
''',
    )
    .replace(
        '''

class Runner:
''',
        '''
    def _let_go(self) -> None:
        """End the scan, and with it the lock. The job is kept, so nobody else would."""
        if self._rows is not None:
            self._rows.close()
            self._rows = None


class Runner:
''',
    )
)
PY
python3 -m unittest
