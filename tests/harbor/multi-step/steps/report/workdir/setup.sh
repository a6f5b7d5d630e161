#!/bin/bash
set -euo pipefail

mkdir -p expected
printf 'bolt-m6\t4360\nhex nut\t2200\nwasher #8\t0\n' > expected/report.txt

rm -- "$0"
