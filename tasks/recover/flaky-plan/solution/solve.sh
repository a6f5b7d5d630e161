#!/bin/bash
set -e
cat check.sh
for seed in 0 1 2 3; do PYTHONHASHSEED=$seed python3 -m unittest 2>&1 | grep -E '^(FAIL|ERROR|OK)' || true; done
grep -nE 'set\(|frozenset|hash\(|\.pop\(' nightly/*.py
python3 - <<'END'
from pathlib import Path


def change(name, *pairs):
    path = Path(name)
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    path.write_text(text)


change("nightly/jobs.py", ("', '.join(unknown)", "', '.join(sorted(unknown))"))
change("nightly/order.py", ("', '.join(waiting)", "', '.join(sorted(waiting))"), ("ready.pop()", "min(ready)"))
change(
    "nightly/workers.py",
    ("    return hash(name) % count\n", "    return zlib.crc32(name.encode()) % count\n"),
    ('"""Which of the workers runs a job."""\n', '"""Which of the workers runs a job."""\n\nimport zlib\n'),
)
change(
    "nightly/plan.py",
    ("', '.join(jobs[name].tags)", "', '.join(sorted(jobs[name].tags))"),
    ("key=lambda tag: -len(tagged[tag])", "key=lambda tag: (-len(tagged[tag]), tag)"),
    ("','.join(job.needs)", "','.join(sorted(job.needs))"),
    ("','.join(job.tags)", "','.join(sorted(job.tags))"),
)
END
for seed in 0 1 2 3; do PYTHONHASHSEED=$seed python3 -m unittest; done
./check.sh
