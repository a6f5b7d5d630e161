"""Plans as text."""

import hashlib

from nightly.order import order
from nightly.workers import worker_of


def plan_text(jobs, count):
    """A line for each job in the order in which they run: number, name, worker, tags (if any) in alphabetical order."""
    lines = []
    for number, name in enumerate(order(jobs), 1):
        tags = f" [{', '.join(jobs[name].tags)}]" if jobs[name].tags else ""
        lines.append(f"{number}. {name} on {worker_of(name, count)}{tags}")
    return "\n".join(lines)


def tag_report(jobs):
    """A line for each tag, ``disk: backup, dump``: tags with most jobs first, equal ones by name, jobs by name."""
    tagged = {}
    for job in jobs.values():
        for tag in job.tags:
            tagged.setdefault(tag, set()).add(job.name)
    lines = []
    for tag in sorted(tagged, key=lambda tag: -len(tagged[tag])):
        lines.append(f"{tag}: {', '.join(sorted(tagged[tag]))}")
    return "\n".join(lines)


def fingerprint(jobs):
    """Eight hex digits that stay the same as long as the jobs do, in whatever order they are listed.

    They are the first of the SHA-256 of one line for each job, by name: ``name minutes needs tags``, needs and tags in
    alphabetical order with commas between, a newline after each line.
    """
    lines = [f"{job.name} {job.minutes} {','.join(job.needs)} {','.join(job.tags)}\n" for job in jobs.values()]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:8]
