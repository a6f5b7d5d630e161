"""Orders as text, in the formats of a site."""

from collections.abc import Sequence
from pathlib import Path

from orders.loader import read_config, writer_for
from orders.model import Order


def export(orders: Sequence[Order], name: str, config_path: Path) -> str:
    """The orders as text, in the format that the site's config calls `name`."""
    writer = writer_for(name, read_config(config_path))
    return "".join(line + writer.end for line in writer.lines(orders))
