"""What host and agent say to each other: nothing is lost, and nothing malformed is taken for a value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdistill.sandbox.inside import wire

TEXTS = st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.binary() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=12,
).filter(lambda value: not isinstance(value, str) or writable(value))


def writable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


@given(VALUES)
def test_a_value_comes_back_as_it_went(value):
    try:
        encoded = wire.dumps(value)
    except UnicodeEncodeError:
        return  # half of a surrogate pair somewhere within
    assert wire.loads(encoded) == value


@given(st.binary(max_size=60) | st.text("lds0123456789:;iNTFb", max_size=30).map(str.encode))
def test_bytes_that_are_no_value_are_refused_and_nothing_else_happens(data):
    try:
        value = wire.loads(data)
    except ValueError:
        return
    assert wire.loads(wire.dumps(value)) == value


@pytest.mark.parametrize(
    "data",
    [
        b"l99999999999999:",
        b"b-1:",
        b"s5:abc",
        b"d1:i1;N",
        b"l1:" * 50 + b"N",
        b"i1;N",
        b"i" + b"9" * 5000 + b";",
        b"i--1;",
    ],
)
def test_numbers_that_lie_and_depths_without_end_are_refused(data):
    with pytest.raises(ValueError, match=r".+"):
        wire.loads(data)


@pytest.mark.parametrize("value", [1.5, {1: 2}, {"a": object()}, [set()]])
def test_what_has_no_form_is_refused(value):
    with pytest.raises(TypeError):
        wire.dumps(value)


def test_a_body_is_read_piece_by_piece_and_not_beyond_its_end():
    content = bytearray(b"abcdeNEXT")

    def receive(size: int) -> bytes:
        piece = bytes(content[: min(size, 2)])
        del content[: len(piece)]
        return piece

    body = wire.Body(receive, 5)
    assert body.read(3) == b"abc"
    with pytest.raises(ValueError, match="shorter"):
        body.read(3)
    body.drop()
    assert bytes(content) == b"NEXT"


def test_a_connection_that_ends_in_the_middle_is_gone():
    pieces = iter([b"ab", b""])
    with pytest.raises(wire.Gone):
        wire.read_exactly(lambda size: next(pieces), 3)
