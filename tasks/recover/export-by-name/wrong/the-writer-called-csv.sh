#!/bin/bash
# The format is called csv, so the writer called csv is mended. At Hall's, another one runs under that name.
set -e
python3 - <<'PY'
from pathlib import Path

path = Path("orders/writers/csv.py")
path.write_text(
    path.read_text().replace(
        """        return f'"{text}"' if self.comma in text else text
""",
        """        if not any(each in text for each in (self.comma, '"', "\\n", "\\r")):
            return text
        return '"' + text.replace('"', '""') + '"'
""",
    )
)
PY
python3 -m unittest
