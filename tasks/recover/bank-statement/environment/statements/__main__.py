"""Sum up a statement: ``python3 -m statements FILE``."""

import sys
from pathlib import Path

from statements.reader import StatementError, read_statement
from statements.report import report


def main(arguments):
    """Print the report; 2 if there is none."""
    if len(arguments) != 1:
        print("usage: python3 -m statements FILE", file=sys.stderr)
        return 2
    try:
        bookings = read_statement(Path(arguments[0]).read_bytes())
    except (OSError, StatementError) as error:
        print(f"statements: {error}", file=sys.stderr)
        return 2
    print(report(bookings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
