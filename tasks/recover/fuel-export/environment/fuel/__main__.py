"""Print what was fuelled: ``python3 -m fuel EXPORT CARDS``."""

import sys
from pathlib import Path

from fuel.cards import CardsError, read_cards
from fuel.export import ExportError, read_export
from fuel.report import report, totals


def main(arguments):
    """Print the report; 2 if there is none."""
    if len(arguments) != 2:
        print("usage: python3 -m fuel EXPORT CARDS", file=sys.stderr)
        return 2
    try:
        export, cards = (Path(each).read_bytes() for each in arguments)
        print(report(totals(read_export(export), read_cards(cards))))
    except (OSError, ExportError, CardsError) as error:
        print(f"fuel: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
