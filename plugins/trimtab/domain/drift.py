"""Distances between two profiles of one column."""

import numpy as np

from trimtab.domain.metrics import FloatArray


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


def _relative_entropy(p: FloatArray, q: FloatArray) -> float:
    """Kullback-Leibler divergence to base 2; q is positive wherever p is."""
    present = p > 0
    return float((p[present] * np.log2(p[present] / q[present])).sum())
