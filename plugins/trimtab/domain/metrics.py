"""Quantities of a regression, and of a slice of its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Errors of a set of rows, in the unit of the label. `nan` where there are no rows."""

    rows: int
    mae: float
    """Mean absolute error, >= 0."""
    rmse: float
    """Root of the mean squared error, >= mae."""
    bias: float
    """Mean of prediction minus label; positive means predicted too high."""


def errors(y_true: FloatArray, y_pred: FloatArray) -> Errors:
    """Errors of predictions `y_pred` (n,) against labels `y_true` (n,)."""
    if len(y_true) == 0:
        return Errors(rows=0, mae=float("nan"), rmse=float("nan"), bias=float("nan"))
    difference = y_pred - y_true
    return Errors(
        rows=len(y_true),
        mae=float(np.abs(difference).mean()),
        rmse=float(np.sqrt(np.square(difference).mean())),
        bias=float(difference.mean()),
    )


def errors_by(groups: NDArray[np.object_], y_true: FloatArray, y_pred: FloatArray) -> Mapping[str, Errors]:
    """Errors of each group of rows; `groups` (n,) holds the group's name of each row."""
    return {str(name): errors(y_true[groups == name], y_pred[groups == name]) for name in sorted(set(groups.tolist()))}
