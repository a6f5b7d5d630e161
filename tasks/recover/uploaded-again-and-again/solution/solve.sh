#!/bin/bash
set -e
python3 -m unittest || true
cat docs/keys.md mirror/state.py mirror/keys.py
grep -rn portable_key mirror | sort
sed -i 's/portable_key/clean_key/g' mirror/state.py
sed -i '/^def portable_key/,$d' mirror/keys.py
python3 -m unittest
