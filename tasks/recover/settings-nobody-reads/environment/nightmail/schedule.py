"""When a digest may be sent."""

import datetime

from nightmail.settings import Settings


def is_quiet(at: datetime.time, settings: Settings) -> bool:
    """Whether nothing is to be sent at this time of the day. The quiet time may go over midnight."""
    if settings.quiet is None:
        return False
    begin, end = settings.quiet
    if begin <= end:
        return begin <= at < end
    return at >= begin or at < end


def next_delivery(now: datetime.datetime, settings: Settings) -> datetime.datetime:
    """The earliest moment from `now` on at which a digest may be sent."""
    if settings.quiet is None or not is_quiet(now.time(), settings):
        return now
    end = now.replace(hour=settings.quiet[1].hour, minute=settings.quiet[1].minute, second=0, microsecond=0)
    return end if end >= now else end + datetime.timedelta(days=1)
