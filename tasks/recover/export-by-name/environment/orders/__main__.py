"""``python3 -m orders CONFIG FORMAT ORDERS.json``: prints orders in a format."""

import sys
from pathlib import Path

from orders import UnknownFormat, export, read_orders


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
