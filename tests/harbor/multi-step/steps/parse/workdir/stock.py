"""Reads the warehouse's ledger of movements."""

import json
import sys


def read(path):
    movements = []
    with open(path, encoding="utf-8") as ledger:
        for line in ledger:
            date, kind, item, qty, *rest = line.split()
            price = float(rest[1]) if rest else None
            movements.append({"date": date, "kind": kind, "item": item, "qty": int(qty), "price": price})
    return movements


def main(arguments):
    if len(arguments) != 2 or arguments[0] != "parse":
        print("usage: stock.py parse FILE", file=sys.stderr)
        return 64
    print(json.dumps(read(arguments[1]), ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
