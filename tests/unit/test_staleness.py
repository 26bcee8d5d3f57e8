"""Staleness tells a model that has aged from a world that has become harder."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.metrics import DayErrors, FloatArray, day_errors, losses
from trimtab.domain.spec import MonitorSpec, Task
from trimtab.domain.staleness import DAYS, Staleness, shift, shifted, staleness

SPEC = MonitorSpec()
FIRST = date(2013, 3, 1)


def lived(task: Task, truth: list[FloatArray], predicted: list[FloatArray]) -> dict[str, DayErrors]:
    """Errors of consecutive days as the feedback measures them, each shifted by the days before."""
    found: dict[str, DayErrors] = {}
    for number, (y_true, y_pred) in enumerate(zip(truth, predicted, strict=True)):
        errors = day_errors(task, y_true, y_pred, {})
        by = shift(list(found.values()))
        if by is not None:
            loss = float(losses(task, y_true, shifted(task, y_pred, by)).mean())
            errors = DayErrors(rows=errors.rows, loss=errors.loss, bias=errors.bias, shifted_loss=loss)
        found[(FIRST + timedelta(days=number)).isoformat()] = errors
    return found


def air_times(seed: int, *, bias: float, spread: float, wobble: float = 1.0) -> dict[str, DayErrors]:
    """Three weeks of a regression whose errors have a mean, a spread, and a mean of each day's own."""
    random = np.random.default_rng(seed)
    truth = [random.normal(100, 30, 300) for _ in range(21)]
    means = bias + random.normal(0, wobble, 21)
    predicted = [y + mean + random.normal(0, spread, 300) for y, mean in zip(truth, means, strict=True)]
    return lived("regression", truth, predicted)


def test_model_that_errs_in_one_direction_is_stale() -> None:
    found = staleness(air_times(0, bias=8, spread=8), SPEC)
    assert found.stale
    assert found.share == pytest.approx(0.33, abs=0.05)
    assert "saves 3" in found.summary


@pytest.mark.parametrize("spread", [8.0, 80.0])
def test_harder_world_is_no_stale_model(spread: float) -> None:
    found = staleness(air_times(0, bias=0, spread=spread), SPEC)
    assert not found.stale
    assert found.share is not None
    assert found.share < 0.02


def test_days_that_err_each_in_their_own_direction_are_no_staleness() -> None:
    """What a day's errors do not tell about the next day's, no training could have learnt."""
    verdicts = [staleness(air_times(seed, bias=0, spread=4, wobble=6), SPEC).stale for seed in range(200)]
    assert sum(verdicts) <= 1


def test_small_saving_is_not_worth_a_training() -> None:
    found = staleness(air_times(0, bias=2, spread=8, wobble=0.1), SPEC)
    assert found.p_value is not None
    assert found.p_value < SPEC.false_decays_per_year / 365
    assert not found.stale


def test_classifier_whose_base_rate_has_moved_is_stale_and_one_that_is_calibrated_is_not() -> None:
    random = np.random.default_rng(0)
    odds = [random.normal(-1, 1, 500) for _ in range(21)]
    truth = [(random.random(500) < 1 / (1 + np.exp(-one))).astype(np.float64) for one in odds]
    calibrated = lived("binary", truth, [1 / (1 + np.exp(-one)) for one in odds])
    moved = lived("binary", truth, [1 / (1 + np.exp(-one - 2)) for one in odds])
    assert not staleness(calibrated, SPEC).stale
    assert staleness(moved, SPEC).stale


@pytest.mark.parametrize("days", range(DAYS + 1))
def test_too_few_days_are_no_evidence(days: int) -> None:
    errors = dict(list(air_times(0, bias=8, spread=8).items())[:days])
    assert staleness(errors, SPEC) == Staleness(days=max(0, days - 1), share=None, p_value=None, stale=False)


def test_perfect_model_is_not_stale() -> None:
    truth = [np.full(10, 5.0)] * 21
    found = staleness(lived("regression", truth, truth), SPEC)
    assert (found.share, found.stale) == (0.0, False)


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=30), st.floats(-0.5, 0.5))
def test_shifted_probabilities_are_probabilities_in_the_same_order(probabilities: list[float], by: float) -> None:
    before = np.array(sorted(probabilities))
    after = shifted("binary", before, by)
    assert ((after >= 0) & (after <= 1)).all()
    assert (np.diff(after) >= 0).all()
    assert (after.mean() - before.mean()) * by <= 1e-12
