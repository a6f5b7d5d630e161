"""A loss as a config names it: one of ours, or a user's function, with its options checked before anything is run."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError, model_validator

from agentdistill.errors import ConfigError, UnknownNameError, UsageError, nearest
from agentdistill.losses.base import Loss, LossOutput, needs_of
from agentdistill.losses.divergences import by_owner, forward_kl, jensen_shannon, reverse_kl
from agentdistill.losses.preference import dpo
from agentdistill.losses.sampled import reverse_kl_policy_gradient
from agentdistill.losses.supervised import masked_cross_entropy
from agentdistill.plugins import load_object

READY: Mapping[str, Callable[..., LossOutput]] = {
    each.__name__: each
    for each in (
        masked_cross_entropy,
        forward_kl,
        reverse_kl,
        jensen_shannon,
        by_owner,
        reverse_kl_policy_gradient,
        dpo,
    )
}

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class LossSpec(BaseModel):
    """Which loss: a table, or its name alone where it has no options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "masked_cross_entropy"
    """One of ours, `module:function` or `file.py:function`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Keyword arguments of that function, `beta` for one."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_name(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _can_be_had(self) -> LossSpec:
        load_loss(self)  # a wrong name or option is told when the config is read, not when something has been bought
        return self


def load_loss(spec: LossSpec) -> Loss:
    """The loss that `spec` names, its options bound.

    Raises:
        UnknownNameError: nothing of that name; the message has the nearest one.
        UsageError: what is found is no function of `LossInputs`, does not import, or needs what there is not.
        ConfigError: it has no such option, or the value does not fit.
    """
    if ":" in spec.name:
        found = load_object(spec.name, inspect.isfunction)
    elif spec.name in READY:
        found = READY[spec.name]
    else:
        hint = nearest(spec.name, READY)
        raise UnknownNameError(f"there is no loss {spec.name!r}.{hint} Ours: {', '.join(READY)}; yours: file.py:name")
    if not callable(found) or inspect.isclass(found):
        raise UsageError(f"{spec.name!r} is a {type(found).__name__}, not a function of LossInputs")
    options = _checked(spec.name, found, spec.options)
    loss: Loss = functools.partial(found, **options) if options else found
    needs_of(loss)
    return loss


def _checked(name: str, function: Callable[..., Any], options: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The options as the function's annotations have them, such as ``Annotated[float, Field(gt=0)]``."""
    parameters = {key: each for key, each in inspect.signature(function).parameters.items() if each.kind not in _REST}
    inputs = next((each for each in parameters.values() if each.kind != each.KEYWORD_ONLY), None)
    if inputs is None:
        raise UsageError(f"{name!r} takes no LossInputs")
    del parameters[inputs.name]
    if missing := [key for key, each in parameters.items() if each.default is each.empty and key not in options]:
        raise ConfigError(f"the loss {name} needs the option {missing[0]!r}")
    annotated = function if inspect.isfunction(function) else type(function).__call__
    try:
        hints = typing.get_type_hints(annotated, include_extras=True)
    except NameError:  # a name that is imported for type checkers only: the values are taken as they are
        hints = {}
    checked = {}
    for key, value in options.items():
        if key not in parameters:
            raise ConfigError(f"the loss {name} has no option {key!r}.{nearest(key, parameters)}")
        try:
            checked[key] = TypeAdapter(hints.get(key, Any)).validate_python(value)
        except ValidationError as error:
            told = error.errors(include_url=False)[0]["msg"].lower()
            raise ConfigError(f"the loss {name}: {key}: {told}, not {value!r}") from error
    return checked
