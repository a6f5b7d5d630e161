"""Everything that a ledger is made of."""

from dataclasses import dataclass

CURRENCIES = {"EUR": 2, "USD": 2, "JPY": 0}
SEPARATOR = " "


class LedgerError(Exception):
    """Something in a ledger is wrong."""


class UnknownCurrency(LedgerError):
    """Nobody has registered this currency."""


class Unbalanced(LedgerError):
    """The entries of a posting do not sum up to nothing."""


def register(code: str, digits: int) -> None:
    """Make a currency known."""
    CURRENCIES[code] = digits


def digits_of(code: str) -> int:
    """Digits after the point."""
    if code not in CURRENCIES:
        raise UnknownCurrency(f"unknown currency {code}")
    return CURRENCIES[code]


@dataclass(frozen=True)
class Entry:
    """So much on one account, in the smallest unit of the currency."""

    account: str
    units: int
    currency: str


def parse_entry(line: str) -> Entry:
    """An entry such as ``cash -12.30 EUR``."""
    account, amount, currency = line.split(SEPARATOR)
    return Entry(account, round(float(amount) * 10 ** digits_of(currency)), currency)


def format_entry(entry: Entry) -> str:
    """The other way round: ``cash -12.30 EUR``."""
    digits = digits_of(entry.currency)
    sign, units = ("-", -entry.units) if entry.units < 0 else ("", entry.units)
    amount = f"{units // 10**digits}.{units % 10**digits:0{digits}d}" if digits else str(units)
    return SEPARATOR.join([entry.account, sign + amount, entry.currency])
