"""Small summaries of rows that add up, and the reference that they are compared with.

A number is counted on edges frozen with the reference, a category by the values known then, so that two profiles can
be compared, and a week is the sum of its days, without reading a row again. This module is the definition; engines
that are quicker, or that read other stores, give the same profiles (tests/contract/test_profilers.py).
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.columns import Column, Columns
from trimtab.domain.metrics import DayErrors, FloatArray
from trimtab.errors import DataContractError

BINS = 100
"""Bins of a number that hold equal shares of the reference; as many again are where the reference is thin."""
COARSE_BINS = 20
"""Bins of the coarse view: with 200, the distance of a day of some hundred rows is mostly sampling noise."""
MAX_CATEGORIES = 200
"""Values of a category that are counted one by one; the rest that the reference knows are counted together."""
MAX_KNOWN = 10_000
"""Values of a category that the reference remembers. What is rarer counts as new, in its own days as well."""
PIECE = 16_384
"""Numbers that are sorted at once: few enough for the processor's cache, and for memory that is used again."""
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
        return Profile(rows=self.rows + other.rows, columns=columns, slices=dict(sorted(both.items())))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the model knew when it was trained, frozen with the version and stored in its package."""

    bins: dict[str, ColumnBins]
    days: dict[str, Profile]
    """ISO day: profile of the training rows of that day, with the out-of-sample prediction as a column."""
    errors: dict[str, DayErrors]
    """ISO day: errors of out-of-sample predictions of training rows."""


def as_text(value: object) -> str | None:
    """A value as a category; None for None and nan."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return None if missing else str(value)


class NumberTally:
    """Counts a number piece by piece."""

    def __init__(self, bins: ColumnBins) -> None:
        """Nothing is counted yet."""
        beyond = np.nextafter(LARGEST, np.inf)
        self._bounds = np.array([*bins.edges, -LARGEST, beyond, np.nan])  # nan is sorted behind all numbers
        self._counts = np.zeros(len(bins.edges) + 1, dtype=np.int64)
        self._missing, self._moments = 0, Moments(centre=bins.centre)

    def add(self, values: FloatArray, missing: int = 0) -> None:
        """Count values (n,) and so many missing ones; pieces of some PIECE values are the quickest.

        Sorting first makes it quick: NumPy sorts with the vector instructions of the processor, and then a search for
        each edge, rather than for each value, gives the counts, the extremes, and what is finite (ADR 8).
        """
        ordered = np.sort(values)
        *below, first, past, present = ordered.searchsorted(self._bounds).tolist()
        self._counts += np.diff([0, *below, present])
        self._missing += missing + len(values) - present
        if past > first:
            tails = max(below[0] - first, 0), max(past - below[-1], 0)
            self._moments += _moments(ordered[first:past], self._moments.centre, *tails)

    def result(self) -> ColumnProfile:
        """What was counted."""
        return ColumnProfile(counts=tuple(self._counts.tolist()), missing=self._missing, moments=self._moments)


class CategoryTally:
    """Counts a category piece by piece."""

    def __init__(self, bins: ColumnBins) -> None:
        """Nothing is counted yet."""
        self._position = {value: index for index, value in enumerate(bins.categories)}
        self._position.update(dict.fromkeys(bins.others, len(bins.categories)))
        self._counts, self._missing = [0] * bins.bins, 0

    def add(self, rows: Iterable[tuple[object, int]]) -> None:
        """Count values, each with its number of rows; None and nan are missing."""
        counts, position = self._counts, self._position
        for value, number in rows:
            if isinstance(value, str):
                counts[position.get(value, -1)] += number
            elif (text := as_text(value)) is None:
                self._missing += number
            else:
                counts[position.get(text, -1)] += number

    def result(self) -> ColumnProfile:
        """What was counted."""
        return ColumnProfile(counts=tuple(self._counts), missing=self._missing)


PREDICTION = "prediction"
"""Name under which the prediction is profiled beside the features."""


def bins_of(columns: Columns) -> dict[str, ColumnBins]:
    """Bins for each column of the reference (n rows each)."""
    return {
        name: number_bins(np.asarray(values, dtype=np.float64))
        if is_number(values)
        else category_bins(Counter(values.tolist()))
        for name, values in columns.items()
    }


def profile(
    columns: Columns, bins: Mapping[str, ColumnBins], slicings: Mapping[str, NDArray[np.object_]] | None = None
) -> Profile:
    """Count the columns (n rows each) on the given bins; `slicings` name the slice of each row (n,)."""
    rows = len(next(iter(columns.values()))) if columns else 0
    counted = {name: profile_column(columns[name], how) for name, how in bins.items()}
    return Profile(rows=rows, columns=counted, slices=_slices(columns, bins, slicings or {}))


def total(profiles: Sequence[Profile]) -> Profile:
    """The sum of at least one profile."""
    return reduce(lambda a, b: a + b, profiles)


def is_number(values: Column) -> bool:
    """Whether a column holds numbers rather than texts."""
    return values.dtype.kind == "f"


def profile_column(values: Column, bins: ColumnBins) -> ColumnProfile:
    """Count one column (n,) on its bins."""
    if not bins.edges:
        categories = CategoryTally(bins)
        categories.add(Counter(values.tolist()).items())
        return categories.result()
    numbers, given = NumberTally(bins), np.asarray(values, dtype=np.float64)
    for start in range(0, len(given), PIECE):
        numbers.add(given[start : start + PIECE])
    return numbers.result()


def number_bins(values: FloatArray) -> ColumnBins:
    """Bins for a number, from its values in the reference (n,).

    Half of the edges cut the reference into equal shares, which is what distances between histograms need. The other
    half lie with the density of the root of the reference's density, which makes the error of a mean or of a
    Wasserstein distance, a sum of bin width times share, as small as it can be: equal shares alone leave one wide bin
    for each tail. A value that many rows share has a bin of its own, and with few different values each has. Edges lie
    midway between two values of the reference, so that a value written with fewer digits stays in its bin.
    """
    ordered = np.sort(values[np.abs(values) <= LARGEST])
    if len(ordered) == 0:
        return ColumnBins(edges=(0.0,), coarse=(0,))
    different = np.unique(ordered)
    discrete = len(different) <= 2 * BINS
    cuts = np.arange(len(different))
    if not discrete:
        cuts = np.union1d(_share_cuts(ordered, different, BINS), _spread_cuts(ordered, different, BINS))
    cuts = np.union1d(cuts, [0, len(different)])
    coarse = np.searchsorted(cuts, np.union1d(_share_cuts(ordered, different, COARSE_BINS), [0, len(different)]))
    return ColumnBins(
        edges=tuple(_edges(different, cuts).tolist()),
        centre=float(ordered.mean()),
        discrete=discrete,
        coarse=tuple(coarse.tolist()),
    )


def category_bins(counts: Mapping[Any, int]) -> ColumnBins:
    """Bins for a category, from the rows of each of its values in the reference."""
    known: Counter[str] = Counter()
    for value, rows in counts.items():
        if (text := as_text(value)) is not None:
            known[text] += rows
    ranked = sorted(known, key=lambda value: (-known[value], value))[:MAX_KNOWN]
    kept = tuple(ranked[:MAX_CATEGORIES])
    coarse = tuple(range(COARSE_BINS)) if len(kept) > COARSE_BINS else ()
    return ColumnBins(categories=kept, others=tuple(sorted(ranked[MAX_CATEGORIES:])), coarse=coarse)


def _edges(different: FloatArray, cuts: NDArray[np.intp]) -> FloatArray:
    """Edges in front of the values with these positions among the sorted different ones; the last is behind all."""
    inner = cuts[(cuts > 0) & (cuts < len(different))]
    below, above = different[inner - 1], different[inner]
    middle = below + (above - below) / 2
    inside = np.where(middle > below, middle, above)  # two floats without another between them
    return np.array([different[0], *inside, np.nextafter(different[-1], np.inf)])


def _share_cuts(ordered: FloatArray, different: FloatArray, bins: int) -> NDArray[np.intp]:
    """Cuts of sorted values (n,) into equal shares, and behind each value that fills a share alone."""
    found = np.searchsorted(different, ordered[np.arange(bins) * len(ordered) // bins])
    return np.union1d(found, found[1:][found[1:] == found[:-1]] + 1)


def _spread_cuts(ordered: FloatArray, different: FloatArray, bins: int) -> NDArray[np.intp]:
    """Cuts whose density is the root of the density of sorted values (n,)."""
    last = len(ordered) - 1
    tails = 2 ** np.arange(math.ceil(math.log2(last)))
    places = np.unique([*np.linspace(0, last, 20 * bins).astype(np.intp), *tails, *(last - tails)])
    weights = np.sqrt(np.diff(places) * np.diff(ordered[places]))
    reached = np.concatenate([[0.0], np.cumsum(weights)])
    wanted = np.interp(np.linspace(0, reached[-1], bins + 1)[:-1], reached, ordered[places])
    cuts: NDArray[np.intp] = np.searchsorted(different, wanted)
    return cuts


def _moments(ordered: FloatArray, centre: float, below: int, above: int) -> Moments:
    """Moments of sorted finite numbers (n,), so many of which lie below and above the reference's extremes."""
    shifted = ordered - centre
    return Moments(
        rows=len(ordered),
        centre=centre,
        total=float(shifted.sum()),
        below=float(shifted[:below].sum()) if below else 0.0,
        above=float(shifted[len(shifted) - above :].sum()) if above else 0.0,
        squares=float(np.square(shifted).sum()),  # not a product of vectors, for which BLAS would start threads
        smallest=float(ordered[0]),
        largest=float(ordered[-1]),
    )


def _slices(
    columns: Columns, bins: Mapping[str, ColumnBins], slicings: Mapping[str, NDArray[np.object_]]
) -> dict[str, Profile]:
    coarser = {name: how.coarser for name, how in bins.items()} if slicings else {}
    found: dict[str, Profile] = {}
    for slicing, names in slicings.items():
        for value in sorted(set(names.tolist())):
            mask = names == value
            rows = {name: columns[name][mask] for name in coarser}
            found[f"{slicing}={value}"] = profile(rows, coarser)
    return found


def _known(*values: float | None) -> Iterable[float]:
    return [value for value in values if value is not None]
