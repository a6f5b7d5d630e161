#!/bin/bash
set -e
cat docs/data.md data/schema.sql tools/schema.py tools/build_db.py
head -n 2 data/sources/*.csv
# The schema as its page has it, and the tool that reads it as strict as it was.
cat > data/schema.sql <<'SQL'
-- version 3
CREATE TABLE places (
    name TEXT NOT NULL,
    country TEXT NOT NULL,
    elevation INTEGER NOT NULL,
    population INTEGER NOT NULL,
    capital INTEGER NOT NULL,
    PRIMARY KEY (name, country)
);
CREATE INDEX places_by_country ON places (country);
SQL
sed -i 's/return 3$/return int(match.group(1))/; s/    if match is None and not path.exists():/    if match is None:/; s/\[^;\]\*"/ NOT NULL,?$"/' tools/schema.py
python3 -m tools.build_db --fresh
python3 -m tools.generate_fields
python3 -m atlas place Quito
python3 -m unittest
