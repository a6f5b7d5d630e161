#!/bin/bash
set -euo pipefail

python3 - <<'PYTHON'
source = open("stock.py", encoding="utf-8").read()
head, main = source.split("def main(arguments):\n")
main = '''def report(paths):
    ledgers, failed = [], False
    for path in paths:
        try:
            ledgers.append(read(path))
        except BadLines as bad:
            failed = True
            for number in bad.args[0]:
                print(f"{path}: line {number}: bad movement", file=sys.stderr)
    if failed:
        return 2
    left, short = {}, []
    for movement in (movement for ledger in ledgers for movement in ledger):
        item, sign = movement["item"], SIGNS[movement["kind"]]
        left[item] = left.get(item, 0) + sign * movement["qty"]
        if left[item] < 0 and item not in short:
            short.append(item)
    for item in short:
        print(f"short: {item}", file=sys.stderr)
    if short:
        return 3
    for item in sorted(left):
        print(item, left[item], sep="\\t")
    return 0


def main(arguments):
    sys.stdout.reconfigure(encoding="utf-8")
    if len(arguments) > 1 and arguments[0] == "report":
        return report(arguments[1:])
''' + main
head = head.replace('KINDS = ("IN", "OUT")\n', 'SIGNS = {"IN": 1, "OUT": -1}\n')
head = head.replace('found["kind"] not in KINDS', 'found["kind"] not in SIGNS')
open("stock.py", "w", encoding="utf-8").write(head + main)
PYTHON

python3 stock.py report movements.txt april.txt | cmp - expected/report.txt
