"""``python3 -m grades terms``, ``python3 -m grades report TERM``, ``python3 -m grades overview``."""

import sys

from grades import NoSuchTerm, overview, report, term_names


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 2 where the call is wrong."""
    match arguments:
        case ["terms"]:
            print("\n".join(term_names()))
        case ["report", term]:
            try:
                print(report(term))
            except NoSuchTerm:
                print(f"grades: there is no term {term!r}", file=sys.stderr)
                return 2
        case ["overview"]:
            print(overview())
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
