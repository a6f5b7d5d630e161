# The functions are put right where they stand.
cat > cart.py <<'EOF'
def total(lines):
    if any(count < 0 for _, count in lines):
        raise ValueError("a negative count")
    return sum(price * count for price, count in lines)


def average(lines):
    return total(lines) / sum(count for _, count in lines)


def receipt(lines):
    return "\n".join([f"{count} x {price} = {price * count}" for price, count in lines] + [f"total {total(lines)}"])
EOF
