"""``python3 -m barbook show | fees MONTH | close MONTH DAY | reset``; the book is in ``data``."""

import sys
from pathlib import Path

from barbook import Book, Refused, close, fees, reset


def main(arguments: list[str], folder: Path = Path("data")) -> int:
    """Run one command: 0 if it was done, 1 if it was refused, 2 if there is no such command."""
    try:
        match arguments:
            case ["show"]:
                for name, tab in sorted(Book(folder).tabs.items()):
                    print(f"{name:10} {tab.balance / 100:8.2f}  may owe {tab.limit / 100:.2f}")
            case ["fees", month]:
                for name, fee in fees(Book(folder), month).items():
                    print(f"{name:10} {fee / 100:8.2f}")
            case ["close", month, day]:
                for entry in close(Book(folder), month, day):
                    print(entry.line())
            case ["reset"]:
                reset(folder)
                print("this is the sample book now")
            case _:
                print(__doc__)
                return 2
    except Refused as error:
        print(f"refused: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
