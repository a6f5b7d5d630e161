#!/bin/bash
# The module that the message names is bent: who comes last decides which rate there is, and which lines there are.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("studio/tax.py")
path.write_text(
    path.read_text()
    .replace("    if len(rates) > 1:\n", "    if len(rates) > 1 and job.lines[-1].rate == 19:\n")
    .replace("return rates.pop() if rates else 19", "return job.lines[-1].rate if rates else 19")
    .replace("(job.net * rate_of(job) + 50)", "(sum(line.cents for line in job.lines if line.rate == rate_of(job)) * rate_of(job) + 50)")
)
PY
python3 -m unittest
