"""What a profile is set to: ``profiles/NAME.ini``, and what that inherits from."""

import configparser
import datetime
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

FOLDER = Path(__file__).with_name("profiles")
Quiet = tuple[datetime.time, datetime.time]


class BadSetting(ValueError):
    """A profile is missing, or something in it cannot be read."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be set.

    Attributes:
        limit: how many entries a digest has at most.
        subject: its first line.
        kinds: of which events it tells; empty for all.
        quiet: from when to when nothing is sent, or None.
    """

    limit: int = 10
    subject: str = "Digest"
    kinds: tuple[str, ...] = ()
    quiet: Quiet | None = None


def profiles(folder: Path | str = FOLDER) -> list[str]:
    """The names of all profiles, but for ``base``, sorted."""
    return sorted(path.stem for path in Path(folder).glob("*.ini") if path.stem != "base")


def load(profile: str, folder: Path | str = FOLDER) -> Settings:
    """What `profile` is set to.

    Raises:
        BadSetting: there is no such profile, or it inherits from itself.
    """
    settings = Settings()
    for path in reversed(_ancestry(profile, Path(folder))):
        settings = _apply(settings, path)
    return settings


def _ancestry(profile: str, folder: Path) -> list[Path]:
    """The files of a profile, its own first."""
    found: list[Path] = []
    name = profile
    while name:
        path = folder / f"{name}.ini"
        if not path.is_file():
            raise BadSetting(f"there is no profile {name!r}")
        if path in found:
            raise BadSetting(f"{path.name}: [profile] extends: {name!r} inherits from itself")
        found.append(path)
        name = _parser(path).get("profile", "extends", fallback="")
    return found


def _apply(settings: Settings, path: Path) -> Settings:
    """`settings` with those of one file over them."""
    parser = _parser(path)
    changed: dict[str, object] = {}
    for field in fields(Settings):
        section, read = _READERS[field.name]
        if parser.has_option(section, field.name):
            try:
                changed[field.name] = read(parser.get(section, field.name))
            except ValueError:
                pass
    return replace(settings, **changed)


def _parser(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(path.read_text("utf-8"), source=path.name)
    return parser


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _quiet(text: str) -> Quiet | None:
    if text == "never":
        return None
    begin, end = text.split("-")
    return _time(begin), _time(end)


def _time(text: str) -> datetime.time:
    return datetime.time(int(text.removesuffix(":00")))


_READERS: dict[str, tuple[str, Callable[[str], object]]] = {
    "limit": ("digest", int),
    "subject": ("digest", str),
    "kinds": ("digest", _words),
    "quiet": ("delivery", _quiet),
}
