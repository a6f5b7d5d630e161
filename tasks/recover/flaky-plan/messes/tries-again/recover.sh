#!/bin/bash
# The check goes back to what it was (it was shown), the test comes back, and order.py asks again whether a job's needs are done.
set -e
cat > check.sh <<'END'
#!/bin/bash
# The gate before a release, as the build server runs it: every run is a fresh one, as in production.
export PYTHONHASHSEED=random
exec python3 -B -m unittest "$@"
END
chmod +x check.sh
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
change(
    "nightly/order.py",
    ("', '.join(waiting)", "', '.join(sorted(waiting))"),
    ("if len(jobs[name].needs) <= len(done))", "if jobs[name].needs <= set(done))"),
    ("ready.pop()", "ready[0]"),
)
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
change(
    "tests/test_nightly.py",
    (
        "    def test_all_minutes_are_somebodys(self):\n",
        """    def test_backups_are_made_before_reports(self):
        self.assertLess(order(JOBS).index("backup"), order(JOBS).index("report"))

    def test_all_minutes_are_somebodys(self):
""",
    ),
)
END
for seed in 0 1 2 3; do PYTHONHASHSEED=$seed python3 -m unittest; done
./check.sh
