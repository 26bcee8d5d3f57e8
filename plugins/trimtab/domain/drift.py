"""How far the profiles of one column lie apart, and how far they would without any drift.

Distances between histograms take the missing values as a bin of their own; those between distributions of numbers are
about the numbers that are there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import ColumnBins, ColumnProfile, Moments, Profile

NORMAL_95 = 1.6448536269514722
"""The 95 % quantile of the normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """Distances of a current profile from the reference's. nan where there is nothing to compare."""

    rows: int
    """Of the current profile."""
    psi: float
    """Population stability index over the coarse bins, in nats."""
    psi_limit: float
    """What it exceeds in 5 % of the cases if nothing has changed, at these numbers of rows."""
    jensen_shannon: float
    """Jensen-Shannon distance to base 2 over the coarse bins, within [0, 1]."""
    jensen_shannon_limit: float
    l_infinity: float
    """Largest difference between shares: of a category over its values, of a number over its coarse bins."""
    kolmogorov_smirnov: float
    """nan for a category, like the next two."""
    wasserstein: float
    """Wasserstein distance in standard deviations of the reference."""
    mean_shift: float
    """Current mean minus the reference's, in standard deviations of the reference."""
    missing_change: float
    """Current share of missing values minus the reference's."""
    new_share: float
    """Share of the current values that are categories which the reference does not know."""
    out_of_range_share: float
    """Share of the current values that are numbers outside the reference's extremes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChiSquare:
    """Pearson's test of homogeneity."""

    statistic: float
    freedom: int
    """Bins that hold a row of either, less one."""


def drift(reference: Profile, current: Profile, bins: Mapping[str, ColumnBins]) -> dict[str, ColumnDrift]:
    """Distances of all columns."""
    return {name: column_drift(reference.columns[name], current.columns[name], how) for name, how in bins.items()}


def column_drift(reference: ColumnProfile, current: ColumnProfile, bins: ColumnBins) -> ColumnDrift:
    """All distances of one column, counted on the same bins."""
    first, second = bins.coarsen(reference).masses, bins.coarsen(current).masses
    limit = psi_limit(first, second)
    return ColumnDrift(
        rows=current.rows,
        psi=psi(first, second),
        psi_limit=limit,
        jensen_shannon=jensen_shannon_distance(first, second),
        jensen_shannon_limit=math.sqrt(limit / (8 * math.log(2))),
        l_infinity=l_infinity(first, second) if bins.edges else l_infinity(reference.masses, current.masses),
        kolmogorov_smirnov=kolmogorov_smirnov(reference, current),
        wasserstein=wasserstein(reference, current, bins) / _spread(reference) if bins.edges else math.nan,
        mean_shift=(current.mean - reference.mean) / _spread(reference),
        missing_change=current.missing_share - reference.missing_share,
        new_share=current.new_share,
        out_of_range_share=current.out_of_range_share,
    )


def jensen_shannon_distance(first: FloatArray, second: FloatArray) -> float:
    """Jensen-Shannon distance between two histograms (k,) of counts on the same bins.

    The square root of the divergence to base 2, so within [0, 1]: 0 for equal shares, 1 for disjoint ones. 1 as
    well if exactly one of the two is empty, 0 if both are.

    Source: Endres & Schindelin, IEEE Trans. Inf. Theory 49 (2003), who show that the root is a metric.
    """
    if first.sum() == 0 or second.sum() == 0:
        return float(first.sum() != second.sum())
    p, q = first / first.sum(), second / second.sum()
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return float(np.sqrt(min(max(divergence, 0.0), 1.0)))


def psi(first: FloatArray, second: FloatArray) -> float:
    """Population stability index of two histograms (k,) of counts on the same bins, in nats, >= 0.

    The sum of Kullback and Leibler's two directed divergences. A bin that only one of the two leaves empty counts as
    half a row there, without which the index would be infinite. nan if either has no row.

    Source: Jeffreys, Proc. R. Soc. A 186 (1946); Lewis, "An Introduction to Credit Scoring" (1994).
    """
    used = (first > 0) | (second > 0)
    if first.sum() == 0 or second.sum() == 0:
        return math.nan
    p, q = np.maximum(first[used], 0.5) / first.sum(), np.maximum(second[used], 0.5) / second.sum()
    return float(((p - q) * np.log(p / q)).sum())


def psi_limit(first: FloatArray, second: FloatArray) -> float:
    """What the index of two samples of one distribution exceeds with a probability of 5 %.

    The index is then distributed as (1/n + 1/m) times a chi-square with one degree of freedom less than bins. True
    from some 20 rows per bin of the smaller sample on; below, the index exceeds it more often.

    Source: Yurdakul & Naranjo, Journal of Risk Model Validation 14 (2020); the quantile of the chi-square is Wilson &
    Hilferty's, PNAS 17 (1931), within 1 % from 2 degrees of freedom on, and takes no import of SciPy.
    """
    freedom = int(((first > 0) | (second > 0)).sum()) - 1
    if freedom < 1 or first.sum() == 0 or second.sum() == 0:
        return math.nan
    ninth = 2 / (9 * freedom)
    quantile = freedom * (1 - ninth + NORMAL_95 * math.sqrt(ninth)) ** 3
    return float((1 / first.sum() + 1 / second.sum()) * quantile)


def l_infinity(first: FloatArray, second: FloatArray) -> float:
    """Largest difference between the shares of two histograms (k,), within [0, 1]; nan if either has no row.

    Source: the comparator of TensorFlow Data Validation, Breck et al., MLSys (2019).
    """
    if first.sum() == 0 or second.sum() == 0:
        return math.nan
    return float(np.abs(first / first.sum() - second / second.sum()).max())


def chi_square(first: FloatArray, second: FloatArray) -> ChiSquare:
    """Pearson's statistic of two histograms (k,) of counts on the same bins; the p-value is that of its freedom.

    Bins that both leave empty do not count. Freedom 0 and statistic 0 if either has no row.

    Source: Pearson, Biometrika 8 (1911).
    """
    used = (first > 0) | (second > 0)
    if first.sum() == 0 or second.sum() == 0:
        return ChiSquare(statistic=0.0, freedom=0)
    ratio = math.sqrt(second.sum() / first.sum())
    terms = np.square(ratio * first[used] - second[used] / ratio) / (first[used] + second[used])
    return ChiSquare(statistic=float(terms.sum()), freedom=int(used.sum()) - 1)


def kolmogorov_smirnov(first: ColumnProfile, second: ColumnProfile) -> float:
    """Largest distance between the distribution functions of a number at the edges, within [0, 1].

    Between the edges it may be larger, by no more than the larger share of a bin. nan for a category, or if either
    has no value.
    """
    if first.moments is None or not first.present or not second.present:
        return math.nan
    return float(np.abs(_gaps(first, second)).max())


def wasserstein(first: ColumnProfile, second: ColumnProfile, bins: ColumnBins) -> float:
    """Wasserstein distance of order 1 between a number's finite values, in its unit.

    The area between the two distribution functions. Within a bin each is a straight line, or, where the bins are the
    values of the reference, flat; beyond its extremes the sums of the numbers give it exactly. nan if either has no
    finite value; inf if either has an infinite one.
    """
    if first.infinite or second.infinite:
        return math.inf
    if first.moments is None or second.moments is None or not first.moments.rows or not second.moments.rows:
        return math.nan
    gaps = _gaps(first, second)
    tails = zip(_tails(first, first.moments, bins), _tails(second, second.moments, bins), strict=True)
    inside = _steps(bins.edges, gaps) if bins.discrete else _lines(bins.edges, gaps)
    return inside + sum(abs(one - other) for one, other in tails)


def _tails(column: ColumnProfile, moments: Moments, bins: ColumnBins) -> tuple[float, float]:
    """Mean distance of all numbers from the reference's extremes, where they lie beyond them; below and above."""
    below = moments.below + column.counts[0] * (moments.centre - bins.edges[0])
    above = moments.above + column.counts[-1] * (moments.centre - bins.edges[-1])
    return below / moments.rows, above / moments.rows


def _lines(edges: Sequence[float], gaps: FloatArray) -> float:
    """Area between zero and the straight lines that join the gaps (k,) at the edges (k,)."""
    left, right = gaps[:-1], gaps[1:]
    ends = np.abs(left) + np.abs(right)
    crossing = (np.square(left) + np.square(right)) / (2 * np.where(ends > 0, ends, 1.0))
    return float((np.diff(edges) * np.where(left * right < 0, crossing, ends / 2)).sum())


def _steps(edges: Sequence[float], gaps: FloatArray) -> float:
    """The same if all rows of a bin have one value: the first edge, then those that each edge lies midway between."""
    values = [edges[0]]
    for edge in edges[1:-1]:
        values.append(2 * edge - values[-1])
    return float((np.diff(values) * np.abs(gaps[1:-1])).sum())


def _gaps(first: ColumnProfile, second: ColumnProfile) -> FloatArray:
    """Difference (k,) of the shares below each edge."""
    below = [np.cumsum(column.counts)[:-1] / column.present for column in (first, second)]
    gaps: FloatArray = below[0] - below[1]
    return gaps


def _spread(reference: ColumnProfile) -> float:
    """The reference's standard deviation, nan where it is 0: nothing is measured in it."""
    return reference.sd or math.nan


def _relative_entropy(p: FloatArray, q: FloatArray) -> float:
    """Kullback-Leibler divergence to base 2; q is positive wherever p is."""
    present = p > 0
    return float((p[present] * np.log2(p[present] / q[present])).sum())
