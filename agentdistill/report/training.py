"""Training as text: one line of what it came to, and the course of each stage, from what every step has left."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from rich.table import Table

from agentdistill.results import TrainReport

Steps = Sequence[Mapping[str, float | None]]
_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 40


def train_line(report: TrainReport) -> str:
    """What training on its own came to, in one line."""
    refused = ", ".join(f"{count:,} {reason}" for reason, count in report.refused.items())
    held_out = f", held out {_number(report.held_out_before)} → {_number(report.held_out_after)}"
    return (
        f"{report.loss}: {report.steps:,} steps over {report.rows:,} rows"
        + (f" (refused: {refused})" if refused else "")
        + f", {report.supervised_tokens:,} supervised tokens, {report.passes:.1f} passes, "
        + f"loss {_number(report.first_loss)} → {_number(report.last_loss)}"
        + (held_out if report.test_rows else "")
    )


def metrics_table(stages: Mapping[str, Steps]) -> Table:
    """One row a stage: how far it is, the loss as a curve and in numbers, gradient norm and speed."""
    table = Table()
    table.add_column("stage", style="bold", no_wrap=True)
    table.add_column("steps", justify="right")
    table.add_column("loss over the steps", no_wrap=True)
    for name in ("first", "last", "least", "gradient norm", "tokens/s"):
        table.add_column(name, justify="right")
    for name, steps in stages.items():
        losses = [step["loss"] for step in steps]
        known = [loss for loss in losses if loss is not None]
        table.add_row(
            name,
            f"{len(steps):,}",
            curve(losses),
            _number(losses[0]),
            _number(losses[-1]),
            _number(min(known, default=None)),
            _number(_median(steps, "gradient_norm")),
            f"{_median(steps, 'tokens_per_second') or 0:,.0f}",
        )
    table.caption = "gradient norm and supervised tokens per second are medians over the steps"
    table.caption_justify = "left"
    return table


def curve(values: Sequence[float | None], width: int = _WIDTH) -> str:
    """Values as a row of blocks, each the mean of its share of them; ``×`` where one was not finite."""
    count = min(width, len(values))
    parts = [values[len(values) * at // count : len(values) * (at + 1) // count] for at in range(count)]
    means = [None if None in part else statistics.fmean(v for v in part if v is not None) for part in parts]
    known = [mean for mean in means if mean is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join("×" if mean is None else _BLOCKS[round((mean - low) * scale)] for mean in means)


def _median(steps: Steps, name: str) -> float | None:
    values = [value for step in steps if (value := step[name]) is not None]
    return statistics.median(values) if values else None


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f}"
