"""What a run is opened with: environments and the sandboxes they share, and who acts in them, as a person names it."""

from __future__ import annotations

import functools
import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from pydantic import BaseModel, JsonValue, ValidationError

from agentdistill.chat import Renderer
from agentdistill.config import first_problem
from agentdistill.environment import ToolEnvironment
from agentdistill.errors import ConfigError, TemplateError
from agentdistill.ledger import CallLedger
from agentdistill.loading import load_environment, load_policy
from agentdistill.policies import Policy
from agentdistill.policies.endpoint import EndpointConfig, EndpointPolicy
from agentdistill.policies.inferring import load_renderer
from agentdistill.policies.local import Checkpoint, LocalPolicy, Sampling
from agentdistill.sandbox import Limits
from agentdistill.sandbox.loading import BackendSpec

ActorSpec = EndpointConfig | Checkpoint | str
"""Who acts: a model behind a server, a model of one's own, or a policy written in Python (`module:Name`)."""
_UNBOUNDED = 2**31
"""Tokens, where a tokenizer does not say how much its model holds."""


def open_environments(
    name: str, options: Mapping[str, object], backend: BackendSpec | None = None
) -> functools.partial[ToolEnvironment]:
    """Makes bare environments of a name. One is made here: what is wrong is told before a run begins.

    Args:
        name: of the environment.
        options: handed to its constructor.
        backend: where its sandboxes will come from, if it uses any; none is made yet.

    Raises:
        UsageError: there is none of that name, or it or the backend does not take these options.
    """
    make = functools.partial(load_environment(name), **options)
    try:
        bare = make()
        bare.close()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"environment_options do not fit {name}: {error}") from error
    if backend is not None and bare.uses_sandbox:
        backend.check()
    return make


def share_backend(
    make: functools.partial[ToolEnvironment], spec: BackendSpec, limits: Limits, folder: Path, stack: ExitStack
) -> functools.partial[ToolEnvironment]:
    """Makes environments that share one sandbox backend, if they use any; its snapshots live in the run's folder."""
    if not make().uses_sandbox:
        return make
    backend = spec.make(folder / "sandbox", limits)
    stack.callback(backend.close)
    return functools.partial(make, sandboxes=backend)


def read_actor(text: str, option: str) -> ActorSpec:
    """Who is meant by ``MODEL@URL``, a folder with a model, ``module:Name``, ``file.py:Name`` or a TOML table.

    A table ``{url = ..., model = ...}`` has the settings of `EndpointConfig`, ``{model = FOLDER}`` those of
    `Checkpoint`.

    Args:
        text: as it was written.
        option: where it was written, for what is said about it.

    Raises:
        ConfigError: it is none of these; the message says how to write it.
    """
    if text.startswith("{"):
        table = read_table(text, option)
        return _checked(table, EndpointConfig if "url" in table else Checkpoint, option)
    for scheme in ("@http://", "@https://"):
        model, found, rest = text.partition(scheme)
        if found:
            return _checked({"model": model, "url": scheme[1:] + rest}, EndpointConfig, option)
    if text.startswith(("http://", "https://")):
        raise ConfigError(f"{option} {text!r}: a server has many models: write MODEL@{text}")
    if Path(text).is_dir():
        return Checkpoint(model=text)
    if ":" in text:
        return text
    raise ConfigError(
        f"{option} {text!r}: there is no such folder. Write MODEL@URL for a server, the folder of a model, "
        "module:Name or file.py:Name for a policy of yours, or a table of settings"
    )


def read_table(text: str, option: str) -> dict[str, object]:
    """A TOML table as it is written on a command line: ``{temperature = 0.6}``.

    Raises:
        ConfigError: it is none.
    """
    try:
        table = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{option} {text!r} cannot be read as a TOML table: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{option} {text!r}: write a table, {{key = value}}")
    return table


def open_actor(
    spec: ActorSpec,
    stack: ExitStack,
    ledger: CallLedger | None = None,
    sampling: Sampling | None = None,
    name: str = "",
) -> Policy:
    """The policy that a spec names; what it holds is freed with the stack.

    Args:
        spec: who.
        stack: closes it.
        ledger: where what a server is asked is written down.
        sampling: of a local model.
        name: of a local model, in the records.

    Raises:
        UsageError: it cannot be loaded; the message says why.
    """
    if isinstance(spec, EndpointConfig):
        return stack.enter_context(EndpointPolicy(spec, ledger))
    if isinstance(spec, Checkpoint):
        try:
            return LocalPolicy.load(spec, sampling, name)
        except TemplateError as error:
            raise ConfigError(f"{spec.model} cannot act: {error}") from error
    return load_policy(spec)


def renderer_in(folder: Path) -> tuple[Renderer, int]:
    """The renderer of the tokenizer in a folder, and how many tokens its model holds, as far as the folder says.

    Raises:
        ConfigError: there is no tokenizer with a chat template in it.
    """
    from transformers import AutoConfig

    renderer = load_renderer(folder)
    bounds = [int(min(renderer.tokenizer.model_max_length, _UNBOUNDED))]
    if (folder / "config.json").exists():
        model = AutoConfig.from_pretrained(folder, local_files_only=True)
        bounds.append(int(getattr(model, "max_position_embeddings", None) or _UNBOUNDED))
    return renderer, min(bounds)


def told_settings(settings: BaseModel, without: Sequence[str] = ()) -> dict[str, JsonValue]:
    """Settings as plain JSON, without these."""
    return cast("dict[str, JsonValue]", settings.model_dump(mode="json", exclude=set(without)))


def digest_of_weights(student: Path) -> str:
    """SHA-256 over a model's weight files: tells one student from another of the same name.

    Raises:
        ConfigError: there are none.
    """
    weights = sorted(student.glob("*.safetensors"))
    if not weights:
        raise ConfigError(f"no model can be loaded from {student}: there is no *.safetensors in it")
    found = hashlib.sha256()
    for path in weights:
        found.update(path.read_bytes())
    return found.hexdigest()


def _checked(table: dict[str, object], model: type[EndpointConfig | Checkpoint], option: str) -> ActorSpec:
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise ConfigError(f"{option}: {first_problem(error, model)}") from error
