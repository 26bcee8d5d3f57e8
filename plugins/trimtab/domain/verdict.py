"""Whether a model is still true: findings about its inputs, its predictions and its errors.

The null is the reference's own days: real days wobble more than independent rows would, and a rule that ignores it
alarms all year. Every signal is a number a day; its mean over the last day and the last week is compared with its
mean and spread over the reference's days, and the number of false alarms that the user accepts in a year is spread
over all the comparisons of a year.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

import numpy as np

from trimtab.domain.drift import jensen_shannon_distance
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import PREDICTION, DayErrors, Profile, Reference, total
from trimtab.domain.spec import MonitorSpec

HORIZONS = (1, 7)
"""Days that a comparison pools: one for what breaks at once, a week for what creeps and follows the weekday."""
DAYS_PER_YEAR = 365
MIN_REFERENCE_DAYS = 10
"""Below it the spread between days is unknown to more than a quarter (chi distribution, 9 degrees of freedom)."""
MIN_FREEDOM = 3.0
"""Degrees of freedom below which the t distribution has no variance to speak of."""
SMALLEST_DISTANCE = 1e-4
"""Distances are compared on a log scale; below this two profiles are the same."""

SignalKind = Literal["input", "prediction", "error"]


class Status(StrEnum):
    """Result of a judgement."""

    OK = "ok"
    DRIFT = "drift"
    DECAY = "decay"
    NOT_ENOUGH_DATA = "not_enough_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One signal at one horizon against its null."""

    kind: SignalKind
    signal: str
    horizon_days: int
    value: float | None
    """What was seen; None if it could not be judged."""
    expected: float | None
    """Geometric mean over the reference's own days."""
    limit: float | None
    """What no change would exceed, given the budget; None if it could not be judged."""
    flagged: bool
    note: str = ""
    """Why there is no limit, where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All findings of a day and what they come to."""

    status: Status
    findings: tuple[Finding, ...]

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """Findings beyond their limit."""
        return tuple(finding for finding in self.findings if finding.flagged)

    @property
    def summary(self) -> str:
        """One sentence with the numbers that decided."""
        if self.status is Status.NOT_ENOUGH_DATA:
            return "Not enough data: " + "; ".join(sorted({f.note for f in self.findings if f.note})) + "."
        if not self.flagged:
            return f"Nothing beyond its limit in {len(self.findings)} comparisons."
        deciding = [f for f in self.flagged if f.kind == "error"] or list(self.flagged)
        noted = len(self.flagged) - len(deciding)
        sentences = [
            f"{f.signal} over {f.horizon_days} d is {f.value:.3g}, expected {f.expected:.3g}, limit {f.limit:.3g}"
            for f in deciding
        ]
        return "; ".join([*sentences, *([f"{noted} notes about inputs and predictions"] if noted else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What has been seen since the model went live, most recent day last."""

    profiles: Mapping[str, Profile]
    """ISO day: profile of the scored rows, up to the day that is judged."""
    errors: Mapping[str, DayErrors]
    """ISO day: errors of the days whose labels have arrived."""


class DecisionRule(Protocol):
    """The seam for other rules."""

    def judge(self, reference: Reference, current: Current, spec: MonitorSpec) -> Verdict:
        """Findings and verdict for the last day of `current`."""
        ...


class ReferenceDaysRule:
    """Compares each signal's recent mean with its own days in the reference, on a log scale, one-sided."""

    def judge(self, reference: Reference, current: Current, spec: MonitorSpec) -> Verdict:
        """Findings for the errors first, then for prediction and inputs."""
        signals = [_error_signal(reference, current), *_profile_signals(reference, current)]
        notes = len(signals) - 1
        budget = spec.false_alarms_per_year / DAYS_PER_YEAR / len(HORIZONS)
        findings = [
            _compare(signal, horizon, budget if signal.kind == "error" else budget / notes, spec)
            for signal in signals
            for horizon in HORIZONS
        ]
        return Verdict(status=_status(findings), findings=tuple(findings))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signal:
    """A number a day, as its logarithm."""

    kind: SignalKind
    name: str
    reference: FloatArray
    current: FloatArray


def _error_signal(reference: Reference, current: Current) -> _Signal:
    return _Signal(
        kind="error",
        name="mean absolute error",
        reference=_log([errors.mae for _, errors in sorted(reference.errors.items())]),
        current=_log([errors.mae for _, errors in sorted(current.errors.items())]),
    )


def _profile_signals(reference: Reference, current: Current) -> Sequence[_Signal]:
    whole = total(list(reference.days.values()))
    return [
        _Signal(
            kind="prediction" if name == PREDICTION else "input",
            name=f"distance of {name}",
            reference=_log(_own_distances(name, reference, whole)),
            current=_log(
                [
                    jensen_shannon_distance(day.columns[name].masses, whole.columns[name].masses)
                    for _, day in sorted(current.profiles.items())
                ]
            ),
        )
        for name in reference.bins
    ]


def _own_distances(name: str, reference: Reference, whole: Profile) -> list[float]:
    """Distance of each reference day from all the others."""
    masses = whole.columns[name].masses
    days = [day.columns[name].masses for _, day in sorted(reference.days.items())]
    return [jensen_shannon_distance(day, masses - day) for day in days]


def _log(values: list[float]) -> FloatArray:
    return np.log(np.maximum(np.array(values, dtype=np.float64), SMALLEST_DISTANCE))


def _compare(signal: _Signal, horizon: int, alpha: float, spec: MonitorSpec) -> Finding:
    seen = len(signal.current) >= horizon
    known = len(signal.reference) >= MIN_REFERENCE_DAYS
    expected = float(np.exp(signal.reference.mean())) if len(signal.reference) else None
    value = float(np.exp(signal.current[-horizon:].mean())) if seen else None
    limit = None
    if known and expected is not None:
        limit = float(np.exp(_upper_limit(signal.reference, horizon, alpha)))
        limit = max(limit, expected * (1 + spec.smallest_change) if signal.kind == "error" else spec.smallest_shift)
    return Finding(
        kind=signal.kind,
        signal=signal.name,
        horizon_days=horizon,
        value=value,
        expected=expected,
        limit=limit,
        flagged=value is not None and limit is not None and value > limit,
        note=_what_lacks(signal, horizon, seen=seen, known=known),
    )


def _what_lacks(signal: _Signal, horizon: int, *, seen: bool, known: bool) -> str:
    if not known:
        return f"the reference has {len(signal.reference)} days of {signal.name}, {MIN_REFERENCE_DAYS} are needed"
    if not seen:
        return f"{len(signal.current)} of {horizon} days seen of {signal.name}"
    return ""


def _upper_limit(reference: FloatArray, horizon: int, alpha: float) -> float:
    """What the mean of `horizon` further days exceeds with probability alpha, if they are like the reference (n,).

    A t interval for a future mean of a first-order autoregressive series, with the variance of its means and the
    effective number of reference days.

    Source: Box, Jenkins, Reinsel, "Time Series Analysis", ch. 2 (variance of a mean under autocorrelation); the
    correction of the lag-1 autocorrelation r by (1 + 4 r) / n is Marriott & Pope, Biometrika 41 (1954).
    """
    from scipy.special import stdtrit  # 0.2 s that reading a verdict need not pay

    count = len(reference)
    correlation = _autocorrelation(reference)
    own = _variance_factor(count, correlation)
    spread = reference.std(ddof=1) * np.sqrt(_variance_factor(horizon, correlation) + own)
    freedom = max(MIN_FREEDOM, 1 / own - 1)
    return float(reference.mean() + stdtrit(freedom, 1 - alpha) * spread)


def _autocorrelation(values: FloatArray) -> float:
    """Lag-1 autocorrelation, corrected for its bias in short series, within [0, 0.9]."""
    centred = values - values.mean()
    variance = float(np.square(centred).sum())
    if variance == 0:
        return 0.0
    raw = min(max(float((centred[1:] * centred[:-1]).sum()) / variance, 0.0), 0.9)
    return min(raw + (1 + 4 * raw) / len(values), 0.9)


def _variance_factor(days: int, correlation: float) -> float:
    """Variance of the mean of so many days over that of one day."""
    lags = np.arange(1, days)
    return float((1 + 2 * ((1 - lags / days) * correlation**lags).sum()) / days)


def _status(findings: Sequence[Finding]) -> Status:
    if any(finding.flagged and finding.kind == "error" for finding in findings):
        return Status.DECAY
    if any(finding.flagged for finding in findings):
        return Status.DRIFT
    if any(finding.note for finding in findings if finding.kind == "error"):
        return Status.NOT_ENOUGH_DATA
    return Status.OK
