"""Places, and questions about them."""

from dataclasses import dataclass
from typing import Any

from atlas import _fields
from atlas.db import rows


class NoSuchPlace(LookupError):
    """The atlas does not have it."""


@dataclass(frozen=True)
class Place:
    """A town. Its elevation is in metres; None where nobody knows."""

    name: str
    country: str
    population: int
    elevation: int | None = None
    capital: bool = False


def find(name: str) -> Place:
    """The place of this name; the one with most people where there are several.

    Raises:
        NoSuchPlace: there is none.
    """
    found = [_place(row) for row in rows("SELECT * FROM places WHERE name = ?", name)]
    if not found:
        raise NoSuchPlace(name)
    return max(found, key=lambda place: place.population)


def countries() -> list[str]:
    """All countries, sorted."""
    return [str(row[0]) for row in rows("SELECT DISTINCT country FROM places ORDER BY country")]


def in_country(country: str) -> list[Place]:
    """The places of a country, the largest first."""
    found = [_place(row) for row in rows("SELECT * FROM places WHERE country = ?", country)]
    return sorted(found, key=lambda place: (-place.population, place.name))


def population_of(country: str) -> int:
    """How many people live in the places of a country."""
    return sum(place.population for place in in_country(country))


def highest(count: int) -> list[Place]:
    """The highest places, the highest first; those of unknown elevation are left out."""
    known = [(place.elevation, place) for place in map(_place, rows("SELECT * FROM places")) if place.elevation is not None]
    return [place for _, place in sorted(known, key=lambda each: (-each[0], each[1].name))[:count]]


def _place(row: tuple[Any, ...]) -> Place:
    return Place(
        row[_fields.NAME],
        row[_fields.COUNTRY],
        row[_fields.POPULATION],
        None if _fields.ELEVATION is None else row[_fields.ELEVATION],
        False if _fields.CAPITAL is None else bool(row[_fields.CAPITAL]),
    )
