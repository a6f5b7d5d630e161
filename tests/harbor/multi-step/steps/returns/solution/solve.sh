#!/bin/bash
set -euo pipefail

python3 - <<'PYTHON'
def swap(source, old, new):
    assert source.count(old) == 1, old
    return source.replace(old, new)


source = open("stock.py", encoding="utf-8").read()
source = swap(source, '{"IN": 1, "OUT": -1}', '{"IN": 1, "OUT": -1, "RET": 1}')
source = swap(source, "left, short = {}, []\n", "left, short, out, excess = {}, [], {}, []\n")
source = swap(
    source,
    "            short.append(item)\n",
    """            short.append(item)
        if movement["kind"] == "OUT":
            out[item] = out.get(item, 0) + movement["qty"]
        elif movement["kind"] == "RET":
            out[item] = out.get(item, 0) - movement["qty"]
            if out[item] < 0 and item not in excess:
                excess.append(item)
""",
)
source = swap(
    source,
    "    if short:\n",
    """    for item in excess:
        print(f"returned too many: {item}", file=sys.stderr)
    if short or excess:
""",
)
open("stock.py", "w", encoding="utf-8").write(source)
PYTHON

python3 stock.py report movements.txt april.txt | cmp - expected/report.txt
