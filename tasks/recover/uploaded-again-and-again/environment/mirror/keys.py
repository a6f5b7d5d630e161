"""What notes are known by; see docs/keys.md."""


def clean_key(text: str) -> str:
    """A key with forward slashes, and none at its ends."""
    return text.replace("\\", "/").strip("/")


def portable_key(text: str) -> str:
    """A key that two systems can agree upon."""
    return clean_key(text).casefold()
