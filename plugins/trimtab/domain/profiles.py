"""Small summaries of a day's rows that add up, and the reference that they are compared with.

A numeric column is counted on edges frozen with the reference, a categorical one by the categories known then,
so that two profiles can be compared, and a week is the sum of its days, without reading a row again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from trimtab.domain.columns import Column, Columns
from trimtab.domain.metrics import FloatArray

BINS = 20
"""Quantile bins of a numeric column: fine enough for a shift of a tenth of a standard deviation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnBins:
    """How a column is counted. One of the two is empty."""

    edges: tuple[float, ...] = ()
    """Inner edges, ascending: k edges make k + 1 bins."""
    categories: tuple[str, ...] = ()
    """Known values; anything else counts as other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """Counts of one column."""

    counts: tuple[int, ...]
    """Rows per bin; for a categorical column the last one counts values that the reference did not know."""
    missing: int

    def __add__(self, other: "ColumnProfile") -> "ColumnProfile":
        """Counts of both sets of rows together."""
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return ColumnProfile(counts=counts, missing=self.missing + other.missing)

    @property
    def masses(self) -> FloatArray:
        """Counts with the missing rows as a bin of their own."""
        return np.array([*self.counts, self.missing], dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Counts of all columns of a set of rows."""

    rows: int
    columns: dict[str, ColumnProfile]

    def __add__(self, other: "Profile") -> "Profile":
        """The profile of both sets of rows together."""
        columns = {name: mine + other.columns[name] for name, mine in self.columns.items()}
        return Profile(rows=self.rows + other.rows, columns=columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayErrors:
    """Errors of one day's labelled rows."""

    rows: int
    mae: float
    bias: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the model knew when it was trained, frozen with the version and stored in its package."""

    bins: dict[str, ColumnBins]
    days: dict[str, Profile]
    """ISO day: profile of the training rows of that day, with the out-of-sample prediction as a column."""
    errors: dict[str, DayErrors]
    """ISO day: errors of out-of-sample predictions of training rows."""


PREDICTION = "prediction"
"""Name under which the prediction is profiled beside the features."""


def bins_of(columns: Columns) -> dict[str, ColumnBins]:
    """Bins for each column: quantiles of a number, the values of a category."""
    return {
        name: _numeric_bins(values) if _is_number(values) else _categories(values) for name, values in columns.items()
    }


def profile(columns: Columns, bins: Mapping[str, ColumnBins]) -> Profile:
    """Count the columns (n rows each) on the given bins."""
    rows = len(next(iter(columns.values()))) if columns else 0
    return Profile(rows=rows, columns={name: _count(columns[name], how) for name, how in bins.items()})


def total(profiles: Sequence[Profile]) -> Profile:
    """The sum of at least one profile."""
    return reduce(lambda a, b: a + b, profiles)


def _is_number(values: Column) -> bool:
    return values.dtype.kind == "f"


def _numeric_bins(values: Column) -> ColumnBins:
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return ColumnBins(edges=(0.0,))
    inner = np.quantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1])
    return ColumnBins(edges=tuple(np.unique(inner).tolist()))


def _categories(values: Column) -> ColumnBins:
    return ColumnBins(categories=tuple(sorted({str(value) for value in values if value is not None})))


def _count(values: Column, bins: ColumnBins) -> ColumnProfile:
    if bins.edges:
        numbers = np.asarray(values, dtype=np.float64)
        present = numbers[~np.isnan(numbers)]
        index = np.searchsorted(np.array(bins.edges), present, side="right")
        counts = np.bincount(index, minlength=len(bins.edges) + 1)
        return ColumnProfile(counts=tuple(counts.tolist()), missing=len(numbers) - len(present))
    position = {value: index for index, value in enumerate(bins.categories)}
    index = np.array([position.get(value, len(position)) for value in values if value is not None], dtype=np.intp)
    counts = np.bincount(index, minlength=len(position) + 1)
    return ColumnProfile(counts=tuple(counts.tolist()), missing=len(values) - len(index))
