"""Seeded tasks: a package with bugs, an issue and visible tests that give them away, hidden calls that judge.

The issue reads like a linter's: for every wrong line the module, the number and the text to replace, then one call with
what it gave and what it should have given. It says neither where the module lives nor what belongs in the line, and
what parameters and variables are called is drawn for each task, so the code has to be read.

Each bug has a right token drawn for this task, its house rule (at dial 0 always the usual one), and a wrong token that
stands there instead. Every other token of the site fails a visible test and a hidden call: that is checked here by
running all of them, so a competent agent can tell the right fix from what it sees.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, JsonValue

from agentdistill.environment import task_seed
from agentdistill.errors import UsageError
from agentdistill.records import Task, derive_seed

from .bugs import FAMILY_NAMES
from .edits import edits
from .modules import MODULES, NAMES, Module, function_of, results

ENVIRONMENT = "agentdistill/Repair-v0"
FOLDERS = ("core", "lib")
LEFTOVERS = ("old", "bak")
Split = Literal["train", "heldout"]
_VISIBLE, _HIDDEN = 2, 10


class Package(BaseModel):
    """What `Task.data` holds. `solution` and `hidden` never enter the sandbox the agent acts in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str
    path: str
    """Where the module of the issue really lives."""
    function: str
    """The function that the issue names."""
    combos: tuple[str, ...]
    """`module:family` of every bug."""
    candidates: tuple[int, ...]
    """For every bug, how many tokens could be right given the wrong one."""
    files: dict[str, str]
    """What the workspace holds at the start."""
    solution: dict[str, str]
    """What the modules must do, as text: the repaired one, and the others as they are."""
    leftover: str
    """A file that must be deleted, or nothing."""
    hidden: tuple[tuple[str, str, str], ...]
    """Path, call and the repr of what it must return."""


@dataclass(frozen=True)
class Bug:
    """One wrong token: which site, what stands there, what should."""

    site: int
    wrong: str
    right: str
    candidates: int


def dial(gap: float, middle: float, high: float) -> float:
    """A rate that is 0 at gap 0, `middle` at 0.5 and `high` at 1, straight in between."""
    return 2 * gap * middle if gap <= 0.5 else middle + (2 * gap - 1) * (high - middle)


# ---- which combinations belong to which split --------------------------------------------------------------------


@functools.cache
def combos(split: str) -> frozenset[tuple[str, str]]:
    """The (module, family) pairs whose bugs a split may show.

    About a quarter is held out, from about half of the modules (so that two held-out bugs can meet in one), always
    leaving a module two families in training. Families held out least so far go first, so that all are held out alike.

    Raises:
        UsageError: there is no such split.
    """
    if split not in ("train", "heldout"):
        raise UsageError(f"no split {split!r}: there are train and heldout")
    every = [(module.name, family) for module in MODULES for family in module.families if _options(module, family)]
    held: set[tuple[str, str]] = set()
    size = {family: sum(family == f for _, f in every) for family in FAMILY_NAMES}
    order = sorted(MODULES, key=lambda module: derive_seed("held out", module.name))
    for module in order:
        for _ in range(2):
            free = [family for name, family in every if name == module.name and (name, family) not in held]
            if len(free) <= 2 or len(held) >= len(every) // 4:
                break
            share = {family: sum(family == f for _, f in held) / size[family] for family in free}
            held.add((module.name, min(free, key=lambda family: (share[family], derive_seed(module.name, family)))))
    return frozenset(held) if split == "heldout" else frozenset(every) - held


@functools.cache
def _single(split: str) -> tuple[tuple[Module, int], ...]:
    """Every site of a split, one entry for each."""
    allowed = combos(split)
    return tuple(
        (module, place)
        for module in MODULES
        for place, site in enumerate(module.sites)
        if (module.name, site.family) in allowed and _bugs(module, place, ambiguous=False)
    )


@functools.cache
def _double(split: str) -> tuple[tuple[Module, int, int], ...]:
    """Every pair of sites in one module of a split."""
    return tuple((a, i, j) for a, i in _single(split) for b, j in _single(split) if a is b and i < j)


def _options(module: Module, family: str) -> bool:
    return any(
        site.family == family and _bugs(module, place, ambiguous=False) for place, site in enumerate(module.sites)
    )


# ---- which bugs a site can have ----------------------------------------------------------------------------------


@functools.cache
def _table(module: Module, places: tuple[int, ...]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The results of the module for every choice of tokens at these sites."""
    choices = itertools.product(*(module.sites[place].tokens for place in places))
    return {choice: results(module, module.with_tokens(dict(zip(places, choice, strict=True)))) for choice in choices}


@functools.cache
def _bugs(module: Module, place: int, *, ambiguous: bool, wide: bool = True) -> tuple[tuple[str, str, int], ...]:
    """(wrong, right, how many could be right) for one site. The wrong token is never the usual one.

    A token can be the right one if every other token of the site differs from it on at least two calls: one for
    the visible tests, one for the hidden ones.
    """
    site = module.sites[place]
    table = _table(module, (place,))
    sound = [
        right
        for right in site.tokens
        if all(
            sum(a != b for a, b in zip(table[right,], table[other,], strict=True) if not a.startswith("!")) >= 2
            for other in site.tokens
            if other != right
        )
    ]
    if not ambiguous:
        return ((site.partner, site.usual, 1),) if site.usual in sound else ()
    found = []
    for wrong in site.tokens[1:]:
        rights = [right for right in sound if right != wrong and (wide or right in site.near(wrong))]
        found += [(wrong, right, len(rights)) for right in rights if len(rights) > 1]
    return tuple(found)


def _draw_bug(rng: random.Random, module: Module, place: int, gap: float) -> Bug | None:
    ambiguous = rng.random() < dial(gap, 0.8, 1.0)
    options = _bugs(module, place, ambiguous=ambiguous, wide=rng.random() < dial(gap, 0.0, 1.0))
    if not options:
        return None
    wrong = rng.choice(sorted({wrong for wrong, _, _ in options}))  # first the wrong one: then all rights are alike
    wrong, right, count = rng.choice([option for option in options if option[0] == wrong])
    return Bug(place, wrong, right, count)


def _draw_bugs(rng: random.Random, split: str, gap: float) -> tuple[Module, list[Bug]]:
    double = rng.random() < dial(gap, 0.05, 0.35)
    while True:
        module, *places = rng.choice(_double(split)) if double else rng.choice(_single(split))
        bugs = [_draw_bug(rng, module, place, gap) for place in places]
        if all(bugs):
            return module, cast("list[Bug]", bugs)


# ---- one task ----------------------------------------------------------------------------------------------------


def make_tasks(split: str, count: int, *, seed: int = 0, first: int = 0, gap: float = 0.5) -> list[Task]:
    """`count` tasks of a split, from number `first` on. The i-th depends on seed, split and gap, and on no other task.

    Raises:
        UsageError: there is no such split.
    """
    seeds = {index: derive_seed(task_seed(ENVIRONMENT, split, index), seed) for index in range(first, first + count)}
    return [draw_task(random.Random(each), split, gap, f"repair-{split}-{seed}-{i}") for i, each in seeds.items()]


def draw_task(rng: random.Random, split: str, gap: float, name: str = "") -> Task:
    """One task of a split, drawn with `rng`.

    Raises:
        UsageError: there is no such split.
    """
    while True:
        module, bugs = _draw_bugs(rng, split, gap)
        table = _table(module, tuple(bug.site for bug in bugs))
        expected = table[tuple(bug.right for bug in bugs)]
        given = table[tuple(bug.wrong for bug in bugs)]
        kept = module.functions_of([bug.site for bug in bugs])
        calls = _choose_calls(rng, module, kept, table, expected, given)
        if calls is not None:
            break
    visible, hidden = calls
    path = _place(rng, module.name, gap)
    others = rng.sample([other for other in MODULES if other is not module], rng.choice((2, 3)))
    names = _names(rng, module)
    right = module.renamed(module.with_tokens({bug.site: bug.right for bug in bugs}), names)
    wrong = module.renamed(module.with_tokens({bug.site: bug.wrong for bug in bugs}), names)
    solution, broken = {path: _only(right, kept)}, _only(wrong, kept)
    judged = [(path, module.calls[i], expected[i]) for i in hidden]
    for other in others:
        where = _place(rng, other.name, gap)
        solution[where] = other.renamed(other.usual, _names(rng, other))
        judged += [(where, call, value) for call, value in _sample_of(other)]
    files = {**solution, path: broken}
    leftover = ""
    if rng.random() < dial(gap, 0.1, 0.25):
        leftover = f"src/{rng.choice(LEFTOVERS)}/{module.name}.py"
        files[leftover] = broken
    files[f"tests/test_{module.name}.py"] = _tests(path, [(module.calls[i], expected[i]) for i in visible])
    shown = next(i for i in visible if given[i] != expected[i])
    package = Package(
        module=module.name,
        path=path,
        function=function_of(module.calls[shown]),
        combos=tuple(f"{module.name}:{module.sites[bug.site].family}" for bug in bugs),
        candidates=tuple(bug.candidates for bug in bugs),
        files=files,
        solution=solution,
        leftover=leftover,
        hidden=tuple(judged),
    )
    suspects = [f'{module.name}:{edit.line} "{edit.old}"' for edit in edits(broken, solution[path])]
    instruction = _issue(suspects, module.calls[shown], given[shown], expected[shown], leftover)
    data = cast("dict[str, JsonValue]", package.model_dump(mode="json"))
    task = Task(id=name, environment=ENVIRONMENT, instruction=instruction, data=data, split=split)
    return task if name else task.model_copy(update={"id": f"repair-{task.content_hash[:12]}"})


def _choose_calls(
    rng: random.Random,
    module: Module,
    kept: Sequence[str],
    table: dict[tuple[str, ...], tuple[str, ...]],
    expected: tuple[str, ...],
    given: tuple[str, ...],
) -> tuple[list[int], list[int]] | None:
    """Visible and hidden calls, each of them enough to tell every wrong choice of tokens; None if there are none."""
    called = [function_of(call) in kept for call in module.calls]
    usable = [i for i, value in enumerate(expected) if called[i] and not value.startswith("!")]
    rng.shuffle(usable)
    wrong = [row for row in table.values() if row != expected]
    if len(wrong) != len(table) - 1:
        return None
    visible = _cover(usable, wrong, expected)
    if visible is None or len(visible) > _VISIBLE + 1:
        return None
    rest = [i for i in usable if i not in visible]
    hidden = _cover(rest, wrong, expected)
    if hidden is None:
        return None
    visible += [i for i in rest if i not in hidden][: max(0, _VISIBLE - len(visible))]
    hidden += [i for i in rest if i not in hidden and i not in visible][: max(0, _HIDDEN - len(hidden))]
    rng.shuffle(visible)
    return visible, hidden


def _cover(calls: Sequence[int], wrong: Sequence[tuple[str, ...]], expected: tuple[str, ...]) -> list[int] | None:
    """Few of `calls` such that every wrong row differs from the expected one on at least one of them."""
    left, chosen = list(wrong), []
    while left:
        best = max(calls, key=lambda i: sum(row[i] != expected[i] for row in left), default=None)
        if best is None or all(row[best] == expected[best] for row in left):
            return None
        chosen.append(best)
        left = [row for row in left if row[best] == expected[best]]
    return chosen


@functools.cache
def _sample_of(module: Module) -> tuple[tuple[str, str], ...]:
    """Two calls of each function, to see that a module which had no bug still has none."""
    values = results(module, module.usual)
    return tuple(
        pair
        for function in module.functions
        for pair in [pair for pair in zip(module.calls, values, strict=True) if function_of(pair[0]) == function][:2]
    )


def _names(rng: random.Random, module: Module) -> dict[str, str]:
    """What a task calls the parameters and variables of a module: code must be read, it cannot be known by heart."""
    own = module.identifiers
    renamed: dict[str, str] = {}
    for kind in NAMES:
        here = [name for name in own if name in kind]
        renamed.update(zip(here, rng.sample(kind, len(here)), strict=True))
    return renamed


def _only(source: str, functions: Sequence[str]) -> str:
    """A module's source without its other functions: what a task shows is short."""
    parts = source.rstrip("\n").split("\n\n")
    return "\n\n".join(part for part in parts if part.startswith(tuple(f"def {name}(" for name in functions))) + "\n"


def _place(rng: random.Random, module: str, gap: float) -> str:
    """Where a module lives: by the convention directly under ``src``, by the dial somewhere else."""
    if rng.random() < dial(gap, 0.42, 0.8):
        return f"src/{rng.choice(FOLDERS)}/{module}.py"
    return f"src/{module}.py"


def _tests(path: str, cases: Sequence[tuple[str, str]]) -> str:
    functions = ", ".join(dict.fromkeys(function_of(call) for call, _ in cases))
    lines = [f"from {path.removesuffix('.py').replace('/', '.')} import {functions}"]
    for number, (call, value) in enumerate(cases, 1):
        lines += ["", f"def test_{number}():", f"    assert {call} == {value}"]
    return "\n".join(lines) + "\n"


def _issue(suspects: Sequence[str], call: str, given: str, expected: str, leftover: str) -> str:
    """What is reported, as a linter would put it: where it looks wrong, and what came out wrong."""
    did = f"raised {given[1:]}" if given.startswith("!") else f"gave {given}"
    text = f"{', '.join(suspects)}: {call} {did}, not {expected}."
    return f"{text} Delete {leftover} too." if leftover else text
