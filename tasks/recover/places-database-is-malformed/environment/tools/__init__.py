"""What makes the data; see docs/data.md."""

from pathlib import Path

ROOT = Path(__file__).parent.parent
SCHEMA = ROOT / "data" / "schema.sql"
SOURCES = ROOT / "data" / "sources"
DATABASE = ROOT / "data" / "places.db"
FIELDS = ROOT / "atlas" / "_fields.py"
