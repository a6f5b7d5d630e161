#!/bin/bash
# The first cause is found, the test passes, and nobody looks for others of its kind.
set -e
sed -i 's/lines: list\[Line\] = \[\]) -> None:/lines: list[Line] | None = None) -> None:/; s/self.lines = lines$/self.lines = lines or []/' studio/job.py
python3 -m unittest
