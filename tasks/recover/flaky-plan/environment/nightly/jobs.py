"""Jobs, as jobs.ini has them."""

import configparser
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What runs, for about how long, after which others, and what it is hard on."""

    name: str
    minutes: int
    needs: frozenset = frozenset()
    tags: frozenset = frozenset()


def read_jobs(text):
    """Name -> job.

    Raises:
        ValueError: a job needs one that is not there, or has no number of minutes.
    """
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    jobs = {}
    for name in parser.sections():
        section = parser[name]
        jobs[name] = Job(name, section.getint("minutes", 0), _words(section, "needs"), _words(section, "tags"))
    for job in jobs.values():
        unknown = job.needs - set(jobs)
        if unknown:
            raise ValueError(f"{job.name} needs {', '.join(unknown)}, which are not there")
    return jobs


def _words(section, name):
    return frozenset(word.strip() for word in section.get(name, "").split(",") if word.strip())
