#!/bin/bash
set -e
python3 -m unittest 2>&1 | grep -E '^(FAIL|ERROR|[A-Za-z]*Error)' || true
python3 - <<'END'
from pathlib import Path


def change(name, *pairs):
    path = Path(name)
    text = path.read_text()
    for old, new in pairs:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    path.write_text(text)


change(
    "billing/dates.py",
    ("from dataclasses", "from calendar import monthrange\nfrom dataclasses"),
    ("from datetime import date\n", "from datetime import date\nfrom itertools import count\n"),
    (
        """    current = plan.start
    while current <= after:
        current = _months_later(current, plan.months)
    return current
""",
        """    return next(each for each in _dates(plan) if each > after)
""",
    ),
    (
        """    dates = []
    current = plan.start
    while current < until:
        dates.append(current)
        current = _months_later(current, plan.months)
    return dates
""",
        """    return list(takewhile(lambda each: each < until, _dates(plan)))


def _dates(plan):
    # Each is counted from the start, not from the one before: a short month must not change the day for good.
    for number in count():
        yield _months_later(plan.start, number * plan.months)
""",
    ),
    ("import count\n", "import count, takewhile\n"),
    (
        "    return day.replace(year=day.year + years, month=month + 1)\n",
        """    year, month = day.year + years, month + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))
""",
    ),
)
change(
    "billing/split.py",
    (
        "    return {name: round(Fraction(cents * weight, total)) for name, weight in weights.items()}\n",
        """    if cents < 0:
        return {name: -part for name, part in split(-cents, weights).items()}
    exact = {name: Fraction(cents * weight, total) for name, weight in weights.items()}
    parts = {name: int(share) for name, share in exact.items()}
    left = cents - sum(parts.values())
    for name in sorted(exact, key=lambda name: (parts[name] - exact[name], name))[:left]:
        parts[name] += 1
    return parts
""",
    ),
)
END
python3 -m unittest
