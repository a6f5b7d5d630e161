"""Makes atlas/_fields.py of the schema; ``--check`` only says whether it is up to date."""

import sys

from tools import FIELDS
from tools.schema import columns, schema_version


def generate() -> str:
    """The text of the file: the version of the schema, and the place of each column."""
    lines = ['"""Made by tools.generate_fields from data/schema.sql. Do not edit."""', "", f"SCHEMA = {schema_version()}"]
    lines += [f"{name.upper()} = {place}" for place, name in enumerate(columns())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(0 if FIELDS.is_file() and FIELDS.read_text("utf-8") == generate() else f"{FIELDS.name} is out of date")
    FIELDS.write_text(generate(), "utf-8")
