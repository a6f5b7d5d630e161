"""The book of invoices: numbers them, one row of numbers for each year, without gaps."""

from studio.job import Job
from studio.tax import tax


class InvoiceBook:
    """One studio's invoices. Each book counts for itself."""

    counts: dict[int, int] = {}
    jobs: list[tuple[str, Job]] = []

    def __init__(self, name: str) -> None:
        self.name = name

    def issue(self, job: Job, year: int) -> str:
        """Give a job its number, such as `A-2024-003`. Raises what `tax` raises, and gives no number then."""
        tax(job)
        self.counts[year] = self.counts.get(year, 0) + 1
        number = f"{self.name}-{year}-{self.counts[year]:03}"
        self.jobs.append((number, job))
        return number

    def turnover(self) -> int:
        """Cents before tax, of all jobs in this book."""
        return sum(job.net for _, job in self.jobs)
