"""A HistGradientBoosting of scikit-learn that answers a single row in half its time.

In front of the trees it has a ColumnTransformer, which checks the matrix twice and takes longer than 80 trees. Our
matrices are right, so what is left of it is an ordinal code for each categorical column. scikit-learn promises nothing
about this part of it: what takes its place is used only where it gives the same to the last bit.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.metrics import FloatArray


class OrdinalColumns:
    """The categorical columns as codes, then the others as they are."""

    def __init__(self, is_categorical: NDArray[np.bool_], categories: Sequence[FloatArray]) -> None:
        """Bind; `is_categorical` (p,) marks the columns, `categories` are the ascending known values of each."""
        self._coded, self._others = np.flatnonzero(is_categorical), np.flatnonzero(~is_categorical)
        self._categories = categories

    def transform(self, matrix: FloatArray) -> FloatArray:
        """The matrix (n, p) as the trees know it; an unknown value is nan."""
        coded = np.empty_like(matrix)
        for place, (position, known) in enumerate(zip(self._coded, self._categories, strict=True)):
            coded[:, place] = _codes(matrix[:, position], known)
        coded[:, len(self._coded) :] = matrix[:, self._others]
        return coded


def _codes(values: FloatArray, known: FloatArray) -> FloatArray:
    positions = np.searchsorted(known, values)
    positions[positions == len(known)] = 0
    return np.where(known[positions] == values, positions, np.nan)


def make_lean(estimator: Any) -> None:
    """Spare a fitted estimator the checks in front of its trees, if it can be done without changing what it gives."""
    try:
        checked = estimator._preprocessor  # noqa: SLF001  # see above
        encoder, is_categorical = next((step, mask) for name, step, mask in checked.transformers_ if name == "encoder")
        lean = OrdinalColumns(np.asarray(is_categorical), encoder.categories_)
        probe = _probe(lean, len(is_categorical))
        if np.array_equal(lean.transform(probe), checked.transform(probe), equal_nan=True):
            estimator._preprocessor = lean  # noqa: SLF001
        # Else scikit-learn looks through all its attributes twice for each prediction.
        estimator.__sklearn_is_fitted__ = lambda: True
    except (AttributeError, IndexError, StopIteration, TypeError, ValueError):
        return  # no categorical column, or another version of scikit-learn


def _probe(lean: OrdinalColumns, width: int) -> FloatArray:
    """A matrix with every known category in every column, some unknown ones, nan and odd numbers."""
    odd = np.array([np.nan, -1.0, 0.5, 1e9, 5e-324])
    values = np.unique(np.concatenate([odd, *lean._categories]))  # noqa: SLF001  # of this module
    return np.column_stack([np.roll(values, shift) for shift in range(width)])
