"""A summary as people read it."""


def report(summaries):
    """The summaries as text, one line each, without a newline at the end."""
    return "\n".join(line(each) for each in summaries)


<<<<<<< HEAD
def line(summary):
    """One line: ``wind: 1.0 / 2.5 / 4.0 m/s``."""
    figures = " / ".join(f"{each:.1f}" for each in (summary.lowest, summary.mean, summary.highest))
    return f"{summary.quantity}: {figures} {summary.unit}"
=======
def line(summary):
    """One line: ``wind: 1 / 2.5 / 4 (2 gaps)``."""
    figures = "no data"
    if summary.mean is not None:
        figures = f"{summary.lowest:g} / {summary.mean:g} / {summary.highest:g}"
    gaps = f" ({summary.gaps} gap{'s' if summary.gaps > 1 else ''})" if summary.gaps else ""
    return f"{summary.quantity}: {figures}{gaps}"
>>>>>>> gaps
