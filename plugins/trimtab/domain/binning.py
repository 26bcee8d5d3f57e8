"""On which bins a column is counted: chosen from the reference, and frozen with it."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.columns import Column, Columns
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import LARGEST, ColumnBins

BINS = 100
"""Bins of a number that hold equal shares of the reference; as many again are where the reference is thin."""
COARSE_BINS = 20
"""Bins of the coarse view: with 200, the distance of a day of some hundred rows is mostly sampling noise."""
MAX_CATEGORIES = 200
"""Values of a category that are counted one by one; the rest that the reference knows are counted together."""
MAX_KNOWN = 10_000
"""Values of a category that the reference remembers. What is rarer counts as new, in its own days as well."""


def bins_of(columns: Columns) -> dict[str, ColumnBins]:
    """Bins for each column of the reference (n rows each)."""
    return {
        name: number_bins(np.asarray(values, dtype=np.float64))
        if is_number(values)
        else category_bins(Counter(values.tolist()))
        for name, values in columns.items()
    }


def is_number(values: Column) -> bool:
    """Whether a column holds numbers rather than texts."""
    return values.dtype.kind == "f"


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


def as_text(value: object) -> str | None:
    """A value as a category; None for None and nan."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return None if missing else str(value)


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
