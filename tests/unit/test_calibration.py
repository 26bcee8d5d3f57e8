"""The null of a verdict: its size, its power, and the calendar."""

from datetime import date, timedelta

import numpy as np
import pytest

from trimtab.domain.calibration import Series, arcsine, day_types, fit, identity, root_shares
from trimtab.domain.comparison import Comparison, compare, without_furthest_day
from trimtab.domain.metrics import FloatArray

ALPHA = 0.01


def days(count: int, first: date = date(2013, 1, 1)) -> list[str]:
    return [(first + timedelta(days=number)).isoformat() for number in range(count)]


def compared(values: FloatArray, rows: float, known: int, horizon: int, shift: float = 0.1) -> Comparison:
    """The last days of values (days, signals) against the first, as one window."""
    series = Series(means=values[:, :, None], rows=np.full(values.shape, rows))
    types = np.zeros(len(values), dtype=np.intp)
    before = Series(means=series.means[:known], rows=series.rows[:known])
    null = fit(before, types[:known], np.ones(known - 1, dtype=np.intp), np.ones(values.shape[1]), identity)
    after = Series(means=series.means[known:], rows=series.rows[known:])
    windows = np.zeros((1, len(values) - known))
    windows[0, -horizon:] = 1
    return compare(null, after, types[known:], windows, alpha=ALPHA, floor=0.0, shift=shift)


@pytest.mark.parametrize("wobble", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("horizon", [1, 7, 28])
def test_no_change_exceeds_the_limit_as_rarely_as_promised(wobble: float, horizon: int) -> None:
    """Each of 1,600 signals is alone, so that none can learn from the others' draws."""
    random = np.random.default_rng(horizon)
    false = 0
    for _ in range(400):
        values = random.normal(0, np.sqrt(wobble**2 + 1 / 500), (56 + horizon, 4))
        found = compared(values, 500, 56, horizon)
        false += int((found.value > found.limit).sum())
    assert false / 1600 <= ALPHA + 3 * np.sqrt(ALPHA / 1600)


def test_power_is_how_often_a_true_shift_is_found() -> None:
    random = np.random.default_rng(0)
    found, promised = [], []
    for _ in range(400):
        values = random.normal(0, 0.05, (56 + 7, 4))
        values[56:] += 0.07
        one = compared(values, 1e6, 56, 7, shift=0.07)
        found.append(one.value > one.limit)
        promised.append(one.power)
    assert np.mean(found) == pytest.approx(np.mean(promised), abs=0.1)


def test_days_with_few_rows_get_a_wider_limit() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0, 0.05, (57, 1))
    series = Series(means=values[:56, :, None], rows=np.full((56, 1), 1000.0))
    types = np.zeros(57, dtype=np.intp)
    null = fit(series, types[:56], np.ones(55, dtype=np.intp), np.ones(1), identity)
    limits = [
        compare(
            null,
            Series(means=values[56:, :, None], rows=np.full((1, 1), rows)),
            types[56:],
            np.ones((1, 1)),
            alpha=ALPHA,
            floor=0.0,
            shift=0.1,
        ).limit[0, 0]
        for rows in (1000.0, 100.0, 10.0)
    ]
    assert limits[0] < limits[1] < limits[2]
    assert limits[2] > 2.5 * np.sqrt(1 / 10)  # what ten independent rows need at this level


def test_weekend_is_compared_with_weekends() -> None:
    names = days(63)
    weekend = np.array([date.fromisoformat(day).weekday() >= 5 for day in names])
    values = np.random.default_rng(0).normal(0, 0.02, (63, 1)) + 3.0 * weekend[:, None]
    types = day_types(names, names[:56])
    before = Series(means=values[:56, :, None], rows=np.full((56, 1), 1000.0))
    null = fit(before, types[:56], np.ones(55, dtype=np.intp), np.ones(1), identity)
    after = Series(means=values[56:, :, None], rows=np.full((7, 1), 1000.0))
    found = compare(null, after, types[56:], np.eye(7), alpha=1e-6, floor=0.0, shift=0.1)
    assert (found.value < found.limit).all()
    assert (found.limit < 0.5).all()


@pytest.mark.parametrize(("known", "kinds"), [(7, 1), (21, 1), (28, 2), (55, 2), (56, 7)])
def test_types_of_days_are_those_that_the_reference_can_tell_apart(known: int, kinds: int) -> None:
    assert len(set(day_types(days(known), days(known)).tolist())) == kinds


def test_weekly_batches_have_one_type_and_other_weekdays_fall_in_with_it() -> None:
    mondays = [(date(2013, 1, 7) + timedelta(weeks=number)).isoformat() for number in range(20)]
    assert set(day_types([*mondays, "2013-06-04"], mondays).tolist()) == {0}


def test_scales_are_in_standard_deviations() -> None:
    """A shift of a normal mean by d moves root shares by about d; Cohen's h of 0.5 and 0.55 is 0.1."""
    random = np.random.default_rng(0)
    edges = np.quantile(random.normal(0, 1, 400_000), np.linspace(0, 1, 21)[1:-1])
    shares = [
        np.bincount(np.searchsorted(edges, random.normal(mean, 1, 400_000)), minlength=20) / 400_000
        for mean in (0.0, 0.2)
    ]
    distance = np.sqrt(np.square(root_shares(shares[1]) - root_shares(shares[0])).sum())
    assert distance == pytest.approx(0.2, abs=0.02)
    difference = arcsine(np.array([0.55])) - arcsine(np.array([0.5]))
    assert difference[0] == pytest.approx(0.1, abs=0.001)


def test_furthest_day_is_left_out_of_each_window_for_each_signal_by_itself() -> None:
    random = np.random.default_rng(0)
    values = random.normal(0, 0.01, (28 + 7, 2))
    values[-3, 0], values[-1, 1] = 1.0, -1.0
    series = Series(means=values[:, :, None], rows=np.ones(values.shape))
    types = np.zeros(len(values), dtype=np.intp)
    before = Series(means=series.means[:28], rows=series.rows[:28])
    null = fit(before, types[:28], np.ones(27, dtype=np.intp), np.ones(2), identity)
    after = Series(means=series.means[28:], rows=series.rows[28:])
    windows = np.stack([np.ones(7), np.eye(7)[6]])
    rest = without_furthest_day(null, after, types[28:], windows)
    assert np.flatnonzero(rest[0, :, 0] == 0).tolist() == [4]
    assert np.flatnonzero(rest[0, :, 1] == 0).tolist() == [6]
    np.testing.assert_array_equal(rest[1].T, windows[[1, 1]])
    found = compare(null, after, types[28:], rest, alpha=ALPHA, floor=0.0, shift=0.1)
    assert (found.value[0] < 0.05).all()
    assert found.value[1, 1] == pytest.approx(1.0, abs=0.05)
