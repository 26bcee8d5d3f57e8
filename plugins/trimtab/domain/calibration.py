"""How far apart the days of a reference lie, so that one can say what no change would give.

A day's measurement is a mean over its rows (a share of each bin, a rate, a mean, a loss), put on a scale on which
its spread does not depend on its size. Real days wobble more than independent rows would, so the null of a window is
estimated from the reference's own days: the squared distance of a window from what the reference expects of its
weekdays is a quadratic form in the days' residuals, with the variance, the skewness and the autocorrelation that those
residuals show.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.metrics import FloatArray

Scale: TypeAlias = Callable[[FloatArray], FloatArray]
SATURDAY = 5
MIN_DAYS_PER_TYPE = 8
"""Days of one kind below which their mean is too uncertain to be expected: 8 make its variance an eighth of a day's."""
MAX_CORRELATION = 0.9
MIN_ALIKE = 5
"""Signals of a kind from which the variance of one more can be learnt."""
MAX_PRIOR = 200.0
"""Degrees of freedom that other signals add at most: beyond, the F distribution is that of a known variance."""
MIN_FREEDOM = 3.0
"""Degrees of freedom below which the F distribution has no variance to speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Measurements of the same form on the same days: d days, s signals, b bins (1 for a number)."""

    means: FloatArray
    """(d, s, b): mean over the day's rows."""
    rows: FloatArray
    """(d, s): rows that the mean is over; 0 where the day has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Null:
    """What the reference's own days say about s signals."""

    expected: FloatArray
    """(t, s, b): mean of the rows of each type of day."""
    type_days: FloatArray
    """(t, s): days of each type."""
    variance: FloatArray
    """(s,): mean squared distance of a day from what its type expects, at least that of its kind of signals."""
    freedom_of_variance: FloatArray
    """(s,): degrees of freedom of the variance, with what signals of its kind add."""
    spread: FloatArray
    """(s,): squared coefficient of variation of that squared distance, were days normal."""
    freedom: FloatArray
    """(s,): degrees of freedom of the chi-square with its skewness, were days normal; 1 for a number."""
    excess: FloatArray
    """(s,): what heavy tails of the days add to `spread`."""
    correlation: FloatArray
    """(s,): lag-1 autocorrelation, in [0, 0.9]."""
    logarithms: FloatArray
    """(2, s): mean and standard deviation of the logarithm of the days' squared distances; inf for a number."""
    per_row: FloatArray
    """(s,): variance that one independent row contributes on the scale."""
    inverse_rows: FloatArray
    """(s,): mean of 1 / rows over the days."""
    rows: FloatArray
    """(s,): all rows."""
    scale: Scale


def day_types(days: list[str], reference: list[str]) -> NDArray[np.intp]:
    """The type (d,) of each ISO day, by what the reference days can tell apart.

    Weekdays, if the reference has eight of each that it has at all; else weekends and other days, if it has eight of
    both; else one type. A weekday that the reference does not have is of the first type.
    """
    known = _weekdays(reference)
    weekday = _weekdays(days)
    counts = np.bincount(known, minlength=7)
    if counts[counts > 0].min(initial=MIN_DAYS_PER_TYPE) >= MIN_DAYS_PER_TYPE:
        order = np.cumsum(counts > 0) - 1
        return np.where(counts[weekday] > 0, order[weekday], 0)
    weekends = int((known >= SATURDAY).sum())
    if min(weekends, len(known) - weekends) >= MIN_DAYS_PER_TYPE:
        return (weekday >= SATURDAY).astype(np.intp)
    return np.zeros(len(days), dtype=np.intp)


def ordinals(days: Sequence[str]) -> NDArray[np.intp]:
    """Calendar days (d,) as numbers: those of neighbours differ by 1."""
    return np.array([date.fromisoformat(day).toordinal() for day in days], dtype=np.intp)


def _weekdays(days: list[str]) -> NDArray[np.intp]:
    return np.array([date.fromisoformat(day).weekday() for day in days], dtype=np.intp)


def root_shares(means: FloatArray) -> FloatArray:
    """Twice the roots of shares (..., b): distances are 2 sqrt(2) Hellinger distances.

    On this scale a share of n rows has variance 1 / n whatever its size, and a shift of a normal distribution's mean
    by a small part d of its standard deviation is a distance of d.

    Source: the variance-stabilising root of Anscombe, Biometrika 35 (1948).
    """
    return 2 * np.sqrt(np.maximum(means, 0.0))


def arcsine(means: FloatArray) -> FloatArray:
    """Twice the arcsine of the root of rates; differences are Cohen's h, in standard deviations.

    Source: Cohen, "Statistical Power Analysis for the Behavioral Sciences" (1988), ch. 6.
    """
    return 2 * np.arcsin(np.sqrt(np.clip(means, 0.0, 1.0)))


def logarithm(means: FloatArray) -> FloatArray:
    """Natural logarithm of amounts: differences are relative changes."""
    return np.log(np.maximum(means, 1e-9))


def identity(means: FloatArray) -> FloatArray:
    """Numbers that are in units of their standard deviation already."""
    return means


def fit(series: Series, types: NDArray[np.intp], gaps: NDArray[np.intp], per_row: FloatArray, scale: Scale) -> Null:
    """Learn the null from at least two reference days.

    Args:
        series: Measurements of the reference's days, in order.
        types: (d,) type of each day, from 0 without gaps.
        gaps: (d - 1,) calendar days from each day to the next.
        per_row: (s,) variance that one independent row contributes on the scale.
        scale: Puts means on a scale on which their spread does not depend on their size.
    """
    seen = series.rows > 0
    member = np.eye(types.max() + 1)[types]
    type_days = np.einsum("dt,ds->ts", member, seen.astype(np.float64))
    expected = _expected(series, member)
    residuals = np.where(seen[:, :, None], scale(series.means) - scale(expected)[types], 0.0)
    own = type_days[types]
    residuals = residuals * np.sqrt(own / np.maximum(own - 1, 1))[:, :, None]
    count = np.maximum(seen.sum(axis=0), 1)
    squares = np.square(residuals).sum(axis=-1).T
    total = squares.sum(axis=1)
    spread, freedom = _moments(residuals, total)
    noise = spread / count
    excess = np.maximum(_shrunk(_excess(squares, seen, spread), 12 * spread * noise), 0)
    correlation = _correlation(residuals, total, gaps, noise / 2)
    remembered = (1 - correlation**2) / (1 + correlation**2)
    free = (type_days - 1).clip(0).sum(axis=0) * remembered * spread / (spread + excess)
    variance, freedom_of_variance = _moderated(total / count, np.maximum(free, MIN_FREEDOM), np.maximum(per_row, 1))
    return Null(
        expected=expected,
        type_days=type_days,
        variance=variance,
        freedom_of_variance=freedom_of_variance,
        spread=spread,
        freedom=freedom,
        excess=excess,
        correlation=correlation,
        logarithms=_logarithms(squares, seen, number=series.means.shape[-1] == 1),
        per_row=per_row,
        inverse_rows=(np.where(seen, 1 / np.maximum(series.rows, 1), 0)).sum(axis=0) / count,
        rows=series.rows.sum(axis=0),
        scale=scale,
    )


def _expected(series: Series, member: FloatArray) -> FloatArray:
    """Mean of the rows of each type of day (t, s, b); of all rows, where a type has none."""
    weighted = series.means * series.rows[:, :, None]
    rows = np.einsum("dt,ds->ts", member, series.rows)[:, :, None]
    overall = weighted.sum(axis=0) / np.maximum(series.rows.sum(axis=0), 1e-9)[:, None]
    of_type = np.einsum("dt,dsb->tsb", member, weighted) / np.maximum(rows, 1e-9)
    expected: FloatArray = np.where(rows > 0, of_type, overall)
    return expected


def _moments(residuals: FloatArray, total: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Squared variation and degrees of freedom of the quadratic form, from the eigenvalues of the days' covariance.

    Source: Hall, Annals of Probability 11 (1983), and Buckley & Eagleson, Australian J. of Statistics 30 (1988): the
    chi-square with the first three cumulants. Those of a sample's covariance are too large, so limits err upwards.
    """
    by_signal = residuals.transpose(1, 2, 0)
    covariance = by_signal @ by_signal.transpose(0, 2, 1)
    eigenvalues = np.clip(np.linalg.eigvalsh(covariance), 0, None) / np.where(total > 0, total, 1)[:, None]
    eigenvalues[total <= 0] = 0
    eigenvalues[total <= 0, -1] = 1
    second, third = np.square(eigenvalues).sum(axis=1), (eigenvalues**3).sum(axis=1)
    return 2 * second, second**3 / third**2


def _excess(squares: FloatArray, seen: NDArray[np.bool_], spread: FloatArray) -> FloatArray:
    """Squared variation of the days' squared distances beyond that of normal days."""
    count = np.maximum(seen.sum(axis=0), 2)
    mean = squares.sum(axis=1) / count
    variance = np.where(seen.T, np.square(squares - mean[:, None]), 0).sum(axis=1) / (count - 1)
    found: FloatArray = variance / np.where(mean > 0, mean, 1) ** 2 - np.where(mean > 0, spread, 0)
    return found


def _logarithms(squares: FloatArray, seen: NDArray[np.bool_], *, number: bool) -> FloatArray:
    """Mean and spread of the days' squared distances as logarithms, which a stormy day among them hardly moves.

    A number's single square scatters too much on that scale to be of use.
    """
    if number:
        return np.full((2, len(squares)), np.inf)
    logs = np.ma.masked_array(np.log(np.maximum(squares, 1e-12)), mask=~seen.T)
    return np.stack([logs.mean(axis=1).filled(np.inf), logs.std(axis=1, ddof=1).filled(np.inf)])


def _correlation(residuals: FloatArray, total: FloatArray, gaps: NDArray[np.intp], noise: FloatArray) -> FloatArray:
    """Lag-1 autocorrelation of the residuals, corrected for its bias in short series and drawn to that of all.

    Source: Marriott & Pope, Biometrika 41 (1954), for the bias of -(1 + 4 r) / n.
    """
    days = len(residuals)
    adjacent = (residuals[1:] * residuals[:-1])[gaps == 1].sum(axis=(0, 2))
    share = days / max((gaps == 1).sum(), 1) if (gaps == 1).any() else 0.0
    raw = np.clip(adjacent * share / np.where(total > 0, total, 1), -1, MAX_CORRELATION)
    raw = raw + (1 + 4 * np.maximum(raw, 0)) / days
    return np.clip(_shrunk(raw, noise), 0, MAX_CORRELATION)


def _shrunk(values: FloatArray, noise: FloatArray) -> FloatArray:
    """Values (s,) drawn to their common mean by as much as their sampling variance (s,) explains how they differ.

    Source: Efron & Morris, JASA 70 (1975).
    """
    if len(values) < 2:  # noqa: PLR2004  # one has no other to learn from
        return values
    weight = 1 / np.maximum(noise, 1e-12)
    centre = np.average(values, weights=weight)
    between = max(0.0, float(np.average(np.square(values - centre) - noise, weights=weight)))
    shrunk: FloatArray = centre + between / (between + np.maximum(noise, 1e-12)) * (values - centre)
    return shrunk


def _moderated(variance: FloatArray, freedom: FloatArray, unit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Variances (s,) drawn up to that of all signals, and their degrees of freedom with what the others add.

    The more alike the variances are (in their `unit`), the more each learns from the others. None is drawn down: one
    signal that wobbles more than the rest keeps its own.

    Source: Smyth, "Linear models and empirical Bayes methods", Stat. Appl. Genetics Mol. Biol. 3 (2004), section 6.
    """
    from scipy.special import polygamma, psi  # 0.2 s that reading a verdict need not pay

    some = variance > 0
    if some.sum() < MIN_ALIKE:
        return variance, freedom
    half = freedom[some] / 2
    logs = np.log(variance[some] / unit[some]) - psi(half) + np.log(half)
    beyond = float(logs.var(ddof=1) - polygamma(1, half).mean())
    prior = 2 * _trigamma_inverse(max(beyond, 2 / MAX_PRIOR))
    common = np.exp(logs.mean() + psi(prior / 2) - np.log(prior / 2)) * unit
    drawn = (prior * common + freedom * variance) / (prior + freedom)
    return np.where(some, np.maximum(variance, drawn), variance), np.where(some, freedom + prior, freedom)


def _trigamma_inverse(value: float) -> float:
    """The argument whose trigamma is `value` > 0, by Newton's method on the reciprocal."""
    from scipy.special import polygamma

    found = 0.5 + 1 / value
    for _ in range(20):
        trigamma = float(polygamma(1, found))
        found += trigamma * (1 - trigamma / value) / float(polygamma(2, found))
    return found
