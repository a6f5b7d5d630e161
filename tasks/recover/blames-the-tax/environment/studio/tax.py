"""Value added tax. Pictures with the right to print them are at 7 percent, everything else is at 19."""

from studio.job import Job

RATES = (7, 19)


class MixedRates(Exception):
    """One invoice has lines at different rates. The tax office wants two invoices then."""


def rate_of(job: Job) -> int:
    """The rate of a job, 19 if there is nothing in it. Raises `MixedRates`, or ValueError for a rate there is not."""
    rates = {line.rate for line in job.lines}
    if not rates <= set(RATES):
        raise ValueError(f"no such rate: {sorted(rates - set(RATES))[0]}")
    if len(rates) > 1:
        raise MixedRates(f"{job.client}: lines at {' and '.join(f'{rate} %' for rate in sorted(rates))}")
    return rates.pop() if rates else 19


def tax(job: Job) -> int:
    """The tax on a job in cents: on the sum, half a cent is rounded up."""
    return (job.net * rate_of(job) + 50) // 100
