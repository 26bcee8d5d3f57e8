"""Counting rows on the bins of the reference.

This module is the definition; engines that are quicker, or that read other stores, give the same profiles
(tests/contract/test_profilers.py).
"""

import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimtab.domain.binning import as_text
from trimtab.domain.columns import Column, Columns
from trimtab.domain.edge_grid import EdgeGrid, grid_for
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import LARGEST, ColumnBins, ColumnProfile, Moments, Profile

PIECE = 2**19
"""Numbers that are counted at once: so many that threads seldom wait for Python's lock, in 4 MB a thread."""
SORTED_AT_ONCE = 2**16
"""Numbers that are sorted at once: few enough for the processor's cache, and for memory that is used again."""
SORTED_FIRST = 2**17
"""Numbers after which it is known whether a grid is the quicker way; a small file does not pay for the look."""
SMALLEST_ON_GRID = 2**15
"""Numbers from which on a piece is worth a grid, whose cells cost as much as some thousand numbers."""

_of_thread = threading.local()


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
    numbers = NumberTally(bins)
    numbers.add(np.asarray(values, dtype=np.float64))
    return numbers.result()


class NumberTally:
    """Counts a number piece by piece.

    Two ways give the same counts, and the quicker is taken (ADR 8). Sorting, since NumPy sorts with the vector
    instructions of the processor: a search for each edge, rather than for each value, then gives the counts, the
    extremes and what is finite. Or, for many different numbers, an even grid.
    """

    def __init__(self, bins: ColumnBins) -> None:
        """Nothing is counted yet."""
        self._bins = bins
        beyond = np.nextafter(LARGEST, np.inf)
        self._bounds = np.array([*bins.edges, -LARGEST, beyond, np.nan])  # nan is sorted behind all numbers
        self._places = np.zeros(len(self._bounds), dtype=np.intp)
        self._missing, self._moments = 0, Moments(centre=bins.centre)
        self._sorted = 0
        self._grid: EdgeGrid | None = None

    def add(self, values: FloatArray, missing: int = 0) -> None:
        """Count values (n,) and so many missing ones; pieces of PIECE values are the quickest."""
        self._missing += missing
        done = 0
        while done < len(values):
            piece = values[done : done + PIECE]
            if self._grid is None or len(piece) < SMALLEST_ON_GRID or not self._add_on_grid(piece, self._grid):
                piece = piece[:SORTED_AT_ONCE]
                self._add_sorted(piece)
            done += len(piece)

    def result(self) -> ColumnProfile:
        """What was counted."""
        *below, _, _, present = self._places.tolist()
        counts = np.diff([0, *below, present]).tolist()
        return ColumnProfile(counts=tuple(counts), missing=self._missing, moments=self._moments)

    def _add_sorted(self, values: FloatArray) -> None:
        ordered = np.sort(values)
        places = ordered.searchsorted(self._bounds)
        self._places += places
        below, above, first, past, present = places[[0, -4, -3, -2, -1]].tolist()
        self._missing += len(values) - present
        if past > first:
            finite = ordered[first:past]
            if past - first == len(values):
                self._judge(finite)
            extremes = float(finite[0]), float(finite[-1])
            # overwritten: memory that is in the processor's cache already is the quickest
            shifted = np.subtract(finite, self._bins.centre, out=finite)
            tails = shifted[: max(below - first, 0)], shifted[max(above - first, 0) :]
            self._moments += self._moments_of(len(finite), extremes, _sums(shifted), tails)

    def _judge(self, ordered: FloatArray) -> None:
        """Choose the way for the pieces to come, when so many numbers (none missing) have come that it matters."""
        before, self._sorted = self._sorted, self._sorted + len(ordered)
        if before < SORTED_FIRST <= self._sorted and len(ordered) >= SMALLEST_ON_GRID:
            self._grid = grid_for(np.array(self._bins.edges), self._bins.centre, ordered)

    def _add_on_grid(self, values: FloatArray, grid: EdgeGrid) -> bool:
        """Count values on the grid, or none of them if some are missing or infinite."""
        rows, shifted = len(values), np.subtract(values, self._bins.centre, out=_work_space(len(values)))
        sums = _sums(shifted)
        if not math.isfinite(sums[1]):
            return False
        places, compared = grid.places(values, shifted)
        smallest = float(compared[0] if places[0] else values.min())
        largest = float(compared[-1] if places[-1] < rows else values.max())
        if not -LARGEST <= smallest <= largest <= LARGEST:
            return False
        self._places += [*places.tolist(), 0, rows, rows]
        compared -= self._bins.centre
        tails = compared[: places[0]], compared[len(compared) - (rows - places[-1]) :]
        self._moments += self._moments_of(rows, (smallest, largest), sums, tails)
        return True

    def _moments_of(
        self,
        rows: int,
        extremes: tuple[float, float],
        sums: tuple[float, float],
        tails: tuple[FloatArray, FloatArray],
    ) -> Moments:
        return Moments(
            rows=rows,
            centre=self._bins.centre,
            total=sums[0],
            squares=sums[1],
            below=float(tails[0].sum()),
            above=float(tails[1].sum()),
            smallest=extremes[0],
            largest=extremes[1],
        )


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


def _work_space(rows: int) -> FloatArray:
    """Memory for so many numbers that a thread uses again for each piece; one for all columns, as there may be many."""
    if len(getattr(_of_thread, "space", ())) < rows:
        _of_thread.space = np.empty(PIECE)
    space: FloatArray = _of_thread.space[:rows]
    return space


def _sums(shifted: FloatArray) -> tuple[float, float]:
    """Sum, and sum of squares, of numbers (n,)."""
    return float(shifted.sum()), float(np.einsum("i,i->", shifted, shifted))  # BLAS's `dot` would start threads


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
