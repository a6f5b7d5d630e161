#!/bin/bash
set -e
sed -i '/^    amount = level$/,+1d' stock/warehouse.py
sed -i 's/\.amount(/.level(/g' stock/report.py stock/warehouse.py
python3 - <<'PYTHON'
from pathlib import Path

path = Path("stock/warehouse.py")
wrong = "        other.add(item, count)\n        self.remove(item, count)\n"
right = (
    "        self.need_stock(item, count)\n"
    "        if other is not self:\n"
    "            other.need_room(count)\n"
    "        self.remove(item, count)\n"
    "        other.add(item, count)\n"
)
text = path.read_text()
assert wrong in text
path.write_text(text.replace(wrong, right))
PYTHON
python3 -m unittest
