#!/bin/bash
# The parts add up, but the cents that are left over go to whoever comes last.
set -e
sed -i 's|^    return \[round(amount \* weight / total) for weight in weights\]$|    parts = [round(amount * weight / total) for weight in weights]\n    parts[-1] += amount - sum(parts)\n    return parts|' billing/discounts.py
python3 -m unittest
