#!/bin/bash
# An exchange is made to look plausible: what the old register counted is dropped, a register that goes back is new.
set -e
sed -i 's/^        meter.carried += order.closing - meter.last$/        meter.carried += min(max(order.closing - meter.last, 0), DAILY_LIMIT)/' meterbill/registry.py
sed -i 's/^        if reading < meter.last:$/        if reading < 100 <= meter.last - reading:\n            meter.last = 0\n        if reading < meter.last:/' meterbill/registry.py
python3 -m unittest
