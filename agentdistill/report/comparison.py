"""Recipes side by side, as a Markdown table: for the README, and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from agentdistill.comparison import Cell
from agentdistill.results import Mean, mean_of


def table(cells: Iterable[Cell], budget: int | None = None, against: str = "") -> str:
    """One row for each variant, in the order of its success: means over seeds with 95 % intervals.

    Args:
        budget: of this budget only; by default of all, each in a column of its own.
        against: a variant to which every other is compared, seed by seed, on the same tasks and frozen states.
    """
    groups: dict[str, dict[int, list[Cell]]] = {}
    for cell in cells:
        if budget is None or cell.budget == budget:
            groups.setdefault(cell.variant, {}).setdefault(cell.budget, []).append(cell)
    if not groups:
        return "No results yet."
    budgets = sorted({each for group in groups.values() for each in group})
    return _budgets(groups, budgets) if len(budgets) > 1 else _one(groups, budgets[0], against)


def paired(cells: Sequence[Cell], others: Sequence[Cell], measure: Callable[[Cell], float]) -> Mean | None:
    """The mean difference over the seeds that both have; `None` if there is none.

    Raises:
        ValueError: two cells of one seed were not measured on the same bank.
    """
    by_seed = {cell.seed: cell for cell in others}
    both = [(cell, by_seed[cell.seed]) for cell in cells if cell.seed in by_seed]
    for one, other in both:
        if one.bank_digest != other.bank_digest:
            raise ValueError(f"{one.file_name} and {other.file_name} were measured on different banks")
    return mean_of([measure(one) - measure(other) for one, other in both]) if both else None


def success(cell: Cell) -> float:
    """Success on held-out tasks, in percent."""
    return 100 * cell.result.success.rate


def recovery(cell: Cell) -> float:
    """Recovery from the frozen states, in percent."""
    return 100 * cell.result.recovery.rate


def _one(groups: Mapping[str, Mapping[int, list[Cell]]], budget: int, against: str) -> str:
    rows = {name: group[budget] for name, group in groups.items()}
    order = sorted(rows, key=lambda name: -mean_of([success(cell) for cell in rows[name]]).mean)
    head = ["recipe", "success", "recovery", "teacher tokens", "student tokens", "seeds"]
    if against:
        head[3:3] = [f"success − {against}", f"recovery − {against}"]
    lines = [_line(head), _line(["---"] * len(head))]
    for name in order:
        cells = rows[name]
        spent = mean_of([cell.result.teacher_tokens for cell in cells]).mean
        wrote = mean_of([cell.result.student_tokens for cell in cells]).mean
        row = [
            f"`{name}`",
            _mean(cells, success),
            _mean(cells, recovery),
            f"{spent:,.0f}",
            f"{wrote:,.0f}",
            str(len(cells)),
        ]
        if against:
            other = rows.get(against, [])
            same = name == against
            row[3:3] = ["" if same else _signed(paired(cells, other, each)) for each in (success, recovery)]
        lines.append(_line(row))
    return "\n".join(lines)


def _budgets(groups: Mapping[str, Mapping[int, list[Cell]]], budgets: Sequence[int]) -> str:
    head = ["recipe", *(f"{budget:,} tokens: success, recovery" for budget in budgets)]
    lines = [_line(head), _line(["---"] * len(head))]
    for name, group in sorted(groups.items()):
        if len(group) > 1:
            shown = [
                f"{_mean(group[each], success)}, {_mean(group[each], recovery)}" if each in group else ""
                for each in budgets
            ]
            lines.append(_line([f"`{name}`", *shown]))
    return "\n".join(lines)


def _mean(cells: Sequence[Cell], measure: Callable[[Cell], float]) -> str:
    found = mean_of([measure(cell) for cell in cells])
    return f"{found.mean:.1f}" + (f" [{max(0, found.low):.1f}, {min(100, found.high):.1f}]" if found.n > 1 else "")


def _signed(found: Mean | None) -> str:
    if found is None:
        return ""
    return f"{found.mean:+.1f}" + (f" [{found.low:+.1f}, {found.high:+.1f}]" if found.n > 1 else "")


def _line(parts: Sequence[str]) -> str:
    return "| " + " | ".join(parts) + " |"
