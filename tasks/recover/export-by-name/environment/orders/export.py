"""``python3 -m orders.export CONFIG FORMAT ORDERS.json``: prints orders in a format."""

import sys
from collections.abc import Sequence
from pathlib import Path

from orders.loader import UnknownFormat, read_config, writer_for
from orders.model import Order, read_orders


def export(orders: Sequence[Order], name: str, config_path: Path) -> str:
    """The orders as text, in the format that the site's config calls `name`."""
    writer = writer_for(name, read_config(config_path))
    return "".join(line + writer.end for line in writer.lines(orders))


def main(arguments: list[str]) -> int:
    """Run the command."""
    if len(arguments) != 3:
        print(__doc__)
        return 2
    config, name, orders = arguments
    try:
        sys.stdout.write(export(read_orders(Path(orders)), name, Path(config)))
    except UnknownFormat as error:
        print(f"unknown format: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
