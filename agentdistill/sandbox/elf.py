"""Programs and libraries of Linux (ELF files): what they need to be found by, and where they look for the rest.

Only what `runtime` needs: 64 bits, little-endian, edited in place without growing anything that is loaded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_TAG = struct.Struct("<qQ")
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_END, _STRINGS, _SONAME, _RPATH, _DEBUG, _RUNPATH = 0, 5, 14, 15, 21, 29


class ElfError(ValueError):
    """Not an ELF file of a kind that we can read."""


@dataclass(frozen=True)
class _Segment:
    at: int  # where its header stands in the file
    kind: int
    flags: int
    offset: int
    address: int
    size: int


class Elf:
    """One ELF file in memory: read what it says of itself, change where it looks for its libraries, save it.

    Raises:
        ElfError: it is none, or one of 32 bits or of the other byte order.
    """

    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        if content[:6] != b"\x7fELF\x02\x01":
            raise ElfError("not an ELF file of 64 bits, little-endian")
        header = _HEADER.unpack_from(content)
        start, size, count = header[5], header[9], header[10]
        self._segments = [self._segment(start + number * size) for number in range(count)]

    @property
    def interpreter(self) -> str:
        """The loader that the kernel starts it with; empty for a library or a static program."""
        for segment in self._segments:
            if segment.kind == _INTERPRETER:
                return self.content[segment.offset : segment.offset + segment.size].rstrip(b"\0").decode()
        return ""

    @property
    def soname(self) -> str:
        """The name that others need it by; empty if it has none."""
        strings = self._value(_STRINGS)
        for _, tag, value in self._tags():
            if tag == _SONAME:
                start = self._offset(strings + value)
                return self.content[start : self.content.index(0, start)].decode()
        return ""

    def forget_search_path(self) -> None:
        """Let a library no longer say where its own libraries are: the program that loads it says so for all."""
        for at, tag, value in self._tags():
            if tag in (_RPATH, _RUNPATH):
                _TAG.pack_into(self.content, at, _DEBUG, value)  # means nothing in a library

    def settle(self, interpreter: str, libraries: str) -> None:
        """Let a program be started by the loader at `interpreter`, and look for libraries in the folder `libraries`.

        The path of the loader goes to the end of the file, where the kernel reads it. Its old place, which is loaded
        with the program, takes the search path; a debugger's slot, or that of an old search path, points there. It
        becomes an RPATH, which unlike a RUNPATH also holds for what libraries need in their turn.
        """
        place = next(segment for segment in self._segments if segment.kind == _INTERPRETER)
        path = libraries.encode() + b"\0"
        if len(path) > place.size:
            raise ElfError(f"{libraries} is longer than the loader's path that it replaces")
        slots = {tag: at for at, tag, _ in self._tags() if tag in (_RPATH, _RUNPATH, _DEBUG)}
        if not slots:
            raise ElfError("no place for a search path")
        # From the start of the string table; a place before it is a negative number, and addresses wrap around.
        value = (place.address - self._value(_STRINGS)) % (1 << 64)
        self.forget_search_path()
        slot = slots.get(_RUNPATH, slots.get(_RPATH, slots.get(_DEBUG, 0)))
        _TAG.pack_into(self.content, slot, _RPATH, value)
        self.content[place.offset : place.offset + place.size] = path.ljust(place.size, b"\0")
        loader = interpreter.encode() + b"\0"
        header = list(_SEGMENT.unpack_from(self.content, place.at))
        header[2], header[5], header[6] = len(self.content), len(loader), len(loader)
        _SEGMENT.pack_into(self.content, place.at, *header)
        self.content += loader

    def _segment(self, at: int) -> _Segment:
        kind, flags, offset, address, _, size, _, _ = _SEGMENT.unpack_from(self.content, at)
        return _Segment(at, kind, flags, offset, address, size)

    def _tags(self) -> Iterator[tuple[int, int, int]]:
        """Where each entry of the dynamic section stands in the file, its tag and its value."""
        for segment in self._segments:
            if segment.kind == _DYNAMIC:
                for at in range(segment.offset, segment.offset + segment.size, _TAG.size):
                    tag, value = _TAG.unpack_from(self.content, at)
                    if tag == _END:
                        return
                    yield at, tag, value

    def _value(self, wanted: int) -> int:
        return next((value for _, tag, value in self._tags() if tag == wanted), 0)

    def _offset(self, address: int) -> int:
        for segment in self._segments:
            if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise ElfError("an address outside of what is loaded")


def read(path: Path) -> Elf | None:
    """The ELF file at `path`; `None` if it is something else."""
    try:
        return Elf(path.read_bytes())
    except (ElfError, struct.error):
        return None
