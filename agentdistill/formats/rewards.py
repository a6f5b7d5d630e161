"""Reward files of Harbor tasks: what a task's own ``test.sh`` says the work is worth.

The contract: ``tests/test.sh`` writes ``/logs/verifier/reward.json``, a flat object of numbers, or ``reward.txt``, one
number; the first is read if both are there. A file that is missing, empty or says anything else is a verifier that
broke, never a reward of 0. Such a file can be trusted as far as the code under test could not write it: read it from a
fresh sandbox, and prefer `agentdistill.verification.tests`, where nothing under test ever gets near the verdict.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import NoReturn

from agentdistill.errors import EmptyRewardError, MissingRewardError, UnreadableRewardError

_LARGEST = 1 << 20
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MAIN = "reward"
"""The key of a reward.json that has several; the only one otherwise."""


def read_rewards(json_file: bytes | None, text_file: bytes | None = None) -> dict[str, float]:
    """The numbers of a task's reward files, `None` for a file that is not there; all finite.

    A ``reward.txt`` gives one number under the key ``reward``.

    Raises:
        MissingRewardError: neither file is there.
        EmptyRewardError: the file is empty, or an object without a key.
        UnreadableRewardError: it is too large, no JSON, not flat, or holds what is no finite number.
    """
    if json_file is not None:
        return _read_json(_text("reward.json", json_file))
    if text_file is not None:
        return {MAIN: _number("reward.txt", MAIN, _text("reward.txt", text_file))}
    raise MissingRewardError("the verifier wrote neither reward.json nor reward.txt")


def main_reward(rewards: Mapping[str, float], allowed: tuple[float, float] = (0.0, 1.0)) -> float:
    """The one number that counts: ``reward``, or the only one there is.

    Raises:
        UnreadableRewardError: there are several and none of that name, or it is not within `allowed`.
    """
    if MAIN not in rewards and len(rewards) != 1:
        raise UnreadableRewardError(f"no {MAIN!r} among the rewards {', '.join(map(repr, sorted(rewards)[:10]))}")
    reward = rewards.get(MAIN, next(iter(rewards.values())))
    if not allowed[0] <= reward <= allowed[1]:
        raise UnreadableRewardError(f"a reward of {reward:g} is not between {allowed[0]:g} and {allowed[1]:g}")
    return reward


def _read_json(text: str) -> dict[str, float]:
    try:
        found = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_repeated)
    except (ValueError, RecursionError) as error:
        raise UnreadableRewardError(f"reward.json is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UnreadableRewardError("reward.json holds no object")
    if not found:
        raise EmptyRewardError("reward.json holds an object without a key")
    rewards = {}
    for key, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnreadableRewardError(f"reward.json: {key[:80]!r} is no number")
        rewards[key] = _number("reward.json", key, value)
    return rewards


def _text(name: str, content: bytes) -> str:
    if len(content) > _LARGEST:
        raise UnreadableRewardError(f"{name} is larger than {_LARGEST} bytes")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError as error:
        raise UnreadableRewardError(f"{name} is not text") from error
    if not text:
        raise EmptyRewardError(f"{name} is empty")
    return text


def _number(name: str, key: str, value: str | float) -> float:
    # `float` reads more than numbers: nan, inf, 1_000, other scripts' digits.
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise UnreadableRewardError(f"{name}: {value[:80]!r} is no number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UnreadableRewardError(f"{name}: {key[:80]!r} is not finite")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _without_repeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
