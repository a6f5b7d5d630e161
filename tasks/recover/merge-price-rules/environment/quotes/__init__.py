"""Makes price quotes for packing material."""

from quotes.lines import Line
from quotes.loyalty import Customer
from quotes.quote import make_quote
from quotes.render import render

__all__ = ["Customer", "Line", "make_quote", "render"]
