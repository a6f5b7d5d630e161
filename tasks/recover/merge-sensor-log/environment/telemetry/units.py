"""Units of measurement, and the standard ones that everything is converted to."""

STANDARD = {"temperature": "C", "pressure": "hPa", "wind": "m/s"}

# unit -> (quantity, what it is in the standard unit)
_CONVERSIONS = {
    "C": ("temperature", lambda value: value),
    "F": ("temperature", lambda value: (value - 32) / 1.8),
    "hPa": ("pressure", lambda value: value),
    "mmHg": ("pressure", lambda value: value * 1.333224),
    "m/s": ("wind", lambda value: value),
    "km/h": ("wind", lambda value: value / 3.6),
    "kn": ("wind", lambda value: value * 1.852 / 3.6),
}


def to_standard(quantity, value, unit):
    """A measured value in the standard unit of its quantity. `ValueError` if the unit does not measure that."""
    measures, convert = _CONVERSIONS.get(unit, (None, None))
    if measures != quantity:
        raise ValueError(f"{quantity} is not measured in {unit!r}")
    return convert(value)
