#!/bin/bash
set -e
python3 -m unittest || true
cat docs/steps.md
grep -rn "options\|find(\|_apply" rowkit | sort
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
sed -i 's/(rows, options_of(entry))/(rows, **options_of(entry))/' rowkit/runner.py
python3 - <<'PYTHON'
from pathlib import Path

path = Path("rowkit/recipes.py")
text = path.read_text()
text = text.replace("import json\n", "import inspect\nimport json\n")
text = text.replace("See that there are such steps.", "See that there are such steps, and that they take such options.")
text = text.replace(
    "BadRecipe: there is none of that name; the message begins with the number of the step.",
    "BadRecipe: a step is unknown, or its options do not fit; the message begins with its number.",
)
text = text.replace(
    'there is no such step")\n',
    '''there is no such step")
        try:
            inspect.signature(steps.find(name)).bind([], **options_of(entry))
        except TypeError as error:
            raise BadRecipe(f"step {number} ({name}): {error}") from None
''',
)
path.write_text(text)
PYTHON
python3 -m unittest
