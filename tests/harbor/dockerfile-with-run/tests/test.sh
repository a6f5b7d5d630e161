#!/bin/bash
# Makes the lists once more from their seed, so that nothing is taken from the agent's folder but the totals.
: "${AUDIT_SEED:?the seed of the lists}"

if python3 -I -S /tests/audit.py "$AUDIT_SEED" "${AUDIT_TOLERANCE_GRAMS:-0}" totals.json; then
    echo 1 > /logs/verifier/reward.txt
else
    echo 0 > /logs/verifier/reward.txt
fi
