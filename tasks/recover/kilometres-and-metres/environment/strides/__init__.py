"""What the running club ran: a database of runs, totals and badges."""

from strides.badges import badges
from strides.club import Club, Run
from strides.migrate import migrate
from strides.totals import longest, ranking, totals

__all__ = ["Club", "Run", "badges", "longest", "migrate", "ranking", "totals"]
