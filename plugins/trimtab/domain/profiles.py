"""Small summaries of rows that add up, and the reference that they are compared with.

A number is counted on edges frozen with the reference, a category by the values known then, so that two profiles can
be compared, and a week is the sum of its days, without reading a row again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.metrics import DayErrors, FloatArray
from trimtab.errors import DataContractError

PREDICTION = "prediction"
"""Name under which the prediction is profiled beside the features."""
LABEL = "label"
"""Name under which labels are profiled, apart from the features, since they come later."""
SLICE_ROWS = 100
"""Rows of a day from which on the means of a slice are judged: their standard error is a tenth of the spread."""
LARGEST = 1e150
"""Numbers beyond it count as infinite: their squares are no longer numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnBins:
    """How a column is counted. A number has edges; a category has none."""

    edges: tuple[float, ...] = ()
    """Ascending. A value is in bin i if i edges are not larger than it, so k edges make k + 1 bins.

    The first edge is the reference's smallest number, and the last lies directly above its largest.
    """
    centre: float = 0.0
    """Sums of a number are taken of its difference from here, the reference's mean, so that they stay exact."""
    discrete: bool = False
    """Whether each value of the reference has a bin of its own."""
    categories: tuple[str, ...] = ()
    """Values with a bin of their own, the most frequent first."""
    others: tuple[str, ...] = ()
    """Further values that the reference knows: one bin for all. The last bin is for values that it does not know."""
    coarse: tuple[int, ...] = ()
    """Positions of the edges or categories that the coarse view keeps; empty: all."""

    @property
    def bins(self) -> int:
        """Number of bins, the one for missing values not included."""
        return len(self.edges) + 1 if self.edges else len(self.categories) + 2

    @property
    def coarser(self) -> "ColumnBins":
        """The coarse view as bins: those of slices, and of distances between few rows."""
        if not self.coarse:
            return self
        if self.edges:
            return ColumnBins(edges=tuple(self.edges[i] for i in self.coarse), centre=self.centre)
        kept = tuple(self.categories[i] for i in self.coarse)
        merged = tuple(value for value in self.categories if value not in set(kept))
        return ColumnBins(categories=kept, others=(*merged, *self.others))

    def coarsen(self, counted: "ColumnProfile") -> "ColumnProfile":
        """The profile that counting the same rows on the coarser bins would have given."""
        if not self.coarse:
            return counted
        counts = np.bincount(self._groups(), weights=counted.counts, minlength=self.coarser.bins).astype(np.int64)
        return ColumnProfile(counts=tuple(counts.tolist()), missing=counted.missing, moments=counted.moments)

    def _groups(self) -> NDArray[np.intp]:
        """The coarse bin of each bin."""
        kept = np.array(self.coarse, dtype=np.intp)
        if self.edges:
            return np.searchsorted(kept, np.arange(self.bins), side="left")
        groups = np.full(self.bins, len(kept), dtype=np.intp)
        groups[kept] = np.arange(len(kept))
        groups[-1] = len(kept) + 1
        return groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums over the finite numbers of a column.

    They are taken about a centre that is frozen with the reference: plain addition merges them, in any order, and the
    variance loses no digits however far from zero the numbers lie.

    Source: the shifted-data algorithm of Chan, Golub & LeVeque, The American Statistician 37 (1983).
    """

    rows: int = 0
    centre: float = 0.0
    total: float = 0.0
    """Sum of the differences from the centre."""
    squares: float = 0.0
    """Sum of their squares."""
    below: float = 0.0
    """Part of the total that is due to numbers smaller than the reference's smallest."""
    above: float = 0.0
    """The same for those larger than its largest."""
    smallest: float | None = None
    largest: float | None = None

    def __add__(self, other: "Moments") -> "Moments":
        """Sums over both sets of rows."""
        if self.centre != other.centre:
            raise DataContractError("Moments about different centres cannot be added. Profile both on the same bins.")
        return Moments(
            rows=self.rows + other.rows,
            centre=self.centre,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            below=self.below + other.below,
            above=self.above + other.above,
            smallest=min(_known(self.smallest, other.smallest), default=None),
            largest=max(_known(self.largest, other.largest), default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """Counts of one column, and the moments of a number."""

    counts: tuple[int, ...]
    """Rows per bin; the last two of a category are the values known but not kept, and the values not known."""
    missing: int
    """Rows without a value; a number that is nan is missing."""
    moments: Moments | None = None
    """None for a category."""

    def __add__(self, other: "ColumnProfile") -> "ColumnProfile":
        """The profile of both sets of rows together.

        Raises:
            DataContractError: If they are counted on different bins.
        """
        if len(self.counts) != len(other.counts) or (self.moments is None) != (other.moments is None):
            raise DataContractError("Profiles on different bins cannot be added. Profile both on the same bins.")
        moments = self.moments + other.moments if self.moments and other.moments else None
        counts = tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        return ColumnProfile(counts=counts, missing=self.missing + other.missing, moments=moments)

    @property
    def masses(self) -> FloatArray:
        """Counts (k + 1,) with the missing rows as a last bin of their own."""
        return np.array([*self.counts, self.missing], dtype=np.float64)

    @property
    def present(self) -> int:
        """Rows with a value."""
        return sum(self.counts)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.present + self.missing

    @property
    def infinite(self) -> int:
        """Rows with an infinite number, or one beyond LARGEST."""
        return self.present - self.moments.rows if self.moments else 0

    @property
    def out_of_range(self) -> int:
        """Rows with a number outside the reference's smallest and largest, infinite ones included."""
        return self.counts[0] + self.counts[-1] if self.moments else 0

    @property
    def new(self) -> int:
        """Rows with a category that the reference does not know."""
        return 0 if self.moments else self.counts[-1]

    @property
    def mean(self) -> float:
        """Mean of the finite numbers; nan if there is none."""
        if not self.moments or not self.moments.rows:
            return math.nan
        return self.moments.centre + self.moments.total / self.moments.rows

    @property
    def sd(self) -> float:
        """Standard deviation of the finite numbers (n - 1 degrees of freedom); nan below two of them."""
        if not self.moments or self.moments.rows < 2:  # noqa: PLR2004  # one number does not spread
            return math.nan
        rows, total = self.moments.rows, self.moments.total
        return math.sqrt(max(0.0, self.moments.squares - total * total / rows) / (rows - 1))

    @property
    def missing_share(self) -> float:
        """Share of the rows without a value; nan if there is no row."""
        return self.missing / self.rows if self.rows else math.nan

    @property
    def new_share(self) -> float:
        """Share of the values that are categories unknown to the reference; nan if there is no value."""
        return self.new / self.present if self.present else math.nan

    @property
    def out_of_range_share(self) -> float:
        """Share of the values that are numbers outside the reference's range; nan if there is no value."""
        return self.out_of_range / self.present if self.present else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Counts of all columns of a set of rows."""

    rows: int
    columns: dict[str, ColumnProfile]
    slices: dict[str, "Profile"] = field(default_factory=dict)
    """'slicing=value': profile of these rows on the coarser bins, without slices of its own."""
    slice_means: dict[str, dict[str, tuple[int, float]]] = field(default_factory=dict)
    """'slicing=value': finite numbers and mean of each numeric column, of slices that are large enough to be judged."""
    format_version: Literal[1] = 1

    def __add__(self, other: "Profile") -> "Profile":
        """The profile of both sets of rows together.

        Raises:
            DataContractError: If they are counted on different columns or bins.
        """
        if self.columns.keys() != other.columns.keys():
            raise DataContractError("Profiles of different columns cannot be added. Profile both on the same bins.")
        columns = {name: mine + other.columns[name] for name, mine in self.columns.items()}
        both = {**self.slices, **other.slices}
        for name in self.slices.keys() & other.slices.keys():
            both[name] = self.slices[name] + other.slices[name]
        return Profile(
            rows=self.rows + other.rows,
            columns=columns,
            slices=dict(sorted(both.items())),
            slice_means=_together(self.slice_means, other.slice_means),
        )

    @property
    def summarised(self) -> "Profile":
        """The same with the means of the large slices in the place of their profiles, which are many times larger."""
        large = {name: one.columns for name, one in self.slices.items() if one.rows >= SLICE_ROWS}
        means = {
            slice_name: {
                name: (column.moments.rows, column.mean)
                for name, column in columns.items()
                if column.moments and column.moments.rows
            }
            for slice_name, columns in large.items()
        }
        return replace(self, slices={}, slice_means=means)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the model knew when it was trained, frozen with the version and stored in its package."""

    bins: dict[str, ColumnBins]
    days: dict[str, Profile]
    """ISO day: profile of the training rows of that day, with the out-of-sample prediction as a column."""
    errors: dict[str, DayErrors]
    """ISO day: errors of out-of-sample predictions of training rows."""
    label_bins: ColumnBins | None = None
    """How labels are counted; None in a package that was made before they were."""
    labels: ColumnProfile | None = None
    """The labels of all training rows."""


def total(profiles: Sequence[Profile]) -> Profile:
    """The sum of at least one profile."""
    return reduce(lambda a, b: a + b, profiles)


def _together(
    first: Mapping[str, dict[str, tuple[int, float]]], second: Mapping[str, dict[str, tuple[int, float]]]
) -> dict[str, dict[str, tuple[int, float]]]:
    """Means of the slices of both sets of rows."""
    both = {name: dict(first.get(name, {})) for name in sorted({*first, *second})}
    for slice_name, means in second.items():
        for name, (rows, mean) in means.items():
            known, before = both[slice_name].get(name, (0, 0.0))
            both[slice_name][name] = (known + rows, (known * before + rows * mean) / (known + rows))
    return both


def _known(*values: float | None) -> Iterable[float]:
    return [value for value in values if value is not None]
