"""Badges for what somebody has done."""

from strides.club import Club, Run


def badges(club: Club, runner: str) -> list[str]:
    """The badges of a runner, in alphabetical order."""
    runs = [run for run in club.runs() if run.runner == runner]
    return sorted(name for name, earned in _BADGES.items() if any(earned(run) for run in runs) or _by_sum(name, runs))


def _marathon(run: Run) -> bool:
    return run.kind in ("road", "trail") and (run.length or 0) >= 42.195


def _ultra(run: Run) -> bool:
    return run.kind == "ultra" and (run.length or 0) > 50


def _never(run: Run) -> bool:
    return False


def _by_sum(name: str, runs: list[Run]) -> bool:
    return name == "thousand" and sum(run.length or 0 for run in runs) >= 1_000


_BADGES = {"marathon": _marathon, "ultra": _ultra, "thousand": _never}
"""Name → what a run must be like; `thousand` is for a thousand kilometres in all."""
