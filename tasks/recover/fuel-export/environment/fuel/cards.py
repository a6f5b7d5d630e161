"""Reads the list of cards; docs/formats.md has what it promises."""

import configparser
from dataclasses import dataclass
from decimal import Decimal

from fuel.numbers import parse_number


class CardsError(ValueError):
    """This list cannot be used; says why."""


@dataclass(frozen=True)
class Card:
    """Whose card it is, and the discount on it in per cent."""

    number: str
    driver: str
    discount: Decimal


def read_cards(raw):
    """Card number -> card, of a list given as the bytes of its file.

    Raises:
        CardsError: it is no list of cards, or a card has no driver.
    """
    parser = configparser.ConfigParser()
    try:
        parser.read_string(raw.decode("utf-8"))
        return {number: _card(number, parser[number]) for number in parser.sections()}
    except (KeyError, ValueError, configparser.Error) as error:
        raise CardsError(f"no list of cards: {type(error).__name__}: {error}") from error


def _card(number, section):
    return Card(number, section["driver"], parse_number(section.get("discount", "0")))
