"""The zones of our sites, from zones.json: minutes ahead of UTC, and the instants (in UTC) at which these change."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

_FILE = Path(__file__).with_name("zones.json")


class UnknownZone(KeyError):
    """There is no such zone in the table."""


@dataclass(frozen=True)
class Zone:
    """A zone: its first offset from UTC, and every change as (instant in UTC, offset from then on)."""

    name: str
    first: timedelta
    changes: tuple

    def offset_at(self, instant):
        """The offset from UTC at an instant, which is given in UTC."""
        offset = self.first
        for since, changed in self.changes:
            if instant >= since:
                offset = changed
        return offset

    @property
    def offsets(self):
        """Every offset that this zone ever has."""
        return {self.first, *(offset for _, offset in self.changes)}


def _read():
    table = json.loads(_FILE.read_text("utf-8"))
    return {
        name: Zone(
            name,
            timedelta(minutes=entry["first"]),
            tuple((datetime.fromisoformat(at), timedelta(minutes=minutes)) for at, minutes in entry["changes"]),
        )
        for name, entry in table.items()
    }


_ZONES = _read()


def zone(name):
    """The zone of that name."""
    try:
        return _ZONES[name]
    except KeyError:
        raise UnknownZone(name) from None
