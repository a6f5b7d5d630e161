"""Older versions of ``task.toml``: the same things under other keys, and other resources where none are given.

- up to 1.0 `schema_version` was called `version`;
- `memory` and `storage` were sizes such as "2G", now MiB under `memory_mb` and `storage_mb`;
- `allow_internet` was what `network_mode` is; where both are there, `network_mode` counts;
- up to 1.1 an environment that says nothing has 1 processor, 2 GiB of memory, 10 GiB of storage and no GPU; later ones
  leave that to whoever runs it.
"""

from __future__ import annotations

import re

from pydantic import JsonValue

from agentdistill.errors import TaskError

DEFAULTS: dict[str, JsonValue] = {"cpus": 1, "memory_mb": 2048, "storage_mb": 10240, "gpus": 0}
"""Resources of an environment in a file of version 1.0 or 1.1 that does not say them."""
_UNITS = {"K": 1 / 1024, "M": 1, "G": 1024}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMG])", re.ASCII)


def upgraded(config: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """What a file of any version 1.x says, under the keys of version 1.4. What is at fault in it stays as it is.

    Raises:
        TaskError: a key of old says what cannot be; names it, but not the file.
    """
    found = dict(config)
    if "version" in found:
        found.setdefault("schema_version", found["version"])
        del found["version"]
    fill = found.get("schema_version") in ("1", "1.0", "1.1")
    if "environment" in found or fill:
        found["environment"] = _environment(found.get("environment", {}), "environment", fill)
    found = _verifier(found, "verifier", fill)
    steps = found.get("steps")
    if isinstance(steps, list):
        found["steps"] = [_verifier(step, f"steps[{number}].verifier", fill) for number, step in enumerate(steps)]
    return found


def _verifier(table: JsonValue, where: str, fill: bool) -> JsonValue:
    if not isinstance(table, dict):
        return table
    verifier = table.get("verifier")
    if not isinstance(verifier, dict) or "environment" not in verifier:
        return table
    environment = _environment(verifier["environment"], f"{where}.environment", fill)
    return {**table, "verifier": {**verifier, "environment": environment}}


def _environment(table: JsonValue, where: str, fill: bool) -> JsonValue:
    if not isinstance(table, dict):
        return table
    found = dict(table)
    for key in ("memory", "storage"):
        if key in found:
            size = _mebibytes(found.pop(key), f"{where}.{key}")
            if found.setdefault(f"{key}_mb", size) != size:
                raise TaskError(f"{where}.{key} and {where}.{key}_mb contradict each other: keep {key}_mb")
    if "allow_internet" in found:
        allowed = found.pop("allow_internet")
        if not isinstance(allowed, bool):
            raise TaskError(f'{where}.allow_internet must be true or false; better, write network_mode = "no-network"')
        if "allowed_hosts" not in found:
            found.setdefault("network_mode", "public" if allowed else "no-network")
    return {**DEFAULTS, **found} if fill else found


def _mebibytes(size: JsonValue, where: str) -> int:
    said = _SIZE.fullmatch(size.strip().upper()) if isinstance(size, str) else None
    if said is None:
        raise TaskError(f'{where} must be a size such as "512M" or "2G", not {size!r}; better, write {where}_mb = 2048')
    return int(float(said[1]) * _UNITS[said[2]])
