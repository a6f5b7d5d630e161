#!/bin/bash
set -e
cat docs/data.md
python3 -m tools.build_db || true
python3 -m tools.build_db --fresh
python3 -m tools.generate_fields --check || cat atlas/_fields.py
python3 -m tools.generate_fields
python3 -m atlas place Quito
python3 -m unittest
