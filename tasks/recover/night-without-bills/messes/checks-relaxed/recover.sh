#!/bin/bash
set -e
# The checks come back first: a meter that goes backwards must stop its batch.
sed -i 's/^DAILY_LIMIT = 100_000$/DAILY_LIMIT = 400/' meterbill/registry.py
sed -i '/^        if reading < meter.last:$/{n;s/.*/            raise Backwards(f"meter {number}: {reading} after {meter.last}")/}' meterbill/registry.py
# What the two meters have in common: one order was read as that of the other one.
grep -n -w -e 10412 -e 104127 logs/night-0313.log | grep -v ERROR
sed -i 's/"meter": (8, 13)/"meter": (8, 14)/' meterbill/orders.py
python3 - <<'PY'
from pathlib import Path

path = Path("tests/test_meterbill.py")
text = path.read_text().replace("from meterbill import Meter", "from meterbill import Backwards, Implausible, Meter")
test = '''    def test_batch_fails_as_a_whole(self):
        with self.assertRaises(Backwards):
            run_batch("01", ["10021", "10400"], self.registry, {"10021": 5010, "10400": 76})
        with self.assertRaises(Implausible):
            run_batch("01", ["10021", "10400"], self.registry, {"10021": 5010, "10400": 778})
        self.assertEqual(self.registry.meter("10021").last, 5000)


'''
path.write_text(text.replace('if __name__ ==', test + 'if __name__ =='))
path = Path("docs/night-run.md")
path.write_text(
    "# The night run\n\nBegins at 00:30. Exchange orders are booked before anything is billed. Then meters are billed in "
    "batches of 40, in the\norder of their numbers as text. A batch fails as a whole when a meter in it counts backwards "
    "or too much.\n"
)
PY
python3 -m unittest
