"""Environment variables of a task: ``${VAR}`` and ``${VAR:-default}`` become what whoever runs it has in theirs.

What comes out may be a secret: it goes into a sandbox and nowhere else, least of all into a record. A template is the
whole value; ``$`` anywhere else is a character like any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agentdistill.errors import TaskError

_TEMPLATE = re.compile(r"\$\{([^}:]+)(?::-(.*))?\}")


def resolve_variables(env: Mapping[str, str], outside: Mapping[str, str], where: str) -> dict[str, str]:
    """The variables with templates filled in.

    Args:
        env: an `env` table of a task.
        outside: where the values come from, such as ``os.environ``.
        where: what to call the table in a complaint, such as ``task.toml: environment.env``.

    Raises:
        TaskError: a variable has neither a value outside nor a default; names it, and no value.
    """
    found = {}
    for name, value in env.items():
        template = _TEMPLATE.fullmatch(value)
        if template is None:
            found[name] = value
            continue
        wanted, default = template.groups()
        if wanted not in outside and default is None:
            raise TaskError(f"{where}.{name} needs the environment variable {wanted}: set it, or give it a default")
        found[name] = outside.get(wanted, default or "")
    return found


def wanted_variables(env: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the variables that the templates in a table ask for; their values are secrets."""
    templates = [_TEMPLATE.fullmatch(value) for value in env.values()]
    return tuple(sorted({template[1] for template in templates if template is not None}))
