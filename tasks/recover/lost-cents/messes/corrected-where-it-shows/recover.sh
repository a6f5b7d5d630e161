#!/bin/bash
set -e
cat billing/money.py billing/invoice.py billing/discounts.py
# What the docstrings say: halves away from zero, and sums of the lines.
sed -i 's/ROUND_HALF_EVEN/ROUND_HALF_UP/g' billing/money.py
sed -i 's/(106, 104, -106)/(105, 104, -105)/' tests/test_billing.py
sed -i 's/net = sum(amounts) - order.discount/net = sum(line.net for line in lines)/' billing/invoice.py
sed -i 's/ if len(bases) > 1 else percent_of(sum(amounts) - order.discount, rate)//' billing/invoice.py
python3 - <<'PYTHON'
from pathlib import Path

path = Path("billing/discounts.py")
text = path.read_text()
text = text.replace(
    "    return [round(amount * weight / total) for weight in weights]\n",
    """    exact = [abs(amount) * abs(weight) for weight in weights]
    parts = [each // abs(total) for each in exact]
    lost_most = sorted(range(len(parts)), key=lambda place: exact[place] % abs(total), reverse=True)
    for place in lost_most[: abs(amount) - sum(parts)]:
        parts[place] += 1
    return [-part for part in parts] if amount < 0 else parts
""",
)
path.write_text(text)
PYTHON
python3 -m unittest
