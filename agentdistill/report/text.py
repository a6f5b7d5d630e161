"""A run as text: the arms side by side, and what has to be known to read them."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from agentdistill.results import ArmResult, Rate, RunReport

_BAR = 24


def render(report: RunReport) -> RenderableType:
    """Table of arms with 95 % intervals and bars, followed by how the numbers came about."""
    options = "".join(f"{key}={value} " for key, value in report.options.items())
    table = render_arms(report.arms, f"{report.environment} {options}seed {report.seed}")
    parts: list[RenderableType] = [table, *map(Text, _notes(report))]
    return Group(*parts)


def render_arms(arms: Mapping[str, ArmResult], title: str) -> Table:
    """One row an arm."""
    table = Table(title=Text(title), title_justify="left")
    table.add_column("arm", style="bold", no_wrap=True)
    table.add_column("success on held-out tasks")
    table.add_column("recovery from frozen states")
    for name in ("teacher tokens", "student tokens", "steps", "tool errors"):
        table.add_column(name, justify="right")
    for name, arm in arms.items():
        table.add_row(
            Text(name),
            bar_of(arm.success),
            bar_of(arm.recovery),
            f"{arm.teacher_tokens:,}",
            f"{arm.student_tokens:,}",
            f"{arm.steps:.1f}",
            f"{arm.tool_errors:.2f}",
        )
    return table


def bar_of(rate: Rate) -> Text:
    """A rate as a bar, a number and its interval."""
    filled = round(rate.rate * _BAR)
    text = Text("█" * filled, style="green")
    text.append("·" * (_BAR - filled), style="dim")
    return text.append(f" {rate.rate:5.1%} [{rate.low:.1%}, {rate.high:.1%}]", style="none")


def _notes(report: RunReport) -> list[str]:
    some = next(iter(report.arms.values()))
    notes = [
        f"success: {some.success.n} held-out episodes an arm, the same for all; 95 % Wilson intervals; one seed",
        f"recovery: {report.bank_states} states in which the base student had just made its first mistake (bank "
        f"{report.bank_digest[:12]}); left out: {report.bank_fatal} already lost, {report.bank_unseen} without one",
        f"teacher tokens: all the teacher wrote for the arm, the base's included; tokens: {report.tokens}",
    ]
    for name, reasons in report.refused.items():
        if reasons:
            notes.append(f"not trained on in {name}: " + ", ".join(f"{n} {reason}" for reason, n in reasons.items()))
    errored = sum(arm.errored for arm in report.arms.values())
    if errored:
        notes.append(f"{errored} episodes ended in an infrastructure error and are in no rate")
    return notes
