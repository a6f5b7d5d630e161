#!/bin/bash
# For the steps without a test.sh of their own: the share of the step's cases that come out right.
{
    share=$(python3 -I -S /tests/check.py /tests/cases.json) || share=0
    mkdir -p /logs/verifier
    rm -f /logs/verifier/reward.txt
    printf '{"reward": %s}\n' "$share" > /logs/verifier/reward.json
    exit 0
}
