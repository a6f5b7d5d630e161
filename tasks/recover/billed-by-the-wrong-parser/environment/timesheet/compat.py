"""What differs between a full installation and the single-file one, which comes without ``_vendor``."""

try:
    from timesheet._vendor.durations import BadDuration, parse_duration
except ImportError:
    from timesheet.durations import BadDuration, parse_duration

__all__ = ["BadDuration", "parse_duration"]
