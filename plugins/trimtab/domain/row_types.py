"""Texts of a source as typed values: the one place that says what '12', '12.0' and 'NA' mean."""

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.columns import Column
from trimtab.domain.metrics import FloatArray
from trimtab.domain.spec import ColumnType, LabelSpec
from trimtab.errors import DataContractError

LARGEST_INTEGER = 2**53
"""Beyond it a float no longer tells integers apart; longer keys are texts."""


def is_text(kind: ColumnType) -> bool:
    """Whether the column holds text rather than numbers."""
    return kind.startswith("text")


def typed(values: NDArray[np.object_], kind: ColumnType) -> tuple[Column, dict[int, str]]:
    """Values (n,) of a column as typed values (n,), and what is wrong with the value at each bad position.

    Numbers become floats, a missing number nan; a text stays as it is, a missing one is None. A bad value is
    missing in the result.
    """
    missing = np.array([value is None for value in values], dtype=bool)
    problems = {} if kind.endswith("?") else dict.fromkeys(np.flatnonzero(missing).tolist(), "has no value")
    if is_text(kind):
        return values, problems
    numbers = np.array([np.nan if value is None else _number(str(value)) for value in values], dtype=np.float64)
    kind_name = "an integer" if kind.startswith("integer") else "a number"
    bad = ~missing & ~np.isfinite(numbers)
    if kind.startswith("integer"):
        bad |= np.isfinite(numbers) & ((numbers != np.floor(numbers)) | (np.abs(numbers) > LARGEST_INTEGER))
    for position in np.flatnonzero(bad).tolist():
        problems[position] = f"must be {kind_name}, got {str(values[position])[:40]!r}"
    numbers[bad] = np.nan
    return numbers, problems


def label_values(values: NDArray[np.object_], label: LabelSpec) -> FloatArray:
    """Labels (n,) of the texts (n,) of the label's column: numbers, or 0 and 1; nan where there is no number.

    Raises:
        DataContractError: If a binary label without a rule holds another number than 0 and 1.
    """
    numbers = np.asarray(typed(values, "number?")[0], dtype=np.float64)
    if label.task == "regression":
        return numbers
    known = ~np.isnan(numbers)
    if label.above is not None:
        return np.where(known, numbers > label.above, np.nan)
    others = known & ~np.isin(numbers, (0, 1))
    if others.any():
        raise DataContractError(
            f"Label column {label.column!r} must hold 0 and 1. Got {numbers[others][0]:g}. "
            "Mend the source, or say with label.above in model.yaml which numbers count as 1."
        )
    return numbers


def _number(text: str) -> float:
    """The number, or nan. Python would read '1_5' as 15, which no source means."""
    try:
        return float("nan" if "_" in text else text)
    except ValueError:
        return float("nan")
