"""When and how a client pays. See docs/terms.md."""

from dataclasses import dataclass

USUAL = {"days": 30, "discount": 0, "note": ""}
AGREED = {
    "City Theatre": {"days": 60},
    "Lumen Press": {"discount": 3, "note": "PO number, please"},
    "Orchard School": {"days": 45, "discount": 2},
}


@dataclass(frozen=True)
class Terms:
    """Days until it has to be paid, percent off if it is paid within ten, and what stands below."""

    days: int
    discount: int
    note: str


def terms_for(client: str, **special: object) -> Terms:
    """The terms of a client: the usual ones, with what was agreed on instead, and what is special this time."""
    terms = USUAL
    terms.update(AGREED.get(client, {}))
    terms.update(special)
    return Terms(**terms)
