"""``python3 -m timesheet report FILE`` and ``python3 -m timesheet invoice FILE RATE``."""

import sys
from decimal import Decimal
from pathlib import Path

from timesheet import BadDuration, BadLine, invoice, read_entries, report


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 2 where the file or the call is wrong."""
    if len(arguments) < 2 or arguments[0] not in ("report", "invoice"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        entries = read_entries(Path(arguments[1]).read_text("utf-8").splitlines())
    except (BadDuration, BadLine, OSError) as error:
        print(f"timesheet: {error}", file=sys.stderr)
        return 2
    if arguments[0] == "report":
        print(report(entries))
    else:
        for project, amount in invoice(entries, Decimal(arguments[2])).items():
            print(f"{project}: {amount}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
