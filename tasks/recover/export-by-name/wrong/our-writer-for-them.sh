#!/bin/bash
# Ours is mended and theirs is put aside for it: Hall's file has other columns, other commas and other line ends now.
set -e
sed -i "s/^        return f.*comma in text else text$/        marks = (self.comma, '\"', '\\\\n', '\\\\r')\n        return '\"' + text.replace('\"', '\"\"') + '\"' if any(each in text for each in marks) else text/" orders/writers/csv.py
sed -i '/^csv = sheet$/d; s/^\[format sheet\]$/[format csv]\ncomma = ;\n\n[format sheet]/' config/hall.ini
python3 -m unittest
python3 -m orders config/hall.ini csv tests/orders.json
