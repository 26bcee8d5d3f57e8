"""Evidence that may be looked at after every row, and acted on at any look.

Each test here keeps its level however often it is looked at and whenever it is stopped: under its null hypothesis the
evidence is a product of fair bets, which exceeds a large number rarely (Ville's inequality: P(sup E >= 1/level) <=
level). Evidence is given as its natural logarithm, to be compared with log(1 / level).
Source: Ramdas, Grunwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical
Science 38 (2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from trimtab.domain.metrics import FloatArray

ODDS: FloatArray = 2.0 ** (np.arange(1, 13) / 2)
"""Ratios of odds that evidence of an excess bets on alike: 1.4 to 64. Each more costs all others a little evidence."""
STAKES: FloatArray = np.array([0.01, 0.03, 0.1, 0.3, 0.9])
"""Shares of the capital that a bet on a mean risks, alike."""
_HALVINGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Count, mean and scatter of numbers, which can be added up without keeping them."""

    count: int = 0
    mean: float = 0.0
    scatter: float = 0.0
    """Sum of the squared distances from the mean."""

    @classmethod
    def of(cls, values: FloatArray) -> Moments:
        """Those of an array (n,)."""
        if not len(values):
            return cls()
        mean = float(values.mean())
        return cls(count=len(values), mean=mean, scatter=float(((values - mean) ** 2).sum()))

    @property
    def variance(self) -> float:
        """Of the sample; nan of fewer than two numbers."""
        return self.scatter / (self.count - 1) if self.count > 1 else math.nan

    def __add__(self, other: Moments) -> Moments:
        """Those of both together.

        Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", Am. Statistician 37 (1983).
        """
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + apart * other.count / count,
            scatter=self.scatter + other.scatter + apart**2 * self.count * other.count / count,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """What a difference may be."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """The estimate."""
        return (self.low + self.high) / 2


def log_evidence_of_excess(hits: int, other_hits: int, share: float) -> float:
    """Evidence that rows of one arm are hit more often than those of the other.

    Were both hit alike, each hit would fall on the arm with the probability of its share of the rows, whatever the rate
    of hits does in the meantime; so only the hits are looked at.

    Args:
        hits: Of the arm.
        other_hits: Of the other.
        share: Share of all rows that the arm has, between 0 and 1. Exact for a share that is fixed beforehand; with the
            share that was come to, it is an approximation that the tests of this module measure.

    Source: Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 35 (2022), with a one-sided
    mixture over `ODDS`.
    """
    return _log_bets(hits, other_hits, share, ODDS)


def log_evidence_of_less(hits: int, other_hits: int, share: float) -> float:
    """Evidence that rows of one arm are hit less often than those of the other; see `log_evidence_of_excess`."""
    return _log_bets(hits, other_hits, share, 1 / ODDS)


def _log_bets(hits: int, other_hits: int, share: float, odds: FloatArray) -> float:
    if not 0 < share < 1:
        return 0.0
    chance = share * odds / (1 - share + share * odds)
    return _log_mean(hits * np.log(chance / share) + other_hits * np.log((1 - chance) / (1 - share)))


def log_evidence_of_rise(differences: FloatArray) -> float:
    """Evidence that the mean of differences (n,), each from -1 to 1, is above 0.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024), with
    a mixture over `STAKES`.
    """
    return _log_mean(np.log1p(np.outer(STAKES, differences)).sum(axis=1))


def _log_mean(logs: FloatArray) -> float:
    highest = logs.max()
    return float(highest + np.log(np.exp(logs - highest).mean()))


def rate_interval(hits: int, rows: int, *, planned: int, level: float) -> Interval:
    """Rates (0 to 1) that so many hits among so many rows allow; at each end the level is `level`.

    Args:
        hits: Rows that were hit.
        rows: All rows.
        planned: Rows at which the interval is to be narrowest for a low rate. It keeps its level at any number.
        level: Probability, at each end, that the rate is ever outside.

    Source: the beta-binomial mixture of Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric,
    nonasymptotic confidence sequences", Annals of Statistics 49 (2021), section 3.
    """
    misses = rows - hits
    prior_hits, prior_misses = 0.5, max(planned / 4, 0.5)
    mixed = _log_beta(hits + prior_hits, misses + prior_misses) - _log_beta(prior_hits, prior_misses)

    def is_ruled_out(rate: float) -> bool:
        return mixed - _times_log(hits, rate) - _times_log(misses, 1 - rate) >= -math.log(level)

    seen = hits / rows if rows else 0.5
    return Interval(low=_boundary(is_ruled_out, 0.0, seen), high=_boundary(is_ruled_out, 1.0, seen))


def _boundary(is_outside: Callable[[float], bool], outside: float, inside: float) -> float:
    if not is_outside(outside):
        return outside
    for _ in range(_HALVINGS):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if is_outside(middle) else (outside, middle)
    return outside


def _times_log(count: int, value: float) -> float:
    if count == 0:
        return 0.0
    return count * math.log(value) if value > 0 else -math.inf


def _log_beta(first: float, second: float) -> float:
    return math.lgamma(first) + math.lgamma(second) - math.lgamma(first + second)


def mean_difference(first: Moments, second: Moments, *, planned: int, level: float) -> Interval:
    """What the mean of the first may exceed that of the second by, if both are samples of their own.

    Args:
        first: Numbers of one arm.
        second: Numbers of the other.
        planned: Count of the smaller at which the interval is to be narrowest.
        level: Probability that the difference is ever outside, once the counts are large enough for means to be nearly
            normal; before that the interval is a poor one.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
    confidence sequences", Annals of Statistics 52 (2024), theorem 2.2 and section 2.3.
    """
    rows = min(first.count, second.count)
    if rows < 2:  # noqa: PLR2004  # a variance needs two
        return Interval(low=-math.inf, high=math.inf)
    variance = first.variance / first.count + second.variance / second.count
    at_plan = -2 * math.log(level) + math.log(1 - 2 * math.log(level))
    progress = at_plan * rows / planned
    width = math.sqrt(variance * 2 * (1 + 1 / progress) * math.log(math.sqrt(progress + 1) / level))
    apart = first.mean - second.mean
    return Interval(low=apart - width, high=apart + width)
