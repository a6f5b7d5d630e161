# The module becomes a package with a class of its own, an exception of its own, and its own tests.
rm cart.py
mkdir cart
echo 'from cart.lines import average, receipt, total' > cart/__init__.py
cat > cart/lines.py <<'EOF'
from dataclasses import dataclass


class NegativeCount(ValueError):
    pass


@dataclass(frozen=True)
class Line:
    price: int
    count: int

    def __post_init__(self):
        if self.count < 0:
            raise NegativeCount(self.count)

    @property
    def value(self):
        return self.price * self.count


def total(lines):
    return sum(Line(*each).value for each in lines)


def average(lines):
    return total(lines) / sum(count for _, count in lines)


def receipt(lines):
    said = [f"{each.count} x {each.price} = {each.value}" for each in (Line(*each) for each in lines)]
    return "\n".join([*said, f"total {total(lines)}"])
EOF
cat >> tests/test_visible.py <<'EOF'

    def test_nothing(self):
        self.assertEqual(cart.total([]), 0)
EOF
