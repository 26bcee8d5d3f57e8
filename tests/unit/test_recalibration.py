"""The correction of a level: what it does to predictions, how it is fitted, and the reference that goes with it."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import tiny_package, tiny_rows
from trimtab.adapters.model_package import digest, open_package
from trimtab.domain.binning import bins_of, number_bins
from trimtab.domain.counting import profile, profile_column
from trimtab.domain.metrics import FloatArray, day_errors, losses
from trimtab.domain.profiles import PREDICTION, Reference
from trimtab.domain.recalibration import (
    CALIBRATION_FILE,
    Calibration,
    Correction,
    calibrated,
    calibration_of,
    corrected_reference,
    entropy,
    fit,
)
from trimtab.domain.spec import Task
from trimtab.errors import ModelIntegrityError

HALF = Correction(task="binary", factor=0.5)
LOWER = Correction(task="regression", shift=-3.7)
STEEPER = Correction(task="regression", factor=1.4, shift=-3.7)
TASKS: tuple[Task, ...] = ("regression", "binary")


def probabilities(seed: int, rows: int = 20_000) -> FloatArray:
    """Honest probabilities of 0.01 to 0.99."""
    odds = np.exp(np.random.default_rng(seed).normal(-1, 1, rows))
    return np.clip(odds / (1 + odds), 0.01, 0.99)


@given(p=st.lists(st.floats(0, 1), min_size=2, max_size=40), factor=st.floats(1e-6, 1e6))
def test_probability_stays_one_in_its_order_and_is_the_same_alone_and_in_a_batch(p: list[float], factor: float) -> None:
    correction = Correction(task="binary", factor=factor)
    batch = correction.apply(np.array(p))
    assert ((batch >= 0) & (batch <= 1)).all()
    assert (np.diff(batch[np.argsort(p)]) >= -1e-15).all()
    alone = [correction.apply(np.array([one]))[0] for one in p]
    assert batch.tolist() == alone


@given(p=st.floats(0.001, 0.999), first=st.floats(0.01, 100), second=st.floats(0.01, 100), shift=st.floats(-9, 9))
def test_correction_after_another_is_one_correction(p: float, first: float, second: float, shift: float) -> None:
    for task in TASKS:
        added = shift if task == "regression" else 0.0
        earlier, later = (Correction(task=task, factor=factor, shift=added) for factor in (first, second))
        stepwise = later.apply(earlier.apply(np.array([p])))
        np.testing.assert_allclose(later.after(earlier).apply(np.array([p])), stepwise, rtol=1e-9, atol=1e-9)
    assert LOWER.after(None) == LOWER


@pytest.mark.parametrize("task", TASKS)
def test_no_other_number_has_a_lower_loss(task: Task) -> None:
    random, y_pred = np.random.default_rng(3), probabilities(1, 999)
    y_true = y_pred + random.exponential(2, 999) if task == "regression" else (random.random(999) < y_pred / 2) * 1.0
    best = fit(task, y_true, y_pred)
    assert best is not None
    name = "shift" if task == "regression" else "factor"
    others = [replace(best, **{name: getattr(best, name) * by}) for by in (0.5, 0.99, 1.01, 2.0)]
    lowest, *more = (losses(task, y_true, one.apply(y_pred)).mean() for one in (best, *others))
    assert lowest < min(more)
    if task == "binary":
        assert best.apply(y_pred).mean() == pytest.approx(y_true.mean(), abs=1e-12)


def test_slope_of_predictions_that_grow_too_little_is_found() -> None:
    random = np.random.default_rng(9)
    y_pred = random.normal(100, 30, 5000)
    found = fit("regression", 1.4 * y_pred - 3.7 + random.normal(0, 5, 5000), y_pred, slope=True)
    assert found is not None
    assert found.factor == pytest.approx(1.4, abs=0.01)
    assert found.shift == pytest.approx(-3.7, abs=1)
    assert fit("regression", -y_pred, y_pred, slope=True) is None
    assert fit("regression", y_pred, np.full(5000, 3.0), slope=True) is None


def test_shift_of_the_share_of_ones_is_undone_to_the_probabilities_of_bayes() -> None:
    """A quarter of the ones is left and the rows of each label look as before: the odds are a quarter."""
    random = np.random.default_rng(5)
    y_true = (random.random(400_000) < 0.4) * 1.0
    x = random.normal(y_true, 1)
    honest = 1 / (1 + np.exp(-(x - 0.5 + math.log(0.4 / 0.6))))
    left = (y_true == 0) | (random.random(len(x)) < 0.25)
    found = fit("binary", y_true[left], honest[left])
    assert found is not None
    assert found.factor == pytest.approx(0.25, rel=0.02)


@pytest.mark.parametrize(("task", "label"), [("binary", 1.0), ("binary", 0.0)])
def test_rows_of_one_label_say_nothing_about_the_odds(task: Task, label: float) -> None:
    assert fit(task, np.full(50, label), np.full(50, 0.3)) is None
    assert fit("regression", np.array([]), np.array([])) is None


def reference_of(task: Task, y_true: FloatArray, y_pred: FloatArray) -> Reference:
    columns = {"distance": np.arange(len(y_pred), dtype=np.float64), PREDICTION: y_pred}
    bins = bins_of(columns)
    day = day_errors(task, y_true, y_pred, {"carrier": np.where(y_pred > 0.5, "AA", "UA").astype(object)})
    return Reference(
        bins=bins,
        days={"2013-01-01": profile(columns, bins)},
        errors={"2013-01-01": day},
        label_bins=number_bins(y_true),
        labels=profile_column(y_true, number_bins(y_true)),
    )


@pytest.mark.parametrize("correction", [LOWER, STEEPER, HALF])
def test_reference_counts_corrected_predictions_as_it_counted_them_before(correction: Correction) -> None:
    y_pred = probabilities(2) * (100 if correction.task == "regression" else 1)
    reference = reference_of(correction.task, y_pred, y_pred)
    moved = corrected_reference(reference, Calibration(correction=correction, errors={}))
    rows = {"distance": np.arange(len(y_pred), dtype=np.float64), PREDICTION: correction.apply(y_pred)}
    now = profile(rows, moved.bins).columns[PREDICTION]
    then = moved.days["2013-01-01"].columns[PREDICTION]
    assert np.abs(np.array(now.counts) - np.array(then.counts)).sum() <= 2  # the last place of an edge
    assert then.mean == pytest.approx(now.mean, rel=1e-3)
    assert then.sd == pytest.approx(now.sd, rel=1e-2)
    assert (then + now).rows == 2 * len(y_pred)
    assert moved.days["2013-01-01"].columns["distance"] == reference.days["2013-01-01"].columns["distance"]
    assert (moved.label_bins, moved.labels) == (reference.label_bins, reference.labels)
    assert moved.labels is not None


def test_honest_probabilities_have_the_log_loss_of_their_entropy() -> None:
    y_pred = HALF.apply(probabilities(4, 200_000))
    y_true = (np.random.default_rng(7).random(len(y_pred)) < y_pred) * 1.0
    assert losses("binary", y_true, y_pred).mean() == pytest.approx(entropy(y_pred).mean(), rel=0.01)
    assert np.isfinite(entropy(np.array([0.0, 1.0]))).all()


@pytest.mark.parametrize("task", TASKS)
def test_package_with_a_correction_predicts_as_before_and_corrected(task: Task) -> None:
    correction = HALF if task == "binary" else STEEPER
    package = tiny_package(0, task)
    day = day_errors(task, np.ones(3), np.full(3, 0.25), {})
    calibration = Calibration(correction=correction, errors={"2013-09-20": day})
    changed = calibrated(package, calibration)
    assert calibration_of(package) is None
    assert calibration_of(changed) == calibration
    assert {name: content for name, content in changed.items() if name != CALIBRATION_FILE} == package
    before = open_package(package, expected_digest=digest(package), name="version 1")
    after = open_package(changed, expected_digest=digest(changed), name="version 2")
    rows, _ = tiny_rows(1)
    np.testing.assert_array_equal(after.predict(rows), correction.apply(before.predict(rows)))
    features = after.features(rows)
    np.testing.assert_array_equal(after.predict_features(features), after.predict(rows))
    one = {name: values[:1] for name, values in rows.items()}
    assert after.predict(one)[0] == after.predict(rows)[0]
    assert after.bins == after.reference.bins
    assert after.reference.errors == {"2013-09-20": day}
    assert list(after.reference.days) == list(before.reference.days)
    assert after.bins[PREDICTION] != before.bins[PREDICTION]
    assert {name: how for name, how in after.bins.items() if name != PREDICTION} == {
        name: how for name, how in before.bins.items() if name != PREDICTION
    }


def test_correction_replaces_the_one_before_and_is_part_of_the_digest() -> None:
    other = Calibration(correction=Correction(task="regression", shift=1.0), errors={})
    once = calibrated(tiny_package(0), Calibration(correction=LOWER, errors={}))
    twice = calibrated(once, other)
    assert calibration_of(twice) == other
    assert len({digest(tiny_package(0)), digest(once), digest(twice)}) == 3
    with pytest.raises(ModelIntegrityError, match="has other content"):
        open_package(twice, expected_digest=digest(once), name="version 2")
