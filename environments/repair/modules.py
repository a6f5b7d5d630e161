"""The modules that bugs are put into, and the calls that tell a right one from a wrong one.

Braces mark the sites of possible bugs around the usual token; ``{total|price|count}`` lists the names that could be
confused, the usual one first. All modules share one small vocabulary and the same turns of phrase (``price * count``,
``total + fee``), so that a phrase learnt in one module is known in another: a held-out combination of module and
family asks for that. Each task renames parameters and variables within their kind (`NAMES`, `Module.renamed`); the
calls pass arguments by place, so what a module does stays the same. Every function's name stands in its ``def`` line
and nowhere else, so that a search for it finds one line. No combination of tokens loops without end.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentdistill.records import derive_seed

from .bugs import Site, read_site

NAMES: tuple[tuple[str, ...], ...] = (
    ("names", "words", "scores", "prices", "costs", "days", "marks", "sizes", "items", "notes"),
    ("name", "word", "code", "text", "label", "tag", "key", "user"),
    ("paid", "late", "ready", "full", "done", "sound", "fresh", "closed"),
    (
        *("price", "count", "total", "fee", "limit", "stock", "least", "rest", "points", "goal", "bonus"),
        *("share", "level", "hours", "rate", "cost", "best", "weight", "speed", "width", "height", "score"),
    ),
)
"""What parameters and variables can be called: lists, texts, truths and numbers. A name stands for one of its kind."""

_SOURCES = """
# cart
def charge(price, count):
    fee = {1}
    total = price {*} count
    return {total|price|count} {+} fee

def bulky(count, limit):
    return count {>} limit
# invoice
def amount(price, count):
    total = price {*} count
    return {total|price|count} {-} {2}

def settle(paid, ready):
    return paid {and} ready
# stock
def refill(stock, count):
    rest = stock {-} count
    return {rest|stock|count} {*} {2}

def scarce(stock, least):
    return stock {<=} least
# store
def reserve(stock, count):
    fee = {1}
    rest = stock {-} count
    return {rest|stock|count} {+} fee

def shelf(names):
    name = names{[0]}
    return name.{title}()
# grades
def curve(scores):
    best = {max}(scores)
    return best {-} {1}

def passing(points, goal):
    return points {>=} goal
# league
def margin(scores, points, goal):
    best = {max}(scores)
    return {best|points|goal} {-} {1}

def winner(names):
    name = names{[0]}
    return name.{title}()
# quiz
def award(points, level):
    bonus = {2}
    share = points {//} level
    return {share|level|points} {+} bonus

def solved(points, goal):
    return points {>=} goal
# users
def greeting(names, code):
    name = names{[0]}
    return name.{title}() + code.{upper}()

def allowed(paid, late):
    return paid {and not} late
# tags
def slug(words):
    word = words{[-1]}
    return word.{lower}()

def crowded(days, limit):
    count = {len}(days)
    return count {>} limit
# mail
def subject(words, code):
    word = words{[-1]}
    return word.{lower}() + code.{upper}()

def urgent(late, full):
    return late {or} full
# payroll
def wage(hours, rate):
    bonus = {2}
    total = hours {*} rate
    return {total|hours|rate} {+} bonus

def overtime(hours, limit):
    return hours {>} limit
# taxi
def fare(hours, rate):
    fee = {1}
    total = hours {*} rate
    return {total|hours|rate} {+} fee

def pickup(paid, late):
    return paid {and not} late
# hotel
def lodging(days, rate):
    count = {len}(days)
    return count {*} rate

def checkin(paid, ready):
    return paid {and} ready
# parking
def meter(hours, rate):
    total = hours {*} rate
    return {total|hours|rate} {-} {2}

def blocked(late, full):
    return late {or} full
# bank
def balance(prices, fee):
    total = {sum}(prices)
    return total {+} fee

def solvent(points, goal, paid):
    return paid {and} points {>=} goal
# gym
def workout(days, rate):
    bonus = {2}
    count = {len}(days)
    return count {*} rate {+} bonus

def visitor(paid, late):
    return paid {and not} late
# cinema
def seating(prices, count):
    fee = {1}
    total = {sum}(prices)
    return {total|prices[0]|count} {+} fee

def poster(words):
    word = words{[-1]}
    return word.{lower}()
# clinic
def dose(points, level):
    share = points {//} level
    return {share|level|points} {-} {1}

def waiting(late, full):
    return late {or} full
# garden
def harvest(costs, count):
    least = {min}(costs)
    return least {*} count

def watered(stock, least):
    return stock {<=} least
# bakery
def batch(costs, stock):
    fee = {1}
    least = {min}(costs)
    return least {*} stock {+} fee

def flavour(names):
    name = names{[0]}
    return name.{title}()
# museum
def entry(price, count, limit):
    if count {>} limit:
        return {0}
    return price {*} count

def plaque(text, words):
    return text.{strip}() + words{[-1]}
# farm
def yields(costs, count, limit):
    if count {>} limit:
        return {0}
    return {min}(costs)

def barn(stock, least, full):
    return full {or} stock {<=} least
# school
def report(scores):
    best = {max}(scores)
    return best {-} {1}

def motto(text, code):
    return text.{strip}() + code.{upper}()

def absent(days):
    return days{[1]}
# shop
def basket(prices):
    total = {0}
    for price in prices:
        total = total {+} price
    return total

def voucher(code, paid, ready):
    return code.{upper}() if paid {and} ready else code
# game
def combo(points, level, goal):
    if points {>=} goal:
        return {0}
    return points {//} level

def hiscore(scores):
    return {max}(scores)
# hostel
def bunk(days, limit):
    count = {len}(days)
    return count {>} limit

def latest(days):
    return days{[1]} {-} {1}
# route
def distance(costs):
    total = {0}
    for cost in costs:
        total = total {+} cost
    return total

def detour(costs, limit):
    return costs{[1]} {>} limit
# shipping
def parcel(prices, fee, late, full):
    if late {or} full:
        return {0}
    return {sum}(prices) {+} fee
# survey
def answer(words, text):
    word = words{[-1]}
    return word.{lower}() + text.{strip}()

def valid(points, goal, paid):
    return paid {and} points {>=} goal
# ledger
def accrue(prices, fee, count):
    total = {sum}(prices)
    return {total|prices[0]|count} {+} fee

def closing(stock, count):
    return stock {-} count
"""

_CASES = 24
_SITE = re.compile(r"\{([^}]*)\}")
_FUNCTION = re.compile(r"^def (\w+)\(([^)]*)\):", re.MULTILINE)
_LISTS = {"scores", "prices", "costs", "days"}
_STRINGS = {"name", "code", "text", "word"}
_FLAGS = {"paid", "ready", "late", "full"}
_TEXTS = (" aB", " kO", " xY", " Le", " oM ", " rU")
_WORD = re.compile(r"(?<![.\w])[a-z]+\b(?!\()")
"""A word that is neither called nor an attribute."""


@dataclass(frozen=True)
class Module:
    """One module: `pieces` of text with a site between each two, and the calls that try its functions out."""

    name: str
    pieces: tuple[str, ...]
    sites: tuple[Site, ...]
    functions: tuple[str, ...]
    calls: tuple[str, ...]

    @property
    def families(self) -> tuple[str, ...]:
        """The families that have a site here, each once."""
        return tuple(dict.fromkeys(site.family for site in self.sites))

    @property
    def usual(self) -> tuple[str, ...]:
        """The usual token of every site."""
        return tuple(site.usual for site in self.sites)

    def source(self, tokens: tuple[str, ...]) -> str:
        """The text with these tokens at the sites."""
        between = (*tokens, "")
        return "".join(piece + token for piece, token in zip(self.pieces, between, strict=True))

    def functions_of(self, sites: Sequence[int]) -> tuple[str, ...]:
        """The functions in which these sites are, in the order of the source."""
        before = ["".join(self.pieces[: site + 1]) for site in sites]
        inside = {re.findall(r"^def (\w+)\(", text, re.MULTILINE)[-1] for text in before}
        return tuple(name for name in self.functions if name in inside)

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Names of parameters and variables, in the order they occur."""
        known = {name for kind in NAMES for name in kind}
        return tuple(dict.fromkeys(w for w in _WORD.findall(self.source(self.usual)) if w in known))

    def renamed(self, tokens: tuple[str, ...], names: Mapping[str, str]) -> str:
        """The source with these tokens, its parameters and variables called otherwise."""
        return _WORD.sub(lambda word: names.get(word.group(), word.group()), self.source(tokens))

    def with_tokens(self, changed: dict[int, str]) -> tuple[str, ...]:
        """The usual tokens, but `changed` at some sites."""
        return tuple(changed.get(place, token) for place, token in enumerate(self.usual))


def results(module: Module, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """What each call of the module gives with these tokens: the value's repr, or ``!`` and the exception's name.

    Runs in this process: the code is our own, whatever the tokens are.
    """
    names: dict[str, object] = {}
    exec(compile(module.source(tokens), module.name, "exec"), names)
    return tuple(_try(code, names) for code in _compiled(module.calls))


def function_of(call: str) -> str:
    """The function that a call such as ``charge(2, 3)`` calls."""
    return call.split("(", 1)[0]


def _try(code: object, names: dict[str, object]) -> str:
    try:
        return repr(eval(code, names))  # type: ignore[arg-type]
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        return f"!{type(error).__name__}"


@functools.lru_cache(maxsize=64)
def _compiled(calls: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(compile(call, "call", "eval") for call in calls)


def _read(text: str) -> Module:
    name, source = text.split("\n", 1)
    source = source.rstrip("\n") + "\n"
    marks = _SITE.split(source)
    functions = _FUNCTION.findall(source)
    calls = [call for function, parameters in functions for call in _calls(name, function, parameters.split(", "))]
    return Module(
        name=name.strip(),
        pieces=tuple(marks[::2]),
        sites=tuple(read_site(mark) for mark in marks[1::2]),
        functions=tuple(function for function, _ in functions),
        calls=tuple(calls),
    )


def _calls(module: str, function: str, parameters: list[str]) -> list[str]:
    """Calls with arguments that suit the parameters' names; every second one from a range so narrow that ties occur."""
    rng = random.Random(derive_seed("calls", module, function))
    found: dict[str, None] = {}
    for attempt in range(4 * _CASES):
        values = ", ".join(repr(_value(rng, parameter, narrow=attempt % 2 == 1)) for parameter in parameters)
        found[f"{function}({values})"] = None
        if len(found) == _CASES:
            break
    return list(found)


def _value(rng: random.Random, parameter: str, *, narrow: bool) -> object:
    if parameter in _FLAGS:
        return rng.random() < 0.5
    if parameter in _STRINGS:
        return rng.choice(_TEXTS)
    if parameter in ("names", "words"):
        return rng.sample(_TEXTS, 3)
    low, high = (3, 4) if narrow else (2, 9)
    if parameter in _LISTS:
        return rng.sample(range(1 if not narrow else 2, 10 if not narrow else 6), 3)
    return rng.randint(low, high)


MODULES: tuple[Module, ...] = tuple(_read(text) for text in _SOURCES.split("\n# ")[1:])
BY_NAME: dict[str, Module] = {module.name: module for module in MODULES}
