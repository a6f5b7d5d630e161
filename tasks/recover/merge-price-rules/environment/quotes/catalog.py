"""What we sell and what it costs, read from catalog.ini."""

import configparser
from decimal import Decimal
from pathlib import Path

_FILE = Path(__file__).with_name("catalog.ini")


class UnknownArticle(KeyError):
    """There is no such article in the catalog."""


def _read():
    parser = configparser.ConfigParser()
    with _FILE.open(encoding="utf-8") as file:
        parser.read_file(file)
    return parser


_CATALOG = _read()


def articles():
    """The names of all articles, sorted."""
    return sorted(_CATALOG.sections())


def _article(sku):
    try:
        return _CATALOG[sku]
    except KeyError:
        raise UnknownArticle(sku) from None


def price_of(sku):
    """The price of one piece, in euros."""
    return Decimal(_article(sku)["price"])


def title_of(sku):
    """What the article is called on paper."""
    return _article(sku)["title"]


def is_clearance(sku):
    """Whether the article is sold off."""
    return _article(sku).getboolean("clearance", fallback=False)
