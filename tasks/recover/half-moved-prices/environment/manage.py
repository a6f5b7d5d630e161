"""``python3 manage.py migrate | prices``; the catalogue is data/catalogue.json."""

import sys
from pathlib import Path

from catalogue import Store, migrate, price_list


def main(arguments: list[str]) -> int:
    """Run one command."""
    store = Store(Path("data/catalogue.json"))
    if arguments == ["migrate"]:
        print(f"{migrate(store)} articles changed")
    elif arguments == ["prices"]:
        print("\n".join(price_list(store)))
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
