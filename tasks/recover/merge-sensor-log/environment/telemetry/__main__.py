"""Print the summary of a log: ``python3 -m telemetry FILE``."""

import sys

from telemetry.readings import LogError, read_log
from telemetry.report import report
from telemetry.summary import summarize


def main(arguments):
    """Print the summary; 2 if it cannot be made."""
    if len(arguments) != 1:
        print("usage: python3 -m telemetry FILE", file=sys.stderr)
        return 2
    try:
        with open(arguments[0], encoding="utf-8") as file:
            readings = read_log(file.read())
    except (OSError, LogError) as error:
        print(f"telemetry: {error}", file=sys.stderr)
        return 2
    print(report(summarize(readings)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
