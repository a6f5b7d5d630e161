"""The stations we know, read from stations.json."""

import json
from pathlib import Path

_FILE = Path(__file__).with_name("stations.json")
_STATIONS = json.loads(_FILE.read_text("utf-8"))


def names():
    """All stations, in the order of the file."""
    return list(_STATIONS)


def height_of(station):
    """Metres above sea level. `KeyError` if there is no such station."""
    return _STATIONS[station]["height"]


def unit_of(station, quantity):
    """What `station` measures `quantity` in. `KeyError` if it does not."""
    return _STATIONS[station]["units"][quantity]
