"""What all tests share: nothing is fetched, and property tests neither hurry nor differ from run to run in CI."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Small tensors, and often several processes at once: threads would wait for each other. torch reads this when imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The libraries underneath look for models on a hub unless told not to.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tables that tests have filled in: what each chat template does, and how often re-rendering drifts."""
    for module in ("test_templates", "test_drift"):
        table: dict[str, dict[str, str]] = getattr(sys.modules.get(module), "TABLE", {})
        if not table:
            continue
        columns = list(dict.fromkeys(column for row in table.values() for column in row))
        cells = [["", *columns], *([name, *(row.get(column, "") for column in columns)] for name, row in table.items())]
        widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
        terminalreporter.section(module)
        for row in cells:
            terminalreporter.write_line(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            )
