#!/bin/bash
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p out /logs/artifacts
cost=$(python3 "$here/plan.py" data out/roster.json.tmp)
mv out/roster.json.tmp out/roster.json
echo "left over by the planner" > out/states.tmp
echo "cost: $cost" > /logs/artifacts/note.txt
