#!/bin/bash
set -e
cat docs/accounting.md billing/invoice.py
# What the split promises is gone from its docstring, but accounting has written it down.
sed -i 's/sum(percent_of(line.net, rate) for line in lines if line.tax == rate)/percent_of(base, rate)/' billing/invoice.py
cat > billing/discounts.py <<'PYTHON'
"""Shares an amount out, such as the discount of an order over its lines."""

from collections.abc import Sequence


def split(amount: int, weights: Sequence[int]) -> list[int]:
    """`amount` in whole parts that go by `weights`; together they are `amount` again.

    Parts are cut towards zero; the cents left over go to those that lost most by it, the first of them where several
    lost the same.

    Raises:
        ValueError: there is something to share out, but all weights are 0; or some are positive and some negative.
    """
    if any(weight < 0 for weight in weights) and any(weight > 0 for weight in weights):
        raise ValueError("weights of both signs")
    total = abs(sum(weights))
    if not total:
        if amount:
            raise ValueError("nothing to share it out by")
        return [0 for _ in weights]
    exact = [abs(amount) * abs(weight) for weight in weights]
    parts = [each // total for each in exact]
    lost_most = sorted(range(len(parts)), key=lambda place: exact[place] % total, reverse=True)
    for place in lost_most[: abs(amount) - sum(parts)]:
        parts[place] += 1
    return [-part for part in parts] if amount < 0 else parts
PYTHON
python3 -m unittest
