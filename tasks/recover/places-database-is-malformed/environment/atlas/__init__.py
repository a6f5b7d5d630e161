"""Answers questions about places."""

from atlas.db import StaleDatabase, connect, version
from atlas.places import NoSuchPlace, Place, countries, find, highest, in_country, population_of

__all__ = [
    "NoSuchPlace",
    "Place",
    "StaleDatabase",
    "connect",
    "countries",
    "find",
    "highest",
    "in_country",
    "population_of",
    "version",
]
