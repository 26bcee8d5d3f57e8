"""Losses and metrics of predictions, overall, by slice and by day."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    brier_score_loss,
    log_loss,
    mean_absolute_error,
    mean_pinball_loss,
    precision_score,
    recall_score,
    roc_auc_score,
    root_mean_squared_error,
)

from trimtab.domain.metrics import (
    LOSS_METRICS,
    MAX_SLICES,
    FloatArray,
    auc,
    calibration_error,
    day_errors,
    defined,
    errors,
    errors_by,
    losses,
    measures,
)
from trimtab.domain.spec import LabelSpec, Task

NUMBER = LabelSpec(column="y")
CLASS = LabelSpec(column="y", task="binary", threshold=0.3)
NUMBERS = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from("ab")), min_size=1, max_size=30
)
# Few probabilities, so that there are ties; among them the impossible and the certain.
CHANCES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1e-9, 0.1, 0.3, 0.5, 0.75, 1.0]), st.sampled_from("ab")
    ),
    min_size=1,
    max_size=40,
)


def arrays(pairs: list[tuple[float, float, str]]) -> tuple[FloatArray, FloatArray]:
    return np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])


@given(NUMBERS)
def test_metrics_of_a_regression_are_those_of_scikit_learn(pairs: list[tuple[float, float, str]]) -> None:
    y_true, y_pred = arrays(pairs)
    found = measures(NUMBER, y_true, y_pred)
    assert found["mae"] == pytest.approx(mean_absolute_error(y_true, y_pred))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(y_true, y_pred))
    assert found["pinball_10"] == pytest.approx(mean_pinball_loss(y_true, y_pred, alpha=0.1))
    assert found["pinball_90"] == pytest.approx(mean_pinball_loss(y_true, y_pred, alpha=0.9))
    assert found["bias"] == pytest.approx((y_pred - y_true).mean(), abs=1e-6)


@given(CHANCES)
def test_metrics_of_a_classifier_are_those_of_scikit_learn(pairs: list[tuple[float, float, str]]) -> None:
    y_true, y_pred = arrays(pairs)
    found = measures(CLASS, y_true, y_pred)
    assert found["log_loss"] == pytest.approx(log_loss(y_true, y_pred, labels=[0, 1]), abs=1e-12)
    assert found["brier"] == pytest.approx(brier_score_loss(y_true, y_pred, labels=[0, 1]), abs=1e-12)
    alarms = y_pred >= 0.3
    if 0 < y_true.sum() < len(y_true):
        assert found["auc"] == pytest.approx(roc_auc_score(y_true, y_pred))
    else:
        assert math.isnan(found["auc"])
    assert found["recall"] == pytest.approx(recall_score(y_true, alarms, zero_division=np.nan), nan_ok=True)
    assert found["precision"] == pytest.approx(precision_score(y_true, alarms, zero_division=np.nan), nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_auc_of_many_rows_is_that_of_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    y_pred = random.random(3000).round(2)
    y_true = (random.random(3000) < y_pred).astype(np.float64)
    assert auc(y_true, y_pred) == pytest.approx(roc_auc_score(y_true, y_pred), abs=1e-12)


def test_one_class_has_no_auc_and_neither_recall_nor_precision_where_nothing_counts() -> None:
    found = measures(CLASS, np.zeros(3), np.array([0.1, 0.2, 0.1]))
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"auc", "recall", "precision"}
    assert set(defined(found)) == set(found) - undefined
    assert measures(CLASS, np.ones(2), np.array([0.1, 0.2]))["recall"] == 0


def test_calibration_error_is_the_weighted_gap_of_the_bins() -> None:
    y_pred = np.array([0.05, 0.05, 0.95, 1.0])
    assert calibration_error(np.array([0.0, 0, 1, 1]), y_pred) == pytest.approx((2 * 0.05 + 2 * 0.025) / 4)
    assert calibration_error(np.array([1.0, 1, 0, 0]), y_pred) == pytest.approx((2 * 0.95 + 2 * 0.975) / 4)
    random = np.random.default_rng(0)
    honest = random.random(100_000)
    assert calibration_error((random.random(100_000) < honest).astype(np.float64), honest) < 0.01


def test_certain_and_wrong_costs_36_nats_and_not_infinity() -> None:
    wrong = losses("binary", np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert wrong.tolist() == pytest.approx([36.04, 36.04], abs=0.01)


@pytest.mark.parametrize("task", ["regression", "binary"])
@given(CHANCES)
def test_errors_of_slices_add_up_to_those_of_the_day(task: Task, pairs: list[tuple[float, float, str]]) -> None:
    y_true, y_pred = arrays(pairs)
    groups = np.array([pair[2] for pair in pairs], dtype=object)
    day = day_errors(task, y_true, y_pred, {"letter": groups})
    assert set(day.slices) == {f"letter={name}" for name in groups}
    assert day.rows == sum(one.rows for one in day.slices.values()) == len(pairs)
    for name in ("loss", "bias"):
        summed = sum(one.rows * getattr(one, name) for one in day.slices.values())
        assert summed / len(pairs) == pytest.approx(getattr(day, name), abs=1e-9)
    assert day.loss == pytest.approx(
        measures(CLASS if task == "binary" else NUMBER, y_true, y_pred)[LOSS_METRICS[task]], abs=1e-12
    )
    for name in set(groups):
        one = errors(task, y_true[groups == name], y_pred[groups == name])
        found = errors_by(task, groups, y_true, y_pred)[name]
        assert (found.rows, found.loss, found.bias) == pytest.approx((one.rows, one.loss, one.bias), abs=1e-9)


def test_slicing_of_too_many_values_keeps_those_with_the_most_rows() -> None:
    groups = np.array([*[f"rare{number}" for number in range(150)], *["common"] * 5], dtype=object)
    found = day_errors("regression", np.zeros(155), np.ones(155), {"key": groups}).slices
    assert len(found) == MAX_SLICES
    assert found["key=common"].rows == 5


@pytest.mark.parametrize("label", [NUMBER, CLASS])
def test_errors_and_metrics_of_no_row_are_nan(label: LabelSpec) -> None:
    none = np.array([])
    nothing = errors(label.task, none, none)
    assert nothing.rows == 0
    assert np.isnan([nothing.loss, nothing.bias, *measures(label, none, none).values()]).all()
    assert errors_by(label.task, np.array([], dtype=object), none, none) == {}
