#!/bin/bash
# A share of the cases, as one number: half of them are needed to go on.
{
    share=$(python3 -I -S /tests/check.py /tests/cases.json) || share=0
    mkdir -p /logs/verifier
    rm -f /logs/verifier/reward.json
    printf '%s\n' "$share" > /logs/verifier/reward.txt
    exit 0
}
