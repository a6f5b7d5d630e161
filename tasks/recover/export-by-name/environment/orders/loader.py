"""Finds the writer of a format by its name. docs/formats.md has the rules.

A site's config names the formats it exports. A name may be an alias for another name; what is left in the end is looked
up among the site's plug-ins first, then among our own writers in `orders.writers`.
"""

import configparser
import importlib
from pathlib import Path

OWN = {"csv": "orders.writers.csv:Writer", "json": "orders.writers.jsonlines:Writer", "text": "orders.writers.text:Writer"}


class UnknownFormat(Exception):
    """No writer has this name."""


def read_config(path: Path) -> configparser.ConfigParser:
    """A site's config, with that of the file that it extends under it."""
    parser = configparser.ConfigParser()
    with path.open(encoding="utf-8") as file:
        parser.read_file(file)
    below = parser.get("site", "extends", fallback="")
    if not below:
        return parser
    base = read_config(path.with_name(below))
    base.remove_option("site", "extends")
    base.read_dict({name: dict(parser[name]) for name in parser.sections()})
    return base


def writer_for(name: str, config: configparser.ConfigParser):
    """A new writer for a format. Raises `UnknownFormat`."""
    seen = []
    while config.has_option("aliases", name):
        seen.append(name)
        name = config.get("aliases", name)
        if name in seen:
            raise UnknownFormat(f"{name} is an alias of itself")
    where = config.get("plugins", name, fallback="") or OWN.get(name, "")
    module, _, attribute = where.partition(":")
    if not module:
        raise UnknownFormat(name)
    options = dict(config[f"format {name}"]) if config.has_section(f"format {name}") else {}
    return getattr(importlib.import_module(module), attribute)(**options)
