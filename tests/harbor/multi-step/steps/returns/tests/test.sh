#!/bin/bash
# All or nothing: the new cases and what must not have broken.
{
    share=$(python3 -I -S /tests/check.py /tests/cases.json) || share=0
    mkdir -p /logs/verifier
    rm -f /logs/verifier/reward.txt
    if [ "$share" = "1.0" ]; then
        echo '{"reward": 1.0}' > /logs/verifier/reward.json
    else
        echo '{"reward": 0.0}' > /logs/verifier/reward.json
    fi
    exit 0
}
