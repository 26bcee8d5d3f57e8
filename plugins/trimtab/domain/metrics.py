"""How good predictions are: the loss of a task, per row, per slice and per day, and the metrics beside it.

A metric that is undefined, of no rows or of one class, is nan: never 0, which would be a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from trimtab.domain.spec import LabelSpec, Task  # what reads profiles needs no spec

FloatArray: TypeAlias = NDArray[np.float64]

LOSS_NAMES: Mapping[Task, str] = MappingProxyType({"regression": "MAE", "binary": "log loss"})
"""The mean loss of a task as people call it."""
LOSS_METRICS: Mapping[Task, str] = MappingProxyType({"regression": "mae", "binary": "log_loss"})
"""The same among the metrics of `measures`."""

SMALLEST_PROBABILITY = float(np.finfo(np.float64).eps)
"""A probability is at least this far from 0 and 1 in the log loss, as in scikit-learn: one row costs 36 at most."""
CALIBRATION_BINS = 10
MAX_SLICES = 100
"""Slices of one slicing that a day keeps, those with the most rows first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Errors of a set of rows. `nan` where there are no rows."""

    rows: int
    loss: float
    """Mean loss, >= 0: absolute error in the unit of the label; log loss in nats for a probability."""
    bias: float
    """Mean of prediction minus label; positive means predicted too high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayErrors(Errors):
    """Errors of one day's labelled rows, and of their slices."""

    slices: Mapping[str, Errors] = field(default_factory=dict)
    """'slicing=value', such as 'carrier=UA': errors of those rows."""
    shifted_loss: float | None = None
    """Mean loss had the predictions been shifted by the bias of the days before; None: too few days before."""


def losses(task: Task, y_true: FloatArray, y_pred: FloatArray) -> FloatArray:
    """Loss of each row (n,): absolute error, or log loss in nats of the probability (n,) of the label 1."""
    if task == "binary":
        # The loss of y = 1 is -log p, that of y = 0 is -log(1 - p).
        right = np.where(y_true == 1, y_pred, 1 - y_pred)
        loss: FloatArray = -np.log(np.clip(right, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))
        return loss
    return np.abs(y_pred - y_true)


def errors(task: Task, y_true: FloatArray, y_pred: FloatArray) -> Errors:
    """Errors of predictions `y_pred` (n,) against labels `y_true` (n,)."""
    return Errors(rows=len(y_true), loss=_mean(losses(task, y_true, y_pred)), bias=_mean(np.asarray(y_pred - y_true)))


def errors_by(task: Task, groups: NDArray[np.object_], y_true: FloatArray, y_pred: FloatArray) -> Mapping[str, Errors]:
    """Errors of each group of rows; `groups` (n,) holds the group's name of each row."""
    names, index = np.unique(groups.astype(str), return_inverse=True)
    rows = np.bincount(index, minlength=len(names))
    loss = np.bincount(index, weights=losses(task, y_true, y_pred), minlength=len(names))
    bias = np.bincount(index, weights=y_pred - y_true, minlength=len(names))
    return {
        str(name): Errors(rows=int(count), loss=float(total / count), bias=float(difference / count))
        for name, count, total, difference in zip(names, rows, loss, bias, strict=True)
    }


def day_errors(
    task: Task, y_true: FloatArray, y_pred: FloatArray, slices: Mapping[str, NDArray[np.object_]]
) -> DayErrors:
    """Errors of a day's rows; `slices` holds by name of the slicing the slice (n,) of each row."""
    whole = errors(task, y_true, y_pred)
    of_slices = {
        f"{slicing}={name}": one
        for slicing, groups in slices.items()
        for name, one in _largest(errors_by(task, groups, y_true, y_pred)).items()
    }
    return DayErrors(rows=whole.rows, loss=whole.loss, bias=whole.bias, slices=of_slices)


def measures(label: LabelSpec, y_true: FloatArray, y_pred: FloatArray) -> Mapping[str, float]:
    """All metrics of the label's task by name, for predictions `y_pred` (n,) and labels `y_true` (n,)."""
    if label.task == "regression":
        return {
            "mae": _mean(np.abs(y_pred - y_true)),
            "rmse": float(np.sqrt(_mean(np.square(y_pred - y_true)))),
            "bias": _mean(y_pred - y_true),
            "pinball_10": pinball(y_true, y_pred, 0.1),
            "pinball_90": pinball(y_true, y_pred, 0.9),
        }
    alarms = y_pred >= label.decision_threshold
    return {
        "log_loss": _mean(losses("binary", y_true, y_pred)),
        "auc": auc(y_true, y_pred),
        "brier": _mean(np.square(y_pred - y_true)),
        "bias": _mean(y_pred - y_true),
        "calibration_error": calibration_error(y_true, y_pred),
        "recall": _mean(alarms[y_true == 1]),
        "precision": _mean(y_true[alarms]),
    }


def defined(metrics: Mapping[str, float]) -> Mapping[str, float]:
    """The metrics that are a number."""
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def pinball(y_true: FloatArray, y_pred: FloatArray, quantile: float) -> float:
    """Mean pinball loss, lowest for the quantile of the label; in the unit of the label, at 0.5 half the MAE.

    Source: Koenker & Bassett, "Regression Quantiles", Econometrica 46 (1978).
    """
    difference = y_true - y_pred
    return _mean(np.maximum(quantile * difference, (quantile - 1) * difference))


def auc(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Area under the ROC curve: how often a 1 is predicted higher than a 0, a tie counting half. In [0, 1].

    nan if there are not both labels.

    Source: the Mann-Whitney statistic, Hanley & McNeil, Radiology 143 (1982).
    """
    positive = y_true == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return float("nan")
    _, index, counts = np.unique(y_pred, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[index]
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def calibration_error(y_true: FloatArray, y_pred: FloatArray) -> float:
    """Expected calibration error: |mean probability - share of 1| in ten equal bins, weighted by rows. In [0, 1].

    It is above 0 for honest probabilities too, by about the noise of the share in a bin.

    Source: Naeini, Cooper & Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    if len(y_true) == 0:
        return float("nan")
    bins = np.minimum((y_pred * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=y_pred - y_true)).sum() / len(y_true))


def _mean(values: FloatArray | NDArray[np.bool_]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _largest(found: Mapping[str, Errors]) -> Mapping[str, Errors]:
    if len(found) <= MAX_SLICES:
        return found
    names = sorted(found, key=lambda name: (-found[name].rows, name))[:MAX_SLICES]
    return {name: found[name] for name in sorted(names)}
