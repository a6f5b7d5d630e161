"""Keeps secrets out of everything that is written down: by value, where the environment knows them, and by shape."""

from __future__ import annotations

import json
import os
import re
from typing import Any

_SECRET_NAMES = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
_SHORTEST = 8
_SHAPES = {
    "sk-key": r"sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}",
    "hf-token": r"hf_[A-Za-z0-9]{20,}",
    "github-token": r"(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "aws-key": r"AKIA[A-Z0-9]{16}",
    "google-key": r"AIza[A-Za-z0-9_-]{35}",
    "slack-token": r"xox[abprs]-[A-Za-z0-9-]{10,}",
}
# Inside a word (`task-...`) it is no key. In JSON text, though, the letter before it may be half of an escape.
_IN_TEXT = {name: re.compile(rf"(?<![A-Za-z0-9]){shape}") for name, shape in _SHAPES.items()}
_IN_JSON = re.compile("|".join(_SHAPES.values()))
# The fields of a `Completion`, of a server's answer and of an exported step that say the same as its text, in other
# signs.
_SPELLINGS = frozenset(
    {"token_ids", "context_ids", "logprobs", "prompt_token_ids", "completion_token_ids", "prompt_logprobs"}
)
_guarded: set[str] = set()


def guard(variable: str) -> None:
    """From now on the value of this environment variable is a secret, whatever the variable's name."""
    _guarded.add(variable)


def redact(text: str) -> str:
    """`text` with secrets replaced by ``[redacted:NAME]``.

    Secrets are the values, of 8 characters or more, of environment variables whose names end in ``_KEY``, ``_TOKEN``,
    ``_SECRET`` or ``_PASSWORD`` or that are guarded, and whatever has the shape of a well-known service's key.
    """
    for secret, name in _secrets():
        text = text.replace(secret, f"[redacted:{name}]")
    for name, shape in _IN_TEXT.items():
        text = shape.sub(f"[redacted:{name}]", text)
    return text


def redact_json(text: str) -> str:
    """JSON text with every string in it redacted; the very same object if there is nothing to redact.

    Where a secret was found, all token ids and log-probabilities are left out: ids spell the secret as well, in the
    turn that said it and in every later one.
    """
    in_json = {json.dumps(secret, ensure_ascii=way)[1:-1] for secret, _ in _secrets() for way in (False, True)}
    if not _IN_JSON.search(text) and not any(secret in text for secret in in_json):
        return text
    # Replacing in the text itself could cut an escape or a number in two.
    found = json.loads(text)
    if _redacted(found) == found:
        return text
    return json.dumps(_redacted(found, _SPELLINGS), ensure_ascii=False)


def _secrets() -> list[tuple[str, str]]:
    """Value and name of each secret in the environment, the longest first: one may be part of another."""
    secret = (name for name in os.environ if name in _guarded or name.upper().endswith(_SECRET_NAMES))
    named = ((os.environ[name], name) for name in secret)
    return sorted((pair for pair in named if len(pair[0]) >= _SHORTEST), key=lambda pair: -len(pair[0]))


def _redacted(value: Any, emptied: frozenset[str] = frozenset()) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(each, emptied) for each in value]
    if isinstance(value, dict):
        return {redact(key): [] if key in emptied else _redacted(each, emptied) for key, each in value.items()}
    return value
