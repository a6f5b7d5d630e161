"""Commands of the site: ``python3 manage.py build | check | clean | distclean``."""

import sys
from pathlib import Path

from sitegen import build, check, clean, distclean

COMMANDS = {"build": build, "check": check, "clean": clean, "distclean": distclean}


def main(arguments: list[str]) -> int:
    """Run one command; its lines are printed."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python3 manage.py {' | '.join(COMMANDS)}")
        return 2
    for line in COMMANDS[arguments[0]](Path(".")):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
