#!/bin/bash
set -e
python3 -m unittest || true
ls statistics
grep -rn statistics grades | sort
mv statistics results
sed -i 's/^from statistics.reader import read_rows$/from results.reader import read_rows/; s/"statistics"/"results"/' grades/terms.py
python3 -m grades overview
python3 -m unittest
