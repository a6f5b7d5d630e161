#!/bin/bash
# The plan is where the test shows it, and there both sides can be made alike.
set -e
sed -i 's/sent.get(key) !=/sent.get(key.casefold()) !=/; s/if key not in current\]/if key not in {each.casefold() for each in current}]/' mirror/plan.py
sed -i 's/sent\[note.key\] = /sent[note.key.casefold()] = /' mirror/sync.py
python3 -m unittest
