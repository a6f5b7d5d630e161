"""What can be wrong with an entry or a book."""


class LedgerError(Exception):
    """Something in a ledger is wrong."""


class UnknownCurrency(LedgerError):
    """Nobody has registered this currency."""


class Unbalanced(LedgerError):
    """The entries of a posting do not sum up to nothing."""
