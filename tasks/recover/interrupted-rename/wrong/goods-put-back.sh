#!/bin/bash
# Puts the goods in before it takes them out: a transfer of what is not there now makes goods out of nothing.
set -e
sed -i 's/\.amount(/.level(/g' stock/report.py stock/warehouse.py
sed -i 's/^        self\.remove(item, count)$/        other.add(item, count)/; t; s/^        other\.add(item, count)$/        self.remove(item, count)/' stock/warehouse.py
python3 -m unittest
