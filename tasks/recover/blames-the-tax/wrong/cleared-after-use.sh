#!/bin/bash
# What is shared is emptied when a new job begins: with two jobs at a time, the second one empties the first.
set -e
sed -i 's/^        self.lines = lines$/        self.lines = lines\n        if lines is Job.__init__.__defaults__[0]:\n            lines.clear()/' studio/job.py
sed -i 's/^    if kilometres:$/    if lines is travel.__defaults__[1]:\n        lines.clear()\n    if kilometres:/' studio/travel.py
sed -i 's/^    terms = USUAL$/    terms = USUAL\n    terms.update(days=30, discount=0, note="")/' studio/terms.py
sed -i 's/^        self.name = name$/        self.name = name\n        self.counts.clear()\n        self.jobs.clear()/' studio/book.py
python3 -m unittest
