"""Reward files as the Harbor contract has them: finite numbers, or a verifier that broke; never a silent zero."""

from __future__ import annotations

import pytest

from agentdistill.errors import EmptyRewardError, MissingRewardError, UnreadableRewardError, VerifierError
from agentdistill.formats.rewards import main_reward, read_rewards


@pytest.mark.parametrize(
    ("json_file", "text_file", "rewards"),
    [
        (None, b"1", {"reward": 1.0}),
        (None, b" 0.25\n", {"reward": 0.25}),
        (None, b"-1e-3", {"reward": -0.001}),
        (b'{"reward": 0}', b"1", {"reward": 0.0}),
        (b'{"speed": 0.5, "reward": 1, "style": -2.5}', None, {"speed": 0.5, "reward": 1.0, "style": -2.5}),
    ],
)
def test_finite_numbers_are_read_and_the_json_file_comes_first(json_file, text_file, rewards):
    assert read_rewards(json_file, text_file) == rewards


@pytest.mark.parametrize(
    ("json_file", "text_file", "error"),
    [
        (None, None, MissingRewardError),
        (None, b"", EmptyRewardError),
        (None, b" \n", EmptyRewardError),
        (b"", b"1", EmptyRewardError),
        (b"{}", None, EmptyRewardError),
        *[
            (None, text, UnreadableRewardError)
            for text in (b"nan", b"inf", b"-Infinity", b"1e999", b"1_0", "١".encode(), b"1 1", b"yes", b"\xff", b"0x1")
        ],
        *[
            (text, b"1", UnreadableRewardError)
            for text in (
                b"1",
                b"[1]",
                b"null",
                b"{",
                b'{"reward": NaN}',
                b'{"reward": Infinity}',
                b'{"reward": 1e999}',
                b'{"reward": ' + b"9" * 5000 + b"}",
                b'{"reward": ' + b"9" * 400 + b"}",
                b'{"reward": true}',
                b'{"reward": "1"}',
                b'{"reward": {"a": 1}}',
                b'{"reward": 0, "reward": 1}',
                b'{"reward": 1, "note": null}',
                b"[" * 100_000,
                b'{"reward": 1}' + b" " * (1 << 21),
            )
        ],
    ],
)
def test_anything_else_is_a_verifier_that_broke_and_says_in_which_way(json_file, text_file, error):
    with pytest.raises(error) as caught:
        read_rewards(json_file, text_file)
    assert isinstance(caught.value, VerifierError)
    assert len(str(caught.value)) < 300


def test_the_reward_that_counts_is_the_one_of_that_name_or_the_only_one_and_within_bounds():
    assert main_reward({"reward": 0.5, "speed": 7.0}) == 0.5
    assert main_reward({"speed": 0.7}) == 0.7
    assert main_reward({"reward": 7.0}, allowed=(0, 10)) == 7.0
    for wrong in (
        {"a": 1.0, "b": 1.0},
        {"reward": 1.5},
        {"reward": -0.1},
        {"reward": 0.5, "speed": 1.0} | {"reward": 2.0},
    ):
        with pytest.raises(UnreadableRewardError):
            main_reward(wrong)
