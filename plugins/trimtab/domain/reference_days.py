"""The rule by which a model is judged: the reference's own days are the null (trimtab.domain.calibration, ADR 9).

A slow drift is absorbed by the trailing reference and kept by the frozen one; a season is seen by the frozen one only.
The false alarms that the user accepts in a year are spread over all the comparisons of a year.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.calibration import Series, day_types, fit, ordinals
from trimtab.domain.comparison import Comparison, compare, without_furthest_day
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import PREDICTION, Reference
from trimtab.domain.signals import MIN_REFERENCE_DAYS, Signals, error_signals, input_signals
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.verdict import HORIZONS, SOON, Current, Finding, Measure, SignalKind, Status, Verdict

DAYS_PER_YEAR = 365
SMALLEST_VOLUME_CHANGE = 0.3
"""Share of the usual rows that must be missing, or as many too much: schedules and seasons move the volume by less."""
QUIET_DAYS = 28
"""Days within its limits after which a signal that leaves them is news."""


class ReferenceDaysRule:
    """Compares the last day, week and four weeks with what the reference's own days would give."""

    def judge(self, reference: Reference, current: Current, spec: MonitorSpec) -> Verdict:
        """Findings for the errors first, then for volume, prediction and inputs."""
        errors = error_signals(reference, current)
        inputs = input_signals(reference, current, spec)
        findings = [
            *_judge(errors, spec, spec.false_decays_per_year),
            *_judge(inputs, spec, spec.false_alarms_per_year),
        ]
        return Verdict(status=_status(findings), findings=tuple(findings))


def _judge(groups: Sequence[Signals], spec: MonitorSpec, budget: float) -> list[Finding]:
    whole = sum(float(group.weights.sum()) for group in groups)
    return [
        finding
        for group in groups
        for finding in _findings(group, budget * group.weights / whole / DAYS_PER_YEAR / len(HORIZONS), spec)
    ]


def _findings(group: Signals, alpha: FloatArray, spec: MonitorSpec) -> list[Finding]:
    enough = len(group.reference_days) >= MIN_REFERENCE_DAYS
    if not enough or not group.days:
        names = enumerate(group.names)
        return [_unknown(group, position, name, horizon) for position, name in names for horizon in group.horizons]
    last = len(group.days) - 1
    found = judged(group, alpha, spec, ends=range(max(0, last - QUIET_DAYS), last + 1))
    known = np.any([_beyond(one, one_sided=group.one_sided)[:-1].any(axis=0) for one in found.values()], axis=0)
    return [
        _finding(group, position, horizon, found[horizon], begins=not known[position])
        for position in range(len(group.names))
        for horizon in group.horizons
    ]


def judged(group: Signals, alpha: FloatArray, spec: MonitorSpec, ends: Sequence[int]) -> Mapping[int, Comparison]:
    """By horizon, the windows that end on days number `ends` (w) against the group's reference.

    A day that is beyond its limit by itself has been told. Unless its neighbour is too, it is left out of the longer
    windows: one storm is not a month of drift. Those of the inputs must also do without the day that lies furthest
    their way; what errors have cost is cost, in one day or in seven. A window that begins before the first day is nan.
    """
    types = day_types([*group.reference_days, *group.days], list(group.reference_days))
    known = len(group.reference_days)
    null = fit(group.reference, types[:known], np.diff(ordinals(group.reference_days)), group.per_row, group.scale)
    current, days = types[known:], ordinals(group.days)
    since = date.fromisoformat(group.since or group.days[0]).toordinal()
    compared = partial(
        compare,
        null,
        types=current,
        alpha=alpha,
        floor=_floor(group.measure, spec),
        shift=spec.smallest_shift,
        one_sided=group.one_sided,
    )
    single = compared(group.series, windows=np.eye(len(days)))
    told = _isolated(_beyond(single, one_sided=group.one_sided))
    rest = Series(means=group.series.means, rows=np.where(told, 0.0, group.series.rows))
    found: dict[int, Comparison] = {}
    for horizon in group.horizons:
        windows = _windows(days, ends, horizon, since)
        series = group.series if horizon == 1 else rest
        if group.measure != "loss":
            windows = without_furthest_day(null, series, current, windows)
        found[horizon] = compared(series, windows=windows)
    return found


def _floor(measure: Measure, spec: MonitorSpec) -> float:
    """What is no news, on the scale of a measure."""
    if measure == "loss":
        return math.log1p(spec.smallest_change)
    return -math.log(1 - SMALLEST_VOLUME_CHANGE) if measure == "rows" else spec.smallest_shift / 2


def _windows(days: NDArray[np.intp], ends: Sequence[int], horizon: int, since: int) -> FloatArray:
    """(w, d): the calendar days of each window; none, if it begins before the first day or ends before there is one."""
    windows = np.zeros((len(ends), len(days)))
    for row, end in enumerate(ends):
        if end >= 0 and days[end] - horizon + 1 >= since:
            windows[row] = (days > days[end] - horizon) & (days <= days[end])
    return windows


def _isolated(told: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Days (d, s) that are told, and whose neighbours are not."""
    edge = np.zeros((1, told.shape[1]), dtype=np.bool_)
    isolated: NDArray[np.bool_] = told & ~np.vstack([edge, told[:-1]]) & ~np.vstack([told[1:], edge])
    return isolated


def _beyond(found: Comparison, *, one_sided: bool) -> NDArray[np.bool_]:
    beyond: NDArray[np.bool_] = found.value > found.limit
    return beyond & (found.direction > 0) if one_sided else beyond


def _unknown(group: Signals, position: int, name: str, horizon: int) -> Finding:
    signal = _signal(group.measure, name)
    known = len(group.reference_days)
    lacks = f"the reference has {known} days of {signal}, {MIN_REFERENCE_DAYS} are needed"
    return Finding(
        kind=_kind(group.measure, name),
        signal=signal,
        horizon_days=horizon,
        value=_plain_loss(group, position, horizon) if group.measure == "loss" else None,
        expected=None,
        limit=None,
        flagged=False,
        note=lacks if known < MIN_REFERENCE_DAYS else _seen(0, horizon, signal),
        view=group.view,
        measure=group.measure,
        column=name,
    )


def _plain_loss(group: Signals, position: int, horizon: int) -> float | None:
    """Mean loss of the last window's rows, where it has been seen whole."""
    if not group.days:
        return None
    days = ordinals(group.days)
    rows = _windows(days, [len(days) - 1], horizon, int(days[0]))[0] * group.series.rows[:, position]
    return float(group.series.means[:, position, 0] @ rows / rows.sum()) if rows.sum() else None


def _seen(days: int, horizon: int, signal: str) -> str:
    return f"{days} of {horizon} days seen of {signal}"


def _finding(group: Signals, position: int, horizon: int, found: Comparison, *, begins: bool) -> Finding:
    name = group.names[position]
    signal = _signal(group.measure, name)
    value, noise, limit = (float(part[-1, position]) for part in (found.value, found.noise, found.limit))
    known = math.isfinite(value)
    rising = bool(found.direction[-1, position] >= 0)
    first, last = ordinals([group.since or group.days[0], group.days[-1]])
    span = int(last - first) + 1
    seen: tuple[float | None, float | None, float | None] = (value, noise, limit) if known else (None, None, None)
    if group.measure == "loss" and known:
        expected = float(found.expected[-1, position])
        seen = (expected * math.exp(value if rising else -value), expected, expected * math.exp(limit))
    return Finding(
        kind=_kind(group.measure, name),
        signal=signal,
        horizon_days=horizon,
        value=seen[0],
        expected=seen[1],
        limit=seen[2],
        flagged=bool(_beyond(found, one_sided=group.one_sided)[-1, position]),
        note="" if known else _seen(min(span, horizon - 1), horizon, signal),
        view=group.view,
        measure=group.measure,
        column=name,
        power=float(found.power[-1, position]) if known and group.measure != "loss" else None,
        rising=rising,
        begins=begins,
    )


def _kind(measure: Measure, name: str) -> SignalKind:
    if measure == "loss":
        return "error"
    if measure == "rows":
        return "volume"
    if measure == "slice_mean":
        return "slice"
    return "prediction" if name == PREDICTION else "input"


def _signal(measure: Measure, name: str) -> str:
    if measure in ("loss", "rows"):
        return f"{measure} of {name}" if name else {"loss": "mean loss", "rows": "number of rows"}[measure]
    words = {"shares": "distribution", "missing": "missing values", "new": "new values"}
    return f"{words.get(measure, 'mean')} of {name}"


def _status(findings: Sequence[Finding]) -> Status:
    if any(finding.flagged and finding.kind == "error" for finding in findings):
        return Status.DECAY
    if any(finding.flagged for finding in findings):
        return Status.DRIFT
    if any(f.note for f in findings if f.kind == "error" and not f.column and f.horizon_days <= SOON):
        return Status.NOT_ENOUGH_DATA
    return Status.OK
