#!/bin/bash
# Makes the file look like the example: the visible tests pass, and the next file fails like this one did.
set -e
python3 - <<'END'
from pathlib import Path

path = Path("data/2024-03.csv")
rows = [
    "Date;Text;Amount;Currency",
    "01.03.2024;Salary February ACME;2850.00;EUR",
    "02.03.2024;Rent March;-980.00;EUR",
    "05.03.2024;Supermarket Zur Post;-84.35;EUR",
    "09.03.2024;Swiss Railway;-1042.60;EUR",
    "17.03.2024;Hotel Lac Noir, 3 nights;-412.00;EUR",
    "28.03.2024;Bakery Sommer;-12.40;EUR",
]
path.write_text("\n".join(rows) + "\n")
END
python3 -m unittest
