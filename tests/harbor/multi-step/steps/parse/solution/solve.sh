#!/bin/bash
set -euo pipefail

cat > stock.py <<'PYTHON'
"""Reads the warehouse's ledger of movements."""

import json
import re
import sys

KINDS = ("IN", "OUT")
LINE = re.compile(
    r"""\s*(?P<date>\d{4}-\d{2}-\d{2})
        \s+(?P<kind>[A-Z]+)
        \s+(?:"(?P<quoted>[^"]+)"|(?P<bare>[^\s"\#]+))
        \s+(?P<qty>\d+(?:_\d+)*)
        (?:\s+@\s+(?P<price>\d+(?:\.\d+)?))?
        \s*(?:\#.*)?$""",
    re.VERBOSE,
)


class BadLines(Exception):
    pass


def read(path):
    movements, bad = [], []
    with open(path, encoding="utf-8") as ledger:
        for number, line in enumerate(ledger, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            found = LINE.match(line)
            if not found or found["kind"] not in KINDS or int(found["qty"]) == 0:
                bad.append(number)
                continue
            movements.append(
                {
                    "date": found["date"],
                    "kind": found["kind"],
                    "item": found["quoted"] or found["bare"],
                    "qty": int(found["qty"]),
                    "price": float(found["price"]) if found["price"] else None,
                }
            )
    if bad:
        raise BadLines(bad)
    return movements


def main(arguments):
    if len(arguments) != 2 or arguments[0] != "parse":
        print("usage: stock.py parse FILE", file=sys.stderr)
        return 64
    try:
        movements = read(arguments[1])
    except BadLines as bad:
        for number in bad.args[0]:
            print(f"line {number}: bad movement", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(encoding="utf-8")
    print(json.dumps(movements, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
PYTHON

python3 stock.py parse movements.txt > /dev/null
