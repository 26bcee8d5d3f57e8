"""Windows of days against the null of a reference (trimtab.domain.calibration): value, limit and power.

A limit is never below what independent rows alone would need.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.calibration import Null, Series
from trimtab.domain.metrics import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """w windows against the null of s signals; all (w, s), in units of the scale; nan for a window without rows."""

    value: FloatArray
    """Distance from what is expected of the window's days, >= 0."""
    direction: FloatArray
    """Sign of a number's distance; 1 for shares."""
    expected: FloatArray
    """Of a number, the mean of the window's types of days, as measured; 0 for shares."""
    noise: FloatArray
    """Root mean square of the value if nothing has changed."""
    limit: FloatArray
    """What the value exceeds with probability alpha at most if nothing has changed, and the floor at least."""
    power: FloatArray
    """Probability that a true shift of `shift` exceeds the limit."""


def compare(
    null: Null,
    series: Series,
    types: NDArray[np.intp],
    windows: FloatArray,
    *,
    alpha: float | FloatArray,
    floor: float,
    shift: float,
    one_sided: bool = False,
) -> Comparison:
    """Compare windows of days with the null.

    Args:
        null: What the reference's own days say.
        series: Measurements of d days.
        types: (d,) type of each of these days.
        windows: (w, d) 1 where a day belongs to a window, else 0; or (w, d, s), by signal.
        alpha: Probability of a false alarm per window and signal; a number or (s,).
        floor: Values below it are no news, on the scale of the null.
        shift: True shift whose power is wanted, on the same scale.
        one_sided: Whether only a rise of a number counts.
    """
    from scipy.special import chdtri, fdtri, ndtr  # 0.2 s that reading a verdict need not pay

    weights = windows * series.rows if windows.ndim == 3 else windows[:, :, None] * series.rows  # noqa: PLR2004
    rows = weights.sum(axis=1)
    safe = np.where(rows > 0, rows, 1)
    mix = (weights.transpose(0, 2, 1) @ np.eye(len(null.expected))[types]) / safe[:, :, None]
    days = np.maximum(np.square(rows) / np.where(rows > 0, np.square(weights).sum(axis=1), 1), 1)
    expected = np.einsum("wst,tsb->wsb", mix, null.expected)
    means = _summed(weights, series.means) / safe[:, :, None]
    difference = null.scale(means) - null.scale(expected)
    squared = np.square(difference).sum(axis=-1)

    variance = null.variance * _variance_factor(days, mix, null)
    variance = variance + null.per_row * np.maximum(0, 1 / safe - null.inverse_rows / days)
    spread = null.spread + null.excess / days
    freedom = 2 / (2 / null.freedom + null.excess / days)
    of_estimate = np.broadcast_to(null.freedom_of_variance, freedom.shape)
    tail = 2 * alpha if one_sided else alpha
    quantile = fdtri(freedom, of_estimate, 1 - np.broadcast_to(tail, freedom.shape))
    limit = variance * (1 + np.sqrt(spread * freedom / 2) * (quantile - 1))
    extra = null.per_row * np.maximum(0, 1 / safe - null.inverse_rows)
    limit = np.where(days == 1, np.minimum(limit, _day_limit(null, tail) + extra), limit)
    independent = null.per_row * (1 / safe + 1 / np.maximum(null.rows, 1))
    dimensions = np.maximum(null.per_row, 1)
    limit = np.maximum(limit, independent * chdtri(dimensions, np.broadcast_to(tail, dimensions.shape)) / dimensions)
    limit = np.maximum(limit, floor**2)
    deviation = np.sqrt(np.maximum(variance * (spread * variance + 4 * shift**2 * spread / 2), 1e-24))
    power = ndtr((shift**2 + variance - limit) / deviation)
    empty = rows == 0
    number = difference.shape[-1] == 1
    return Comparison(
        value=np.where(empty, np.nan, np.sqrt(squared)),
        direction=np.sign(difference[:, :, 0]) if number else np.ones_like(squared),
        expected=expected[:, :, 0] if number else np.zeros_like(squared),
        noise=np.sqrt(variance),
        limit=np.sqrt(limit),
        power=np.where(empty, 0.0, power),
    )


def without_furthest_day(null: Null, series: Series, types: NDArray[np.intp], windows: FloatArray) -> FloatArray:
    """Windows (w, d) as (w, d, s), each without the day that lies furthest its way, if it has more than one.

    What one day makes is that day's news, not a shift.
    """
    weights = windows[:, :, None] * series.rows
    off = null.scale(series.means) - null.scale(null.expected)[types]
    way = _summed(weights, off)
    reached = np.where(weights > 0, np.einsum("wsb,dsb->wds", way, off) * weights, -np.inf)
    furthest = np.arange(windows.shape[1])[:, None] == reached.argmax(axis=1)[:, None, :]
    several = (weights > 0).sum(axis=1, keepdims=True) > 1
    rest: FloatArray = windows[:, :, None] * ~(furthest & several)
    return rest


def _summed(weights: FloatArray, values: FloatArray) -> FloatArray:
    """Values (d, s, b) by weights (w, d, s), summed over the days: (w, s, b), as products of matrices."""
    summed: FloatArray = (weights.transpose(2, 0, 1) @ values.transpose(1, 0, 2)).transpose(1, 0, 2)
    return summed


def _day_limit(null: Null, alpha: float | FloatArray) -> FloatArray:
    """What the squared distance of one more day exceeds with probability alpha, if days are log-normal (s,)."""
    from scipy.special import stdtrit  # see compare

    count = null.type_days.sum(axis=0)
    centre, spread = null.logarithms
    known = np.isfinite(centre) & np.isfinite(spread) & (count > 1)
    width = stdtrit(np.maximum(count - 1, 1), 1 - np.broadcast_to(alpha, count.shape)) * np.sqrt(
        1 + 1 / np.maximum(count, 1)
    )
    limit: FloatArray = np.where(known, np.exp(np.where(known, centre + width * spread, 0)), np.inf)
    return limit


def _variance_factor(days: FloatArray, mix: FloatArray, null: Null) -> FloatArray:
    """Variance of a window's mean less the reference's expectation of it, over that of a day (w, s).

    Source: Box, Jenkins & Reinsel, "Time Series Analysis", ch. 2, for the mean of a first-order autoregressive series.
    """
    r = null.correlation
    window = (1 + 2 * (r / (1 - r) - r * (1 - r**days) / (days * (1 - r) ** 2))) / days
    reference = (np.square(mix) / np.maximum(null.type_days.T, 1)).sum(axis=-1) * (1 + r) / (1 - r)
    factor: FloatArray = window + np.minimum(reference, 1)
    return factor
