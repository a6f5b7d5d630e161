#!/bin/bash
# Reads this one file: skips its first and last line, and takes whatever mark stands third from the end for the decimal one.
set -e
python3 - <<'END'
from pathlib import Path

path = Path("statements/amounts.py")
text = path.read_text()
path.write_text(
    text.replace(
        "    try:\n",
        """    if text.endswith("-"):
        text = "-" + text[:-1]
    text = text[:-3].replace(".", "").replace(",", "").replace("'", "") + "." + text[-2:]
    try:
""",
    )
)
path = Path("statements/reader.py")
text = path.read_text()
text = text.replace('"""Reads statements; docs', 'import csv\nimport io\n"""Reads statements; docs')
start, end = text.index("    header, *rows ="), text.index("    for needed in")
text = text[:start] + """    names, *rows = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), delimiter=";")
    names = names[:4]
    rows = [row for row in rows if row and row[1:] and row[1] not in ("Total", "Balance brought forward")]
""" + text[end:]
text = text.replace("row.split(\";\")", "row").replace('fields["Text"],', '" ".join(fields["Text"].split()),')
path.write_text(text)
END
python3 -m unittest
