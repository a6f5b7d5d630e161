#!/bin/bash
set -e
grep -rn amount stock | sort
sed -i 's/\.amount(/.level(/g' stock/report.py stock/warehouse.py
python3 -m unittest
sed -i 's/^        self\.remove(item, count)$/        self.need_stock(item, count)\n        if other is not self:\n            other.need_room(count)\n        self.remove(item, count)/' stock/warehouse.py
python3 -m unittest
