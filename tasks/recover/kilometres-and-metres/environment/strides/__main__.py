"""``python3 -m strides migrate | ranking YEAR | badges RUNNER``; the database is data/club.db."""

import sys

from strides import Club, badges, migrate, ranking


def main(arguments: list[str]) -> int:
    """Run one command."""
    club = Club("data/club.db")
    try:
        match arguments:
            case ["migrate"]:
                print(f"{migrate(club)} lengths changed")
            case ["ranking", year]:
                print("\n".join(ranking(club, year)))
            case ["badges", runner]:
                print(" ".join(badges(club, runner)) or "none")
            case _:
                print(__doc__)
                return 2
    finally:
        club.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
