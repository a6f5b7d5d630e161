"""An invoice as text."""

from studio.job import Job
from studio.tax import rate_of, tax
from studio.terms import Terms, terms_for


def invoice_text(number: str, job: Job, terms: Terms | None = None) -> str:
    """The invoice for a job, on the client's terms unless others are given."""
    terms = terms or terms_for(job.client)
    due = tax(job)
    lines = [f"Invoice {number} for {job.client}", ""]
    lines += [f"{line.what:30}{_euros(line.cents)}" for line in job.lines]
    lines += [f"{f'VAT {rate_of(job)} %':30}{_euros(due)}", f"{'Total':30}{_euros(job.net + due)}", ""]
    lines.append(f"Payable within {terms.days} days.")
    if terms.discount:
        lines.append(f"{terms.discount} % off if it is paid within 10 days.")
    if terms.note:
        lines.append(terms.note)
    return "\n".join(lines)


def _euros(cents: int) -> str:
    return f"{cents / 100:10.2f}"
