"""Bookings by category."""

import configparser
from decimal import Decimal
from pathlib import Path

_RULES = Path(__file__).with_name("rules.ini")


def _categories():
    parser = configparser.ConfigParser()
    parser.read_string(_RULES.read_text("utf-8"))
    return {name: [word.strip() for word in words.split(",")] for name, words in parser["categories"].items()}


def category_of(text):
    """The first category with a word of which `text` has, else ``other``."""
    lowered = text.lower()
    found = (name for name, words in _categories().items() if any(word in lowered for word in words))
    return next(found, "other")


def by_category(bookings):
    """(category, currency) -> sum."""
    sums = {}
    for each in bookings:
        key = (category_of(each.text), each.currency)
        sums[key] = sums.get(key, Decimal("0.00")) + each.amount
    return sums


def report(bookings):
    """The sums as text, sorted, one line each, without a newline at the end."""
    return "\n".join(f"{name}: {amount:.2f} {currency}" for (name, currency), amount in sorted(by_category(bookings).items()))
