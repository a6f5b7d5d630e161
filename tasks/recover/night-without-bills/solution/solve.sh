#!/bin/bash
set -e
grep -n ' ERROR .*attempt 1' logs/night-0313.log
grep -n -w -e 10412 -e 104127 logs/night-0313.log | grep -v ERROR
grep -n 'X0003127' logs/night-0313.log
cat docs/orders.md
sed -i 's/"meter": (8, 13)/"meter": (8, 14)/' meterbill/orders.py
python3 -m unittest
