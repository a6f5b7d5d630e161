"""Notes, and the folder that they lie in."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mirror.keys import clean_key


@dataclass(frozen=True)
class Note:
    """A text with tags, known by its key."""

    key: str
    text: str
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", clean_key(self.key))

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that differ as soon as text or tags differ. The order of the tags does not count."""
        parts = [self.text, *sorted(set(self.tags))]
        digest = hashlib.sha256()
        for part in parts:
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()[:16]


def read_folder(folder: Path | str) -> list[Note]:
    """Every ``.txt`` file at or below `folder`, by key. A first line such as ``tags: home, garden`` holds the tags."""
    root = Path(folder)
    notes = []
    for path in sorted(root.rglob("*.txt")):
        text = path.read_text("utf-8")
        tags: tuple[str, ...] = ()
        if text.startswith("tags:"):
            first, _, text = text.partition("\n")
            tags = tuple(first.removeprefix("tags:").replace(",", " ").split())
        notes.append(Note(str(path.relative_to(root)).removesuffix(".txt"), text, tags))
    return notes
