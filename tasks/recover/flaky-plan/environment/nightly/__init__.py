"""Plans the jobs of a night."""

from nightly.jobs import Job, read_jobs
from nightly.order import CircularError, order
from nightly.plan import fingerprint, plan_text, tag_report
from nightly.workers import worker_of, workloads

__all__ = [
    "CircularError",
    "Job",
    "fingerprint",
    "order",
    "plan_text",
    "read_jobs",
    "tag_report",
    "worker_of",
    "workloads",
]
