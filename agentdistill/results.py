"""What a run came to: rates with their intervals, arms side by side, and where to read them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from agentdistill.errors import StoreError
from agentdistill.records import Record
from agentdistill.store import RunStore


class Rate(Record):
    """A share with its 95 % Wilson interval; all in [0, 1]. `n` counts episodes that were judged."""

    rate: float
    low: float
    high: float
    n: int


class ArmResult(Record):
    """What one arm came to. Tokens are output tokens; errored episodes are in no rate.

    `outcomes` and `climbs` have one letter for each held-out task and each frozen state, in an order that all arms of
    a run share: ``1`` passed, ``0`` failed, ``x`` errored. They are what paired comparisons are made of.

    Of a policy that was put behind messes there are no success episodes: `tool_errors` and `steps` are per climb, and
    `student_tokens` and `student_input_tokens` what it wrote and read in them.
    """

    success: Rate
    recovery: Rate
    teacher_tokens: int
    teacher_input_tokens: int
    student_tokens: int
    optimiser_steps: int
    tool_errors: float
    """Calls that did not go through, per success episode."""
    steps: float
    """Turns per success episode."""
    errored: int
    outcomes: str = ""
    climbs: str = ""
    student_input_tokens: int = 0


def rate_of(passed: int, n: int, effective: float | None = None) -> Rate:
    """Wilson's score interval at 95 % (Wilson 1927); the whole of [0, 1] where nothing was judged.

    `effective` is how many independent episodes the `n` are worth, where they are not independent.
    """
    if n == 0:
        return Rate(rate=0.0, low=0.0, high=1.0, n=0)
    z = 1.959963984540054
    share, worth = passed / n, effective or n
    middle = (share + z * z / (2 * worth)) / (1 + z * z / worth)
    half = z / (1 + z * z / worth) * math.sqrt(share * (1 - share) / worth + z * z / (4 * worth * worth))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # At the ends the formula gives 0 and 1 up to rounding, and the interval must hold the rate.
    return Rate(rate=share, low=min(low, share), high=max(high, share), n=n)


def clustered_rate(clusters: Sequence[tuple[int, int]]) -> Rate:
    """The rate over clusters of episodes that may be alike, such as all tries at one task: passed and judged of each.

    Wilson's interval with the number of independent episodes that they are worth: as many as were judged, divided by
    the design effect that the spread between clusters shows (Korn and Graubard 1998; for Wilson's, Franco et al. 2019).
    Where all passed or none did there is no spread to see: then each cluster counts once.
    """
    judged = [(passed, n) for passed, n in clusters if n]
    passed, n, k = sum(p for p, _ in judged), sum(n for _, n in judged), len(judged)
    if k < 2 or passed in (0, n):
        return rate_of(passed, n, k or None)
    share = passed / n
    spread = k / (k - 1) * sum((p - share * m) ** 2 for p, m in judged) / n**2
    return rate_of(passed, n, min(n, share * (1 - share) / spread) if spread else None)


class MessReport(Record):
    """What a policy came to behind the messes of a task set.

    Two of them can be compared where `digest`, `environment`, `step_limit` and `tries` are equal, and their `climbs`
    pair by pair where `starts` is equal too.
    """

    benchmark: str
    version: str
    digest: str
    """Over the tasks, hidden tests and messes that were used: `agentdistill.messes.TaskSet.digest`."""
    pinned: str
    """The digest that belongs to this version; empty where none is written down or not all tasks were used."""
    starts: str
    """Over what the worlds held in which the policy began."""
    environment: str
    sandbox: str
    tasks: int
    messes: int
    tries: int
    step_limit: int
    seed: int
    policy: dict[str, JsonValue]
    privileged: bool
    """Whether the policy reads the live environment, as a baseline may and no model can."""
    arms: dict[str, ArmResult]
    groups: dict[str, dict[str, ArmResult]]
    """Kind of group (family, difficulty, split, task, mess) → its name → what became of it."""


class RunReport(Record):
    """What a run came to."""

    environment: str
    options: dict[str, JsonValue]
    seed: int
    bank_states: int
    bank_fatal: int
    bank_unseen: int
    bank_digest: str
    arms: dict[str, ArmResult]
    refused: dict[str, dict[str, int]]
    tokens: Literal["exact", "inferred"] = "exact"


class TrainReport(Record):
    """What training on its own came to; losses are means over supervised tokens (of `dpo`: over pairs)."""

    data: str
    loss: str
    rows: int
    """Segments or pairs that were learnt from."""
    test_rows: int
    refused: dict[str, int]
    steps: int
    supervised_tokens: int
    """As they were seen: a row that was drawn twice counts twice."""
    passes: float
    """How often each supervised token was seen, on average."""
    first_loss: float | None
    last_loss: float | None
    """Of the first and the last optimiser step; none where it was not finite."""
    held_out_before: float | None = None
    """The loss on the test rows, if there are any, before and after."""
    held_out_after: float | None = None


class Mean(Record):
    """A mean over seeds with its 95 % interval (Student's t over the seeds), and how far they lie apart.

    With one seed there is no interval: `low` and `high` are infinite.
    """

    mean: float
    low: float
    high: float
    least: float
    most: float
    n: int


# Student's t at 97.5 % for 1 .. 30 degrees of freedom; beyond, the normal's.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131),
    *(2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of one value per seed.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no value to take a mean of")
    n = len(values)
    mean = sum(values) / n
    half = math.inf
    if n > 1:
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
        half = (_T[n - 2] if n - 2 < len(_T) else 1.96) * spread / math.sqrt(n)
    return Mean(mean=mean, low=mean - half, high=mean + half, least=min(values), most=max(values), n=n)


def read_report(folder: Path) -> RunReport | MessReport | TrainReport:
    """What the run in `folder` came to: one of the whole loop, one behind messes, or training on its own.

    Raises:
        StoreError: the folder holds no run, or one that is not finished.
    """
    with RunStore.read(folder) as store:
        found, behind_messes, trained = store.result("report"), store.result("messes"), store.result("training")
    if trained is not None:
        return TrainReport.model_validate(trained)
    if behind_messes is not None:
        return MessReport.model_validate(behind_messes)
    if found is None:
        raise StoreError(f"the run in {folder} is not finished: the command that began it goes on where it stopped")
    return RunReport.model_validate(found)
