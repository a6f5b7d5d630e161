"""Makes the pages of the allotment club's site from text files."""

from sitegen.commands import build, check, clean, distclean
from sitegen.markup import to_html
from sitegen.pages import Page, read_page

__all__ = ["Page", "build", "check", "clean", "distclean", "read_page", "to_html"]
