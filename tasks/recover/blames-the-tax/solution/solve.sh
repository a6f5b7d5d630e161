#!/bin/bash
set -e
python3 -m unittest tests.test_invoices.PrintRightsTest
grep -rnE '= (\[\]|\{|USUAL)' studio | sort
sed -i 's/lines: list\[Line\] = \[\]) -> None:/lines: list[Line] | None = None) -> None:/; s/self.lines = lines$/self.lines = list(lines or [])/' studio/job.py
sed -i 's/terms = USUAL$/terms = dict(USUAL)/' studio/terms.py
sed -i 's/lines: list\[Line\] = \[\]) ->/lines: list[Line] | None = None) ->/; s/^    if kilometres:$/    lines = list(lines or [])\n    if kilometres:/' studio/travel.py
sed -i '/^    counts: dict/,/^$/d; s/^        self.name = name$/        self.name = name\n        self.counts: dict[int, int] = {}\n        self.jobs: list[tuple[str, Job]] = []/' studio/book.py
python3 -m unittest
