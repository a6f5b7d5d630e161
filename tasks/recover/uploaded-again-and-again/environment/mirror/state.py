"""What the remote has got from us: a file of keys and fingerprints."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from mirror.keys import portable_key


def load_state(path: Path | str) -> dict[str, str]:
    """Key → fingerprint of what was sent; empty if there is no such file yet.

    Raises:
        ValueError: the file is not one of ours.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict) or not isinstance(content.get("sent"), dict):
        raise ValueError(f"{path} is no state file")
    return {portable_key(key): str(value) for key, value in content["sent"].items()}


def save_state(path: Path | str, sent: Mapping[str, str]) -> None:
    """Write the file, all of it or nothing."""
    target = Path(path)
    content = {"sent": {portable_key(key): sent[key] for key in sorted(sent)}}
    draft = target.with_name(target.name + ".new")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    os.replace(draft, target)
