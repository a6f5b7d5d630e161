"""Detectors side by side, as a Markdown table: one group of columns for each environment they were measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from agentdistill.accuracy import AccuracyReport, DetectorAccuracy
from agentdistill.errors import ConfigError


def read_reports(folder: Path) -> list[AccuracyReport]:
    """What `agentdistill detectors --out` wrote into a folder, by file name.

    Raises:
        ConfigError: a file is no such report.
    """
    reports = []
    for file in sorted(folder.glob("*.json")):
        try:
            reports.append(AccuracyReport.model_validate_json(file.read_text()))
        except ValidationError as error:
            raise ConfigError(f"{file} is no report of detectors: {error.errors()[0]['msg'].lower()}") from error
    return reports


def accuracy_table(reports: Sequence[AccuracyReport]) -> str:
    """A row for each detector, the best on the first environment first; a star marks oracles.

    Cells hold the share of runs that have a divergence in which it was named exactly, and within one step, with the
    95 % interval of the latter; then what it cost per failed run: teacher calls, and tokens the teacher wrote.
    """
    if not reports:
        return "No results yet."
    names = {name: row.oracle for report in reports for name, row in report.detectors.items()}

    def worth(name: str) -> float:
        row = reports[0].detectors.get(name)
        return -row.within_one.rate if row else 1.0

    heads = [f"{each.environment}: {each.with_divergence} of {each.failed} failed runs" for each in reports]
    lines = [_line(["detector", *heads]), _line(["---"] * (1 + len(heads)))]
    for name in sorted(names, key=worth):
        cells = [_cell(each.detectors.get(name)) for each in reports]
        lines.append(_line([f"`{name}`" + (" *" if names[name] else ""), *cells]))
    return "\n".join(lines)


def _cell(row: DetectorAccuracy | None) -> str:
    if row is None:
        return ""
    near = row.within_one
    rates = f"{row.exact.rate:.0%}, {near.rate:.0%} [{near.low:.0%}, {near.high:.0%}]"
    return f"{rates}; {row.teacher_calls:.1f} calls, {row.teacher_tokens:,.0f} tokens"


def _line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(parts) + " |"
