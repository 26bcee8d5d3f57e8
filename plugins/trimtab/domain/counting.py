"""Counting rows on the bins of the reference.

This module is the definition; engines that are quicker, or that read other stores, give the same profiles
(tests/contract/test_profilers.py).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.domain.binning import as_text
from trimtab.domain.columns import Column, Columns
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import LARGEST, ColumnBins, ColumnProfile, Moments, Profile

PIECE = 32_768
"""Numbers that are sorted at once: few enough for the processor's cache, and for memory that is used again."""


def profile(
    columns: Columns, bins: Mapping[str, ColumnBins], slicings: Mapping[str, NDArray[np.object_]] | None = None
) -> Profile:
    """Count the columns (n rows each) on the given bins; `slicings` name the slice of each row (n,)."""
    rows = len(next(iter(columns.values()))) if columns else 0
    counted = {name: profile_column(columns[name], how) for name, how in bins.items()}
    return Profile(rows=rows, columns=counted, slices=_slices(columns, bins, slicings or {}))


def profile_column(values: Column, bins: ColumnBins) -> ColumnProfile:
    """Count one column (n,) on its bins."""
    if not bins.edges:
        categories, counts = CategoryTally(bins), Counter(values.tolist())
        texts = {value: text for value in counts if (text := as_text(value)) is not None}
        present = [counts[value] for value in texts]
        categories.add(list(texts.values()), present, missing=len(values) - sum(present))
        return categories.result()
    numbers, given = NumberTally(bins), np.asarray(values, dtype=np.float64)
    for start in range(0, len(given), PIECE):
        numbers.add(given[start : start + PIECE])
    return numbers.result()


class NumberTally:
    """Counts a number piece by piece."""

    def __init__(self, bins: ColumnBins) -> None:
        """Nothing is counted yet."""
        beyond = np.nextafter(LARGEST, np.inf)
        self._bounds = np.array([*bins.edges, -LARGEST, beyond, np.nan])  # nan is sorted behind all numbers
        self._places = np.zeros(len(self._bounds), dtype=np.intp)
        self._missing, self._moments = 0, Moments(centre=bins.centre)

    def add(self, values: FloatArray, missing: int = 0) -> None:
        """Count values (n,) and so many missing ones; pieces of some PIECE values are the quickest.

        Sorting first makes it quick: NumPy sorts with the vector instructions of the processor, and then a search for
        each edge, rather than for each value, gives the counts, the extremes, and what is finite (ADR 8).
        """
        ordered = np.sort(values)
        places = ordered.searchsorted(self._bounds)
        self._places += places
        below, above, first, past, present = places[[0, -4, -3, -2, -1]].tolist()
        self._missing += missing + len(values) - present
        if past > first:
            tails = max(below - first, 0), max(past - above, 0)
            self._moments += _moments(ordered[first:past], self._moments.centre, *tails)

    def result(self) -> ColumnProfile:
        """What was counted."""
        *below, _, _, present = self._places.tolist()
        counts = np.diff([0, *below, present]).tolist()
        return ColumnProfile(counts=tuple(counts), missing=self._missing, moments=self._moments)


class CategoryTally:
    """Counts a category piece by piece."""

    def __init__(self, bins: ColumnBins) -> None:
        """Nothing is counted yet."""
        self._position = {value: index for index, value in enumerate(bins.categories)}
        self._position.update(dict.fromkeys(bins.others, len(bins.categories)))
        self._counts, self._missing = np.zeros(bins.bins, dtype=np.int64), 0

    def add(self, values: Sequence[str], rows: ArrayLike, missing: int = 0) -> None:
        """Count k values, each with its number of rows (k,), and so many missing ones; a value may come twice."""
        new = len(self._counts) - 1
        places = np.fromiter(map(self._position.get, values, repeat(new)), np.intp, len(values))
        np.add.at(self._counts, places, rows)
        self._missing += missing

    def result(self) -> ColumnProfile:
        """What was counted."""
        return ColumnProfile(counts=tuple(self._counts.tolist()), missing=self._missing)


def _moments(ordered: FloatArray, centre: float, below: int, above: int) -> Moments:
    """Moments of sorted finite numbers (n,), so many of which lie below and above the reference's extremes.

    The numbers are overwritten: memory that is in the processor's cache already is the quickest.
    """
    smallest, largest = float(ordered[0]), float(ordered[-1])
    shifted = np.subtract(ordered, centre, out=ordered)
    return Moments(
        rows=len(ordered),
        centre=centre,
        total=float(shifted.sum()),
        below=float(shifted[:below].sum()) if below else 0.0,
        above=float(shifted[len(shifted) - above :].sum()) if above else 0.0,
        squares=float(np.einsum("i,i->", shifted, shifted)),  # not `dot`, for which BLAS would start threads
        smallest=smallest,
        largest=largest,
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
