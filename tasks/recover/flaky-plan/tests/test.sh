#!/bin/bash
# For other runners of Harbor tasks, which trust what this says. agentdistill runs test_flaky_plan.py by itself, with the work
# in a process of its own (see [metadata.agentdistill.verifier] in task.toml).
PYTHONPATH="$(dirname "$0"):$PWD" python3 -B -m unittest test_flaky_plan
code=$?
if [ -d /logs/verifier ]; then
    echo $((code == 0)) > /logs/verifier/reward.txt
fi
exit $code
