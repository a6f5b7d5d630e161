"""Currencies, and how many digits they have after the point."""

from ledger.errors import LedgerError, UnknownCurrency

CURRENCIES = {"EUR": 2, "USD": 2, "JPY": 0}


def register(code: str, digits: int) -> None:
    """Make a currency known.

    Raises:
        LedgerError: it is known already, with other digits.
    """
    if CURRENCIES.setdefault(code, digits) != digits:
        raise LedgerError(f"{code} has {CURRENCIES[code]} digits")


def digits_of(code: str) -> int:
    """Digits after the point.

    Raises:
        UnknownCurrency: nobody has registered it.
    """
    try:
        return CURRENCIES[code]
    except KeyError:
        raise UnknownCurrency(f"unknown currency {code}") from None


def to_units(text: str, code: str) -> int:
    """``-12.3`` EUR as -1230, in the smallest unit of the currency.

    Raises:
        UnknownCurrency: nobody has registered it.
        LedgerError: it is no amount, or has too many digits after the point.
    """
    digits = digits_of(code)
    whole, _, fraction = text.lstrip("-").partition(".")
    if not whole.isdecimal() or (fraction and not fraction.isdecimal()) or len(fraction) > digits:
        raise LedgerError(f"{text} is no amount of {code}")
    units = int(whole + fraction.ljust(digits, "0"))
    return -units if text.startswith("-") else units
