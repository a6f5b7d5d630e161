#!/bin/bash
# The net sum is taken from the order, so the total is right, and no longer the sum of the lines.
set -e
sed -i 's/^    net = sum(line.net for line in lines)$/    net = sum(amounts) - order.discount/' billing/invoice.py
python3 -m unittest
