"""The families of bugs, and which wrong token each puts in place of the right one.

A bug of a family replaces one token by another of the same family. Given only the wrong token, several others could
be right: what the issue reports and what the visible tests say decides. At dial 0 the wrong token alone decides,
because every token then has one fixed partner (`partner`); only for a wrong name it takes a look at the lines around,
since names differ from task to task.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A kind of bug: tokens that programmers confuse with one another."""

    name: str
    tokens: tuple[str, ...]

    def wrong_partner(self, right: str) -> str:
        """The one wrong token that stands for `right` where nothing is ambiguous.

        Families of even size swap in pairs (``+`` for ``-``), those of odd size go round (``0`` for ``1`` for ``2``);
        either way the wrong token determines the right one.
        """
        place = self.tokens.index(right)
        if len(self.tokens) % 2 == 0:
            return self.tokens[place ^ 1]
        return self.tokens[place - 1]


FAMILIES: tuple[Family, ...] = (
    Family("arithmetic", ("+", "-", "*", "//")),
    Family("comparison", ("<", ">", "<=", ">=")),
    Family("constant", ("0", "1", "2")),
    Family("builtin", ("min", "max", "sum", "len")),
    Family("index", ("[0]", "[-1]", "[1]")),
    Family("method", ("upper", "lower", "title", "strip")),
    Family("boolean", ("and", "or", "and not", "or not")),
)
VARIABLE = "variable"
"""The eighth family has no tokens of its own: which names can be confused depends on what is in scope."""

FAMILY_NAMES: tuple[str, ...] = (*(family.name for family in FAMILIES), VARIABLE)


@dataclass(frozen=True)
class Site:
    """A place in a module where a bug can sit.

    `tokens` are all that could stand there, the usual one first; `partner` is the wrong one of dial 0.
    """

    family: str
    tokens: tuple[str, ...]
    partner: str

    def near(self, wrong: str) -> tuple[str, ...]:
        """The two tokens that `wrong` is mistaken for most: those after it in its family, all others for names."""
        order = next((family.tokens for family in FAMILIES if family.name == self.family), self.tokens)
        place = order.index(wrong)
        return tuple(order[(place + step) % len(order)] for step in (1, 2))

    @property
    def usual(self) -> str:
        """The token that stands there unless the house rule of a task says otherwise."""
        return self.tokens[0]


def read_site(mark: str) -> Site:
    """The site that ``{mark}`` stands for in a module's source: a family's token, or names that could be confused.

    Raises:
        ValueError: no family has this token.
    """
    if "|" in mark:
        names = tuple(mark.split("|"))
        return Site(VARIABLE, names, names[1])
    for family in FAMILIES:
        if mark in family.tokens:
            others = tuple(token for token in family.tokens if token != mark)
            return Site(family.name, (mark, *others), family.wrong_partner(mark))
    raise ValueError(f"no family of bugs has the token {mark!r}")
