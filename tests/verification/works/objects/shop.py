import enum
from collections import namedtuple
from dataclasses import dataclass, field

Pair = namedtuple("Pair", "left right")


class Size(enum.IntEnum):
    S = 1
    M = 2


class Colour(enum.Enum):
    RED = "red"


class Refused(ValueError):
    code = 7

    def __init__(self, what, missing=0):
        super().__init__(f"no {what}")
        self.missing = missing


class Sold(Refused):
    pass


@dataclass(order=True)
class Price:
    cents: int

    def __add__(self, other):
        return Price(self.cents + (other.cents if isinstance(other, Price) else other))

    __radd__ = __add__

    def __sub__(self, other):
        return Price(self.cents - other.cents)

    def __mul__(self, times):
        return Price(self.cents * times)

    def __iadd__(self, other):
        self.cents += other.cents
        return self

    def __str__(self):
        return f"{self.cents / 100:.2f}"

    def __bool__(self):
        return self.cents != 0

    def __float__(self):
        return self.cents / 100

    def __hash__(self):
        return hash(self.cents)


class Basket(dict):
    """A dict that knows its sum."""

    opened = 0

    def sum(self):
        return sum(self.values())

    def __enter__(self):
        type(self).opened += 1
        return self

    def __exit__(self, kind, error, trace):
        return kind is not None and issubclass(kind, KeyError)


class Shop:
    rate = 1
    def __init__(self, *, stock=None):
        self.stock = stock or {}
        self._log = []

    def take(self, item, count=1):
        """Take it."""
        if self.stock.get(item, 0) < count:
            raise Sold(item, missing=count - self.stock.get(item, 0))
        self.stock[item] -= count
        self._log.append(item)
        return count

    def each(self, call):
        return [call(item, count=count) for item, count in sorted(self.stock.items())]

    def __iter__(self):
        return iter(sorted(self.stock))

    def __len__(self):
        return len(self.stock)

    def __getitem__(self, item):
        return self.stock[item]

    def __setitem__(self, item, count):
        self.stock[item] = count

    def __delitem__(self, item):
        del self.stock[item]

    def __contains__(self, item):
        return item in self.stock

    @property
    def last(self):
        return self._log[-1] if self._log else None


def count_up(limit):
    for number in range(limit):
        yield number


def drain(source):
    return [each for each in source]


def use(fake):
    fake.seen = fake.ask(2)
    with fake as inner:
        return len(fake), inner is fake, fake["k"], sorted(fake)


def rearrange(items, table, seen):
    items.sort()
    table["new"] = items.pop()
    seen.add("x")


def call_and_catch(callback):
    try:
        return callback()
    except KeyError as error:
        return f"caught {error}"


def shout():
    import sys
    print("loud")
    print("louder", file=sys.stderr)


def now():
    import time
    return time.time()


def taxed(price):
    return price * rate()


def rate():
    return 1.0


async def fetch(number):
    import asyncio
    await asyncio.sleep(0)
    if number < 0:
        raise Refused("fetch")
    return number + 1
