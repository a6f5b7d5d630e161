#!/bin/bash
# Runs in the verifier's own container. /app/out and /logs/artifacts are all that comes over from the agent's.
mkdir -p /logs/verifier
exec python3 -I -S /tests/grade.py /app/out/roster.json /logs/artifacts/note.txt /logs/verifier/reward.json
