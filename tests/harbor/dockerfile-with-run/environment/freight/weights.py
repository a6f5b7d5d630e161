"""Weights as they are written on shipping lists."""

GRAMS = {"g": 1, "kg": 1000, "t": 1000_000}


def grams(text):
    """'12.5 kg' as 12500. Raises ValueError for what is no positive weight in whole grams."""
    number, unit = text.split()
    whole, _, fraction = number.partition(".")
    scale = GRAMS.get(unit)
    if scale is None or not whole.isdigit() or (fraction and not fraction.isdigit()):
        raise ValueError(text)
    parts = int(whole + fraction) * scale
    if parts % 10 ** len(fraction) or parts == 0:
        raise ValueError(text)
    return parts // 10 ** len(fraction)
