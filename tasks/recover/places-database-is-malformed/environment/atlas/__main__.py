"""``python3 -m atlas place NAME``, ``python3 -m atlas country NAME``, ``python3 -m atlas highest COUNT``."""

import sys

from atlas import NoSuchPlace, Place, find, highest, in_country, population_of


def describe(place: Place) -> str:
    """A place in one line."""
    elevation = "elevation unknown" if place.elevation is None else f"{place.elevation} m"
    capital = ", capital" if place.capital else ""
    return f"{place.name}, {place.country}: {place.population} people, {elevation}{capital}"


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is 1 for a place that is not there, 2 where the call is wrong."""
    match arguments:
        case ["place", name]:
            try:
                print(describe(find(name)))
            except NoSuchPlace:
                print(f"atlas: no place is called {name!r}", file=sys.stderr)
                return 1
        case ["country", name]:
            for place in in_country(name):
                print(describe(place))
            print(f"{population_of(name)} people")
        case ["highest", count] if count.isdecimal():
            for place in highest(int(count)):
                print(describe(place))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
