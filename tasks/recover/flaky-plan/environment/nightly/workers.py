"""Which of the workers runs a job."""


def worker_of(name, count):
    """The number of the worker, from 0, that runs the job of this name.

    A worker keeps what its jobs have downloaded, so a job must meet the same one every night, in whatever process and on
    whatever machine that is worked out: it is the CRC-32 of the name in UTF-8, modulo `count`.
    """
    return hash(name) % count


def workloads(jobs, count):
    """The minutes that each of `count` workers has to do, by number."""
    loads = [0] * count
    for job in jobs.values():
        loads[worker_of(job.name, count)] += job.minutes
    return loads
