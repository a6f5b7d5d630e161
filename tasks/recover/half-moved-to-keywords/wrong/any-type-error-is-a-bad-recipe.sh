#!/bin/bash
# Every step and every caller is moved, but a TypeError from inside of a step is taken for a bad recipe.
set -e
python3 - <<'PYTHON'
from pathlib import Path


def change(name, *pairs):
    path = Path(name)
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    path.write_text(text)


change(
    "rowkit/steps/columns.py",
    ("rows: Rows, options: Mapping[str, Any])", "rows: Rows, *, column: str, digits: int | None = None)"),
    ("rounded to so many places if they are given", "rounded if digits are given"),
    ('    column, places = options["column"], options.get("places")\n', ""),
    ("if places is not None", "if digits is not None"),
    ("round(value, places)", "round(value, digits)"),
    ("from typing import Any\n\n", "\n"),
)
Path("rowkit/steps/order.py").write_text('''"""Steps that put rows in order."""

from rowkit.steps import Rows


def step_sort(rows: Rows, *, column: str, reverse: bool = False) -> Rows:
    """Sort by a column, stable."""
    return sorted(rows, key=lambda row: row[column], reverse=reverse)


def step_top(rows: Rows, *, count: int, column: str, keep_ties: bool = False) -> Rows:
    """The rows with the highest values in a column, highest first; with those as high as the last, if ties are kept."""
    ordered = step_sort(rows, column=column, reverse=True)
    taken = ordered[:count]
    if keep_ties and taken:
        taken += [row for row in ordered[len(taken) :] if row[column] == taken[-1][column]]
    return taken
''')
change(
    "rowkit/summary.py",
    ('(rows, {"column": column})', "(rows, column=column)"),
    ('    arguments = {"column": column, "n": count, "keep_ties": True}\n', ""),
    (
        '    shown = _apply("strip", _apply("top", rows, arguments), {"columns": [label]})\n',
        '    highest = steps.find("top")(rows, column=column, count=count, keep_ties=True)\n'
        '    shown = steps.find("strip")(highest, columns=[label])\n',
    ),
)
path = Path("rowkit/summary.py")
path.write_text(path.read_text().partition("\n\n\ndef _apply")[0] + "\n")
PYTHON
sed -i 's/"places"/"digits"/; s/"n"/"count"/; s/"step": "sort"}/"step": "sort", "column": "name"}/' recipes/*.json
python3 - <<'PYTHON'
from pathlib import Path

path = Path("rowkit/runner.py")
text = path.read_text()
text = text.replace("import Recipe,", "import BadRecipe, Recipe,")
text = text.replace(
    '    for entry in recipe:\n        rows = steps.find(entry["step"])(rows, options_of(entry))\n',
    '''    for number, entry in enumerate(recipe, 1):
        try:
            rows = steps.find(entry["step"])(rows, **options_of(entry))
        except TypeError as error:
            raise BadRecipe(f"step {number} ({entry['step']}): {error}") from error
''',
)
path.write_text(text)
PYTHON
python3 -m unittest
