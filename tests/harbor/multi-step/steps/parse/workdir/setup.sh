#!/bin/bash
# The ledger of the first quarter, as the warehouse keeps it.
set -euo pipefail

{
    echo '# first quarter'
    echo
    for day in 03 10 17 24; do
        echo "2031-02-$day IN  bolt-m6    1_200 @ 0.08   # weekly delivery"
        echo "2031-02-$day IN  \"hex nut\"  800 @ 0.05"
        echo "2031-02-$day OUT bolt-m6    $((day * 10))"
    done
    echo '2031-03-02 IN  "washer #8"  500'
} > movements.txt

rm -- "$0"
