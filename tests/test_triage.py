"""Which failures are paid for: the budget is met, the best go first, and quotas are kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentdistill.errors import ConfigError
from agentdistill.triage import Candidate, triage


@st.composite
def failures(draw: st.DrawFn) -> list[Candidate]:
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(1, 50), st.sampled_from(["loop", "error", "test"])), max_size=40
        )
    )
    return [Candidate(str(at), score / 5, cost, kind) for at, (score, cost, kind) in enumerate(rows)]


@given(failures(), st.integers(0, 1500), st.sampled_from([{}, {"loop": 0.5}, {"loop": 0.3, "test": 0.7}]))
def test_what_is_expected_to_be_spent_is_the_budget_or_all_there_is(seen, budget, quotas):
    found = triage(seen, budget, quotas=quotas)
    assert found.expected == pytest.approx(min(budget, sum(each.cost for each in seen)))


@given(failures(), st.integers(0, 1500))
def test_nobody_is_taken_before_one_that_scores_more(seen, budget):
    found = triage(seen, budget)
    taken = [each.score for each in seen if found.takes(each)]
    left = [each.score for each in seen if not found.takes(each)]
    assert not taken or not left or min(taken) >= max(left)


@given(failures(), st.integers(1, 1500))
def test_a_kind_with_a_quota_gets_it_or_is_taken_whole(seen, budget):
    found = triage(seen, budget, quotas={"loop": 0.4})
    own = found.quotas["loop"]
    mine = [each for each in seen if each.kind == "loop"]
    least = sum(each.cost for each in mine if each.score > own.score) + own.chance * sum(
        each.cost for each in mine if each.score == own.score
    )
    assert least == pytest.approx(min(0.4 * budget, sum(each.cost for each in mine)))


def test_ties_are_drawn_and_what_is_really_spent_is_near_the_budget():
    seen = [Candidate(f"run-{at}", 1.0, 10) for at in range(2000)]
    found = triage(seen, budget=5000)
    spent = sum(each.cost for each in seen if found.takes(each))
    assert spent == pytest.approx(5000, rel=0.15)


def test_thresholds_solved_on_a_pilot_hold_for_ten_times_as_many():
    pilot = [Candidate(f"pilot-{at}", at % 50, 10) for at in range(200)]
    found = triage(pilot, budget=5000, coming=2000)
    later = [Candidate(f"later-{at}", at % 50, 10) for at in range(2000)]
    assert sum(each.cost for each in later if found.takes(each)) == pytest.approx(5000, rel=0.1)


def test_quotas_of_more_than_everything_are_refused():
    with pytest.raises(ConfigError, match="quota"):
        triage([], 10, quotas={"a": 0.7, "b": 0.7})
