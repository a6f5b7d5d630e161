"""In which order jobs run."""


class CircularError(ValueError):
    """Jobs that wait for each other; says which, in alphabetical order."""


def order(jobs):
    """The names of all jobs, each after those that it needs.

    Whenever several could be next, it is the one that comes first in the alphabet.

    Raises:
        CircularError: some can never run.
    """
    done = []
    waiting = set(jobs)
    while waiting:
        ready = {name for name in waiting if jobs[name].needs <= set(done)}
        if not ready:
            raise CircularError(f"these wait for each other: {', '.join(waiting)}")
        name = ready.pop()
        waiting.remove(name)
        done.append(name)
    return done
