"""Evidence that may be looked at after every row: how often it errs, and what it finds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.sequential import (
    Moments,
    log_evidence_of_excess,
    log_evidence_of_less,
    log_evidence_of_rise,
    mean_difference,
    rate_interval,
)

LEVEL = 0.05
RUNS = 400
SLACK = 2 * math.sqrt(LEVEL * (1 - LEVEL) / RUNS)
"""Two standard errors of a share of `RUNS`, on top of the level."""
numbers = st.lists(st.floats(-1e6, 1e6), max_size=20).map(np.array)


@given(numbers, numbers)
def test_moments_of_two_parts_are_those_of_the_whole(first: np.ndarray, second: np.ndarray) -> None:
    added, whole = Moments.of(first) + Moments.of(second), Moments.of(np.concatenate([first, second]))
    assert added.count == whole.count
    assert added.mean == pytest.approx(whole.mean, abs=1e-6)
    assert added.scatter == pytest.approx(whole.scatter, rel=1e-9, abs=1e-3)
    if added.count > 1:
        assert added.variance == pytest.approx(np.concatenate([first, second]).var(ddof=1), rel=1e-9, abs=1e-3)


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.01, 0.99))
def test_evidence_of_an_excess_grows_with_own_hits_and_falls_with_those_of_the_other(
    hits: int, others: int, share: float
) -> None:
    evidence = log_evidence_of_excess(hits, others, share)
    assert log_evidence_of_excess(hits + 1, others, share) > evidence
    assert log_evidence_of_excess(hits, others + 1, share) < evidence
    assert log_evidence_of_less(hits, others + 1, share) > log_evidence_of_less(hits, others, share)


def test_no_row_of_one_arm_is_no_evidence() -> None:
    assert log_evidence_of_excess(5, 0, 1.0) == log_evidence_of_excess(0, 5, 0.0) == 0.0
    assert log_evidence_of_excess(0, 0, 0.5) == 0.0


def test_fair_bets_do_not_gain_on_average() -> None:
    """The expected evidence of n hits, each with the probability of the share, is 1: exactly what Ville needs."""
    share, count = 0.05, 40
    chances = [math.comb(count, hits) * share**hits * (1 - share) ** (count - hits) for hits in range(count + 1)]
    expected = sum(
        chance * math.exp(log_evidence_of_excess(hits, count - hits, share)) for hits, chance in enumerate(chances)
    )
    assert expected == pytest.approx(1)
    lower = sum(
        chance * math.exp(log_evidence_of_excess(hits, count - hits, 2 * share)) for hits, chance in enumerate(chances)
    )
    assert lower < 1, "an arm that is hit less often gives less than fair evidence of an excess"


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_excess_that_is_not_there_is_rarely_shown_at_any_look(share: float) -> None:
    """The share that was come to, looked at after every ten rows of 4,000, with hits on a tenth of them."""
    random = np.random.default_rng(1)
    wrong = 0
    for _ in range(RUNS):
        arm, hit = random.random(4000) < share, random.random(4000) < 0.1
        own, rows = np.cumsum(arm & hit)[9::10], np.cumsum(arm)[9::10]
        others, count = np.cumsum(~arm & hit)[9::10], np.arange(10, 4001, 10)
        looks = zip(own.tolist(), others.tolist(), (rows / count).tolist(), strict=True)
        wrong += any(log_evidence_of_excess(*look) >= -math.log(LEVEL) for look in looks)
    assert wrong / RUNS <= LEVEL + SLACK


def test_excess_that_is_there_is_found_soon() -> None:
    """Two of a hundred against none: shown in a canary of a twentieth before its 500th row."""
    found = [log_evidence_of_excess(hits, 0, 0.05) for hits in range(10)]
    assert found[2] < math.log(480) <= found[4]


@given(st.integers(0, 300), st.integers(0, 300))
def test_rate_that_was_seen_is_always_possible(hits: int, misses: int) -> None:
    rows = hits + misses
    interval = rate_interval(hits, rows, planned=100, level=LEVEL)
    assert 0 <= interval.low <= (hits / rows if rows else 0.5) <= interval.high <= 1
    if not hits:
        assert interval.low == 0


def test_rate_is_rarely_outside_its_interval_at_any_look() -> None:
    random = np.random.default_rng(2)
    low = high = 0
    for _ in range(RUNS):
        hits = np.cumsum(random.random(1500) < 0.03)[4::5]
        intervals = [
            rate_interval(hit, rows, planned=300, level=LEVEL)
            for hit, rows in zip(hits.tolist()[::10], range(5, 1501, 50), strict=True)
        ]
        low += any(one.low > 0.03 for one in intervals)
        high += any(one.high < 0.03 for one in intervals)
    assert max(low, high) / RUNS <= LEVEL + SLACK


def test_rows_without_a_hit_rule_out_four_in_so_many() -> None:
    for planned in (50, 400, 5000):
        assert 3 < planned * rate_interval(0, planned, planned=planned, level=LEVEL).high < 4


def test_mean_difference_is_rarely_outside_its_interval_at_any_look() -> None:
    """Skewed numbers, arms of different size, looked at from 50 rows of the smaller on."""
    random = np.random.default_rng(3)
    wrong = 0
    for _ in range(RUNS):
        new, old = random.exponential(1, 1000), random.exponential(1, 4000)
        intervals = [
            mean_difference(Moments.of(new[:rows]), Moments.of(old[: 4 * rows]), planned=200, level=LEVEL)
            for rows in range(50, 1001, 50)
        ]
        wrong += any(one.low > 0 or one.high < 0 for one in intervals)
    assert wrong / RUNS <= LEVEL + SLACK


def test_difference_of_means_needs_two_numbers_of_each() -> None:
    one = Moments(count=1, mean=5.0)
    interval = mean_difference(one, Moments.of(np.arange(9.0)), planned=10, level=LEVEL)
    assert (interval.low, interval.high) == (-math.inf, math.inf)


def test_rise_of_a_mean_that_is_not_there_is_rarely_shown_at_any_look_and_one_that_is_there_is_found() -> None:
    """Who is right alone: as often one as the other, or, three points of accuracy apart, 45 against 15 of a thousand."""
    random = np.random.default_rng(4)
    outcomes = {"alike": (0.03, 0.03), "worse": (0.045, 0.015)}
    shown = dict.fromkeys(outcomes, 0)
    for name, (worse, better) in outcomes.items():
        for _ in range(RUNS // 2):
            draw = random.random(4000)
            differences = np.where(draw < worse, 1.0, np.where(draw < worse + better, -1.0, 0.0))
            looks = (log_evidence_of_rise(differences[:rows]) for rows in range(100, 4001, 100))
            shown[name] += any(evidence >= -math.log(LEVEL) for evidence in looks)
    assert shown["alike"] / (RUNS // 2) <= LEVEL + SLACK
    assert shown["worse"] == RUNS // 2
