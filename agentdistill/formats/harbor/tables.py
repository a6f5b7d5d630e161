"""The small tables of a ``task.toml``, and what all of its tables have in common: typed where known, kept where not."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, ValidationInfo, field_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator

Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
User = StrictStr | Annotated[StrictInt, Field(ge=0)]
NetworkMode = Literal["public", "no-network", "allowlist"]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_SERVICE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
_CREDENTIAL = re.compile(rf"\s*([A-Za-z]+\s+)?{_REFERENCE}([\s:-]*{_REFERENCE})*\s*")
_SECRET_HEADER = re.compile(r"key|secret|token(?!s)|password|credential|auth|cookie", re.IGNORECASE)
_TOPOLOGY = re.compile(r"[1-9][0-9]*(x[1-9][0-9]*)+", re.ASCII)
_NOT_PORTABLE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9¹²³])( *\..*)?", re.IGNORECASE | re.DOTALL)


class Table(BaseModel):
    """A table of a ``task.toml``: frozen; keys that we do not know are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow", ser_json_inf_nan="strings")


def _host(host: str) -> str:
    name = host.strip().lower().rstrip(".")
    for parse in (ipaddress.ip_address, ipaddress.ip_network):
        try:
            return parse(name).compressed if "%" not in name else _wrong_host(host)
        except ValueError:
            continue
    labels = name.removeprefix("*.").split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or (name.startswith("*.") and _is_address(name[2:])):
        return _wrong_host(host)
    return name


def _wrong_host(host: str) -> str:
    raise ValueError(f"{host!r} is no name such as example.org or *.example.org, no IP address and no CIDR range")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a variable: write letters, digits and _, no digit first")
    return name


def _service(name: str) -> str:
    if not _SERVICE.fullmatch(name):
        raise ValueError(
            f"{name!r} is no name of a service: write letters, digits, ., _ and -, a letter or digit first"
        )
    return name


Host = Annotated[StrictStr, AfterValidator(_host)]
Service = Annotated[StrictStr, AfterValidator(_service)]
Variables = dict[Annotated[StrictStr, AfterValidator(_variable)], StrictStr]
"""Names to values, or to templates such as ``${VAR}``; see `agentdistill.formats.harbor.variables`."""


def allowed_only_with_allowlist(
    hosts: tuple[str, ...] | None, info: ValidationInfo, default: str | None
) -> tuple[str, ...] | None:
    """The check of every `allowed_hosts`: it says something only beside ``network_mode = "allowlist"``.

    Raises:
        ValueError: it stands beside another mode.
    """
    # A `network_mode` that is itself at fault is missing here; its own complaint is enough.
    mode = info.data.get("network_mode", "allowlist") or default
    if hosts is not None and mode != "allowlist" and (hosts or mode is None):
        raise ValueError('stands only beside network_mode = "allowlist": write that, or leave the hosts out')
    return hosts


class PhasePolicy(Table):
    """Which network one phase has, where that differs from the environment's."""

    network_mode: NetworkMode | None = None
    """`public`, `no-network` or `allowlist`; the environment's if it is not said."""
    allowed_hosts: tuple[Host, ...] | None = None
    """Names, ``*.name``, IP addresses or CIDR ranges that can be reached; with `allowlist` only."""

    @field_validator("allowed_hosts")
    @classmethod
    def _with_allowlist(cls, hosts: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        return allowed_only_with_allowlist(hosts, info, None)


class Author(Table):
    """Who wrote a task."""

    name: StrictStr
    email: StrictStr | None = None


class About(Table):
    """``[task]``: the task as a package."""

    name: Annotated[StrictStr, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*/[a-zA-Z0-9][a-zA-Z0-9._-]*$")]
    """``org/name``."""
    version: Annotated[StrictStr, Field(min_length=1)] | None = None
    description: StrictStr = ""
    authors: tuple[Author, ...] = ()
    keywords: tuple[StrictStr, ...] = ()

    @field_validator("name")
    @classmethod
    def _no_dots(cls, name: str) -> str:
        if ".." in name:
            raise ValueError("must not hold '..'")
        return name


class Healthcheck(Table):
    """When a world is ready: a command that must end with 0. As Docker's HEALTHCHECK."""

    command: StrictStr
    """A shell command line."""
    interval_sec: Seconds = 5.0
    """Seconds between two tries."""
    timeout_sec: Seconds = 30.0
    """Seconds for one try."""
    start_period_sec: Seconds = 0.0
    """Seconds from the start in which a failure does not count."""
    start_interval_sec: Seconds = 5.0
    """Seconds between two tries in that period."""
    retries: Annotated[StrictInt, Field(ge=1)] = 3
    """Failures in a row after which it has failed."""


class Tpu(Table):
    """A slice of TPUs."""

    type: Annotated[StrictStr, Field(min_length=1)]
    topology: StrictStr
    """Dimensions such as ``2x4``."""

    @field_validator("topology")
    @classmethod
    def _dimensions(cls, topology: str) -> str:
        if not _TOPOLOGY.fullmatch(topology.strip()):
            raise ValueError(f"{topology!r} has no dimensions: write them such as '2x4' or '2x2x1'")
        return topology.strip()


class McpServer(Table):
    """A server of tools that the agent may use."""

    name: StrictStr
    transport: Annotated[
        Literal["stdio", "sse", "streamable-http"],
        BeforeValidator(lambda said: "streamable-http" if said == "http" else said),
    ] = "sse"
    url: Annotated[StrictStr | None, Field(validate_default=True)] = None
    """Where it listens; for HTTP."""
    command: Annotated[StrictStr | None, Field(validate_default=True)] = None
    """What starts it; for stdio."""
    args: tuple[StrictStr, ...] = ()
    headers: dict[StrictStr, StrictStr] = {}
    """For HTTP. A header that carries a credential holds it only as ``${VAR}``."""

    @field_validator("url")
    @classmethod
    def _has_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        if not url and info.data.get("transport") in ("sse", "streamable-http"):
            raise ValueError(f"is missing: a server over {info.data['transport']} needs its address")
        return url

    @field_validator("command")
    @classmethod
    def _has_command(cls, command: str | None, info: ValidationInfo) -> str | None:
        if not command and info.data.get("transport") == "stdio":
            raise ValueError("is missing: a server over stdio needs the command that starts it")
        return command

    @field_validator("headers")
    @classmethod
    def _no_credentials(cls, headers: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        if headers and info.data.get("transport") == "stdio":
            raise ValueError("stand only with HTTP: a server over stdio has none")
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or "\n" in value or "\r" in value:
                raise ValueError(f"{name!r} is no header of HTTP")
            if _SECRET_HEADER.search(name) and value.strip() and not _CREDENTIAL.fullmatch(value):
                raise ValueError(f"{name!r} holds a credential: write it as a variable, such as 'Bearer ${{TOKEN}}'")
        return headers


class Artifact(Table):
    """What is kept of a world after the work, and crosses over to a separate verifier."""

    source: StrictStr
    """A path in the world."""
    destination: Annotated[StrictStr | None, AfterValidator(lambda path: path or None)] = None
    """A path below the folder of artifacts."""
    exclude: tuple[StrictStr, ...] = ()
    """Patterns of what of a folder is left out."""
    service: Annotated[Service | None, Field(validate_default=True)] = None
    """The service of a composed environment it lies in; the agent's own if it is not said."""

    @field_validator("source")
    @classmethod
    def _stays_inside(cls, source: str) -> str:
        if not source or ".." in PurePosixPath(source).parts:
            raise ValueError(f"{source!r} must be a path without '..'")
        return source

    @field_validator("destination")
    @classmethod
    def _is_below(cls, path: str | None) -> str | None:
        if path is None:
            return None
        parts = PurePosixPath(path).parts
        if not parts or "\\" in path or parts[0] == "/" or ".." in parts or path.rstrip("/") == "manifest.json":
            raise ValueError(f"{path!r} must be a relative path with /, without '..', and not manifest.json")
        return path

    @field_validator("service")
    @classmethod
    def _absolute_elsewhere(cls, service: str | None, info: ValidationInfo) -> str | None:
        if service not in (None, "main") and not info.data.get("source", "/").startswith("/"):
            raise ValueError(f"{service!r} is another service, whose source must be an absolute path")
        return service


AnyArtifact = Annotated[Artifact, BeforeValidator(lambda said: {"source": said} if isinstance(said, str) else said)]
"""An artifact as a table, or its source alone."""


class Collect(Table):
    """A command that is run after the agent, to write down what artifacts are to show."""

    command: StrictStr
    service: Service = "main"
    timeout_sec: Seconds = 60.0
    user: User | None = None


def portable_name(name: str) -> str:
    """`name`, if it can be a folder's on any system.

    Raises:
        ValueError: it cannot.
    """
    ends = name.endswith((".", " ")) or not name.strip()
    if ends or _NOT_PORTABLE.search(name) or _DEVICE.fullmatch(name) or len(name.encode()) > 255:
        raise ValueError(f"{name!r} cannot be a folder's name everywhere: write letters, digits, - and _")
    return name


def same_name(name: str) -> str:
    """What two names share that are one on a system which tells neither case nor forms of a letter apart."""
    return unicodedata.normalize("NFC", name).casefold()
