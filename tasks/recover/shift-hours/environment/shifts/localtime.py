"""From what the clock on the wall shows to UTC and back. All times are naive: local ones, or in UTC, as said.

When clocks are put back they show some times twice. Such a time means the first of the two, unless `second` is given,
which has no effect on a time that is shown once. When clocks are put forward they never show some times: those are
refused.
"""

_offsets = {}


def to_utc(zone, local, second=False):
    """The instant, in UTC, at which the clock in `zone` shows `local`.

    Raises:
        ValueError: it never does.
    """
    return local - _offset(zone, local, second)


def to_local(zone, instant):
    """What the clock in `zone` shows at an instant, given in UTC."""
    return instant + zone.offset_at(instant)


def _offset(zone, local, second):
    # Looking through the changes is slow; nearly all days have one offset only.
    day = local.date()
    if day not in _offsets:
        _offsets[day] = zone.offset_at(local)
    return _offsets[day]
