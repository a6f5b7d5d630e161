"""What goes between the host and the agent inside a sandbox: one frame is a request, the next one its reply.

A frame is 4 bytes with the length of the head, 8 bytes with that of the body (big-endian), the head, the body. The
head is one value of None, bool, int, bytes, str, list or dict (with str keys), written by `dumps`:

    N  T  F  i<decimal>;  b<length>:<bytes>  s<length>:<utf-8>  l<count>:<items>  d<count>:<key><value>...

It is read without importing anything, and nothing it holds can do more than be a value. Text that came from bytes
that are not UTF-8 is surrogate-escaped.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

HEADER = 12
LONGEST_HEAD = 64 << 20
"""Bytes. A head is held in memory whole; what may be larger travels as a body."""
CHUNK = 1 << 18
_DEEPEST = 8


class Gone(Exception):
    """The other side has closed the connection."""


def dumps(value: "Any") -> bytes:
    """The bytes of a value.

    Raises:
        TypeError: it holds something else than the module's docstring lists.
        UnicodeEncodeError: a text holds a surrogate that no byte was escaped to.
    """
    parts: list[bytes] = []
    _put(value, parts.append)
    return b"".join(parts)


def loads(data: bytes) -> "Any":
    """The value of bytes that `dumps` made.

    Raises:
        ValueError: they are not such bytes.
    """
    value, at = _get(data, 0, _DEEPEST)
    if at != len(data):
        raise ValueError("bytes are left over")
    return value


def header(head: bytes, body: int) -> bytes:
    """The first `HEADER` bytes of a frame with this head and a body of so many bytes."""
    return len(head).to_bytes(4, "big") + body.to_bytes(8, "big")


def lengths(data: bytes) -> tuple[int, int]:
    """Of head and body, from the first `HEADER` bytes of a frame."""
    return int.from_bytes(data[:4], "big"), int.from_bytes(data[4:HEADER], "big")


class Body:
    """The body of a frame, read piece by piece, so that it need not fit into memory.

    Args:
        receive: returns up to so many bytes; none at the end of the connection.
        size: bytes.
    """

    def __init__(self, receive: "Callable[[int], bytes]", size: int) -> None:
        self._receive = receive
        self.left = size

    def read(self, size: int) -> bytes:
        """Exactly the next `size` bytes.

        Raises:
            ValueError: there are not so many.
            Gone: the connection ended.
        """
        if size > self.left:
            raise ValueError("the body is shorter than its head says")
        self.left -= size
        return read_exactly(self._receive, size)

    def chunks(self, size: int) -> "Iterable[bytes]":
        """The next `size` bytes in pieces; see `read`."""
        while size > 0:
            piece = self.read(min(size, CHUNK))
            size -= len(piece)
            yield piece

    def drop(self) -> None:
        """Read what is left and forget it."""
        for _ in self.chunks(self.left):
            pass


def read_exactly(receive: "Callable[[int], bytes]", size: int) -> bytes:
    """So many bytes.

    Raises:
        Gone: the connection ended before.
    """
    piece = receive(size)
    if len(piece) == size:
        return piece
    parts = [piece]
    while piece and size > len(piece):
        size -= len(piece)
        piece = receive(size)
        parts.append(piece)
    if size > len(piece):
        raise Gone
    return b"".join(parts)


def _put(value: "Any", put: "Callable[[bytes], None]") -> None:
    kind = type(value)
    if kind is bytes:
        put(b"b%d:" % len(value))
        put(value)
    elif kind is str:
        encoded = value.encode("utf-8", "surrogateescape")
        put(b"s%d:" % len(encoded))
        put(encoded)
    elif kind is int:
        put(b"i%d;" % value)
    elif value is None:
        put(b"N")
    elif kind is bool:
        put(b"T" if value else b"F")
    elif kind is dict:
        put(b"d%d:" % len(value))
        for key, each in value.items():
            if type(key) is not str:
                raise TypeError("a key must be a str")
            _put(key, put)
            _put(each, put)
    elif kind is list or kind is tuple:
        put(b"l%d:" % len(value))
        for each in value:
            _put(each, put)
    else:
        raise TypeError(f"{kind.__name__} cannot be sent")


def _get(data: bytes, at: int, deeper: int) -> "tuple[Any, int]":
    kind = data[at : at + 1]
    at += 1
    if kind == b"b" or kind == b"s":
        size, at = _number(data, at, b":")
        end = at + size
        if not at <= end <= len(data):
            raise ValueError("a value is cut off")
        content = data[at:end]
        return (content if kind == b"b" else content.decode("utf-8", "surrogateescape")), end
    if kind == b"i":
        return _number(data, at, b";")
    if kind == b"N":
        return None, at
    if kind == b"T":
        return True, at
    if kind == b"F":
        return False, at
    if deeper and (kind == b"l" or kind == b"d"):
        count, at = _number(data, at, b":")
        if kind == b"l":
            items = []
            for _ in range(count):
                item, at = _get(data, at, deeper - 1)
                items.append(item)
            return items, at
        table = {}
        for _ in range(count):
            key, at = _get(data, at, 0)
            if type(key) is not str:
                raise ValueError("a key is not a text")
            table[key], at = _get(data, at, deeper - 1)
        return table, at
    raise ValueError("not a value")


def _number(data: bytes, at: int, end: bytes) -> tuple[int, int]:
    stop = data.find(end, at, at + 21)
    digits = data[at:stop]
    if stop < 0 or not (digits.isdigit() or (digits[:1] == b"-" and digits[1:].isdigit())):
        raise ValueError("a number is broken")
    return int(digits), stop + 1
