"""What builds remember in `.sitegen/`: every text they read, under its digest, and which files they made.

    .sitegen/texts/<first 16 digits of the SHA-256>    the content of a source, as it was built last
    .sitegen/sources.json                              path of each source → its digest
    .sitegen/made.json                                 the files that the last build made
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

HOME = ".sitegen"


def digest(content: bytes) -> str:
    """What a content is kept under."""
    return hashlib.sha256(content).hexdigest()[:16]


def remember_sources(root: Path, sources: Iterable[str]) -> None:
    """Keep the contents of these sources, and forget others."""
    texts = root / HOME / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    known = {}
    for name in sources:
        content = (root / name).read_bytes()
        known[name] = digest(content)
        (texts / known[name]).write_bytes(content)
    _write(root, "sources.json", known)


def changed_sources(root: Path, sources: Iterable[str]) -> list[str]:
    """Those that are not what they were when they were built last."""
    known = _read(root, "sources.json", {})
    return [name for name in sources if known.get(name) != digest((root / name).read_bytes())]


def remember_made(root: Path, made: Iterable[str]) -> None:
    """Keep the names of the files that a build made."""
    _write(root, "made.json", sorted(made))


def made_files(root: Path) -> list[str]:
    """What `remember_made` was told last."""
    return list(_read(root, "made.json", []))


def _write(root: Path, name: str, value: object) -> None:
    path = root / HOME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


def _read(root: Path, name: str, otherwise: object):
    path = root / HOME / name
    return json.loads(path.read_text()) if path.exists() else otherwise
