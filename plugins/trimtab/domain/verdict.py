"""Whether a model is still true: findings about its inputs, its predictions and its errors.

The null is the reference's own days (trimtab.domain.calibration). There are two references: the frozen one of the
model version, and the trailing one, the days before those that are judged. A slow drift is absorbed by the trailing
one and kept by the frozen one; a season is seen by the frozen one only. The false alarms that the user accepts in a
year are spread over all the comparisons of a year.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.calibration import (
    Comparison,
    Null,
    Scale,
    Series,
    arcsine,
    compare,
    day_types,
    fit,
    identity,
    logarithm,
    root_shares,
)
from trimtab.domain.metrics import DayErrors, FloatArray
from trimtab.domain.profiles import PREDICTION, ColumnBins, Profile, Reference
from trimtab.domain.spec import MonitorSpec

HORIZONS = (1, 7, 28)
"""Days that a comparison pools: one for what breaks at once, more for what creeps."""
TRAILING_DAYS = 56
"""Days of the trailing reference: eight of each weekday."""
DAYS_PER_YEAR = 365
MIN_REFERENCE_DAYS = 10
"""Below it the spread between days is unknown to more than a quarter (chi distribution, 9 degrees of freedom)."""
MIN_TRAILING_DAYS = 28
ROWS_PER_BIN = 10
"""Rows of an ordinary day that a bin of a distance has at least: with fewer, its share is mostly noise."""
BINS_PER_DISTANCE = 20
SMALLEST_VOLUME_CHANGE = 0.3
"""Share of the usual rows that must be missing, or as many too much: schedules and seasons move the volume by less."""
QUIET_DAYS = 28
"""Days within its limits after which a signal that leaves them is news."""
SOON = 7
"""A verdict about the errors is due when this horizon can be judged; the longest may still be filling."""

SignalKind = Literal["input", "prediction", "volume", "error"]
Measure = Literal["mean", "shares", "missing", "new", "rows", "loss"]
View = Literal["frozen", "trailing"]
Days: TypeAlias = Sequence[str]
Measured: TypeAlias = Callable[[Sequence[Profile], str], tuple[FloatArray, FloatArray]]
"""Means (d, b) and rows (d,) of a column in the profiles of d days."""


class Status(StrEnum):
    """Result of a judgement."""

    OK = "ok"
    DRIFT = "drift"
    DECAY = "decay"
    NOT_ENOUGH_DATA = "not_enough_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One signal at one horizon against one reference."""

    kind: SignalKind
    signal: str
    """What people call it: 'mean of distance', 'loss of carrier=UA'."""
    horizon_days: int
    value: float | None
    """What was seen; None if it could not be judged. A loss is in its unit, all else in standard deviations."""
    expected: float | None
    """What these days would ordinarily give: the loss, or the typical size of a difference."""
    limit: float | None
    """What no change would exceed, given the budget; None if it could not be judged."""
    flagged: bool
    note: str = ""
    """Why there is no limit, where there is none."""
    view: View = "frozen"
    measure: Measure = "loss"
    column: str = ""
    """Feature, 'prediction', or slice; empty for all rows."""
    power: float | None = None
    """Probability of a finding, were the smallest shift that matters there."""
    rising: bool = True
    """Whether a number lies above what is expected."""
    begins: bool = True
    """Whether the signal has been within its limits on the days before, up to 28."""


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
    def news(self) -> tuple[Finding, ...]:
        """Findings beyond their limit whose signal has been quiet before: what nobody has been told yet."""
        return tuple(finding for finding in self.flagged if finding.begins)

    @property
    def summary(self) -> str:
        """One sentence with the numbers that decided."""
        if self.status is Status.NOT_ENOUGH_DATA:
            notes = {f.note for f in self.findings if f.note and f.kind == "error" and not f.column}
            return "Not enough data: " + "; ".join(sorted(notes)) + "."
        if not self.flagged:
            return f"Nothing beyond its limit in {len(self.findings)} comparisons{self._sight}."
        deciding = [f for f in self.flagged if f.kind == "error"] or _furthest(self.flagged)
        noted = len({f.signal for f in self.flagged} - {f.signal for f in deciding})
        sentences = [_in_words(finding) for finding in deciding]
        return "; ".join([*sentences, *([f"{noted} notes about inputs and predictions"] if noted else [])])

    @property
    def _sight(self) -> str:
        """How many features show the smallest shift that matters."""
        means = [f for f in self.findings if f.measure == "mean" and f.power is not None and f.view == "frozen"]
        if not means:
            return ""
        names = {f.column for f in means}
        seen = {f.column for f in means if f.power is not None and f.power >= 0.8}  # noqa: PLR2004  # as in every plan of a trial
        return f"; the smallest shift that matters would show in {len(seen)} of {len(names)} numbers"


def _furthest(findings: Sequence[Finding]) -> list[Finding]:
    """The three signals furthest beyond their limits, each once."""
    by_signal: dict[str, Finding] = {}
    for finding in sorted(findings, key=lambda f: (f.value or 0) / (f.limit or 1), reverse=True):
        by_signal.setdefault(finding.signal, finding)
    return list(by_signal.values())[:3]


def _in_words(finding: Finding) -> str:
    unit = "" if finding.measure == "loss" else " sd"
    against = "" if finding.view == "frozen" else " against the last weeks"
    return (
        f"{finding.signal} over {finding.horizon_days} d is {finding.value:.3g}{unit}{against}, "
        f"expected {finding.expected:.3g}, limit {finding.limit:.3g}"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What has been seen since the model went live, most recent day last."""

    profiles: Mapping[str, Profile]
    """ISO day: profile of the scored rows, up to the day that is judged."""
    errors: Mapping[str, DayErrors]
    """ISO day: errors of the days whose labels have arrived."""
    rows: Mapping[str, int] = field(default_factory=dict)
    """ISO day: rows of the accepted batch, also of days before this version went live."""


class DecisionRule(Protocol):
    """The seam for other rules."""

    def judge(self, reference: Reference, current: Current, spec: MonitorSpec) -> Verdict:
        """Findings and verdict for the last day of `current`."""
        ...


class ReferenceDaysRule:
    """Compares the last day, week and four weeks with what the reference's own days would give."""

    def judge(self, reference: Reference, current: Current, spec: MonitorSpec) -> Verdict:
        """Findings for the errors first, then for volume, prediction and inputs."""
        errors = _error_signals(reference, current)
        inputs = _input_signals(reference, current, spec)
        findings = [
            *_judge(errors, spec, spec.false_decays_per_year),
            *_judge(inputs, spec, spec.false_alarms_per_year),
        ]
        return Verdict(status=_status(findings), findings=tuple(findings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Signals of one measure on the same days, and the reference that they are compared with."""

    names: tuple[str, ...]
    """Columns or slices; empty for all rows."""
    measure: Measure
    view: View
    scale: Scale
    per_row: FloatArray
    """(s,): variance that one independent row contributes on the scale."""
    reference_days: Days
    reference: Series
    days: Days
    series: Series
    weights: FloatArray
    """(s,): share of the budget, in proportion to the others'."""
    horizons: tuple[int, ...] = HORIZONS
    since: str = ""
    """First day seen, where `days` begin later."""

    @property
    def one_sided(self) -> bool:
        """Whether only a rise is bad."""
        return self.measure in ("new", "loss")


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
    before = {
        name: any(_beyond(one, one_sided=group.one_sided)[:-1, position].any() for one in found.values())
        for position, name in enumerate(group.names)
    }
    return [
        _finding(group, position, horizon, found[horizon], begins=not before[name])
        for position, name in enumerate(group.names)
        for horizon in group.horizons
    ]


def judged(group: Signals, alpha: FloatArray, spec: MonitorSpec, ends: Sequence[int]) -> Mapping[int, Comparison]:
    """By horizon, the windows that end on days number `ends` (w) against the group's reference.

    A day that is beyond its limit by itself has been told. Unless its neighbour is too, it is left out of the longer
    windows: one storm is not a month of drift. A window that begins before the first day is nan.
    """
    types = day_types([*group.reference_days, *group.days], list(group.reference_days))
    known = len(group.reference_days)
    ordinals = _ordinals(group.reference_days)
    null = fit(group.reference, types[:known], np.diff(ordinals), group.per_row, group.scale)
    current, days = types[known:], _ordinals(group.days)
    since = date.fromisoformat(group.since or group.days[0]).toordinal()
    settings = {
        "alpha": alpha,
        "floor": _floor(group.measure, spec),
        "shift": spec.smallest_shift,
        "one_sided": group.one_sided,
    }
    single = _compared(null, group.series, current, np.eye(len(days)), settings)
    told = _isolated(_beyond(single, one_sided=group.one_sided))
    rest = Series(means=group.series.means, rows=np.where(told, 0.0, group.series.rows))
    found: dict[int, Comparison] = {}
    for horizon in group.horizons:
        windows = _windows(days, ends, horizon, since)
        series = group.series if horizon == 1 else rest
        found[horizon] = _compared(null, series, current, windows, settings)
    return found


def _floor(measure: Measure, spec: MonitorSpec) -> float:
    """What is no news, on the scale of a measure."""
    if measure == "loss":
        return math.log1p(spec.smallest_change)
    return -math.log(1 - SMALLEST_VOLUME_CHANGE) if measure == "rows" else spec.smallest_shift / 2


def _compared(
    null: Null, series: Series, types: NDArray[np.intp], windows: FloatArray, settings: Mapping[str, object]
) -> Comparison:
    return compare(null, series, types, windows, **settings)  # type: ignore[arg-type]


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


def _ordinals(days: Days) -> NDArray[np.intp]:
    return np.array([date.fromisoformat(day).toordinal() for day in days], dtype=np.intp)


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
    days = _ordinals(group.days)
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
    first, last = _ordinals([group.since or group.days[0], group.days[-1]])
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
    return "prediction" if name == PREDICTION else "input"


def _signal(measure: Measure, name: str) -> str:
    if measure in ("loss", "rows"):
        return f"{measure} of {name}" if name else {"loss": "mean loss", "rows": "number of rows"}[measure]
    words = {"mean": "mean", "shares": "distribution", "missing": "missing values", "new": "new values"}
    return f"{words[measure]} of {name}"


def _error_signals(reference: Reference, current: Current) -> list[Signals]:
    """The loss of all rows, and that of the slices that have enough days: each half of the budget."""
    days = [name for errors in reference.errors.values() for name in errors.slices]
    slices = sorted(name for name, count in Counter(days).items() if count >= MIN_REFERENCE_DAYS)
    return [_loss_signals([""], reference, current), *([_loss_signals(slices, reference, current)] if slices else [])]


def _loss_signals(names: Sequence[str], reference: Reference, current: Current) -> Signals:
    known, days = sorted(reference.errors), sorted(current.errors)
    return Signals(
        names=tuple(names),
        measure="loss",
        view="frozen",
        scale=logarithm,
        per_row=np.ones(len(names)),
        reference_days=known,
        reference=_losses([reference.errors[day] for day in known], names),
        days=days,
        series=_losses([current.errors[day] for day in days], names),
        weights=np.full(len(names), 1 / len(names)),
    )


def _losses(days: Sequence[DayErrors], names: Sequence[str]) -> Series:
    parts = [[day if not name else day.slices.get(name) for name in names] for day in days]
    rows = np.array([[part.rows if part else 0 for part in row] for row in parts], dtype=np.float64)
    loss = np.array([[part.loss if part and part.rows else 1.0 for part in row] for row in parts], dtype=np.float64)
    shape = (len(days), len(names))
    return Series(means=loss.reshape(*shape, 1), rows=rows.reshape(shape))


def _input_signals(reference: Reference, current: Current, spec: MonitorSpec) -> list[Signals]:
    chosen = {*spec.features, PREDICTION} if spec.features else set(reference.bins)
    bins = {name: how for name, how in reference.bins.items() if name in chosen}
    days = sorted(current.profiles)
    groups = [*_volume(current), *_columns(bins, reference.days, current.profiles, "frozen")]
    trailing, latest = _split(days)
    if len(trailing) >= MIN_TRAILING_DAYS:
        before = {day: current.profiles[day] for day in trailing}
        groups += _columns(bins, before, {day: current.profiles[day] for day in latest}, "trailing")
    return groups


def _split(days: Days) -> tuple[Days, Days]:
    """The days of the trailing reference, and those of the last week that is compared with it."""
    latest = [day for day in days if day > _earlier(days[-1], SOON)] if days else []
    return [day for day in days if day not in latest][-TRAILING_DAYS:], latest


def _earlier(day: str, days: int) -> str:
    return (date.fromisoformat(day) - timedelta(days=days)).isoformat()


def _volume(current: Current) -> list[Signals]:
    days = sorted(current.rows)
    trailing, latest = _split(days)
    if len(trailing) < MIN_REFERENCE_DAYS:
        return []
    return [
        _signals(
            "rows",
            "trailing",
            [""],
            (trailing, _amounts(_winsorised(trailing, [current.rows[day] for day in trailing]))),
            (latest, _amounts([current.rows[day] for day in latest])),
            [0.0],
        )
    ]


def _winsorised(days: Days, values: Sequence[int]) -> Sequence[float]:
    """Amounts, those far from their weekday's median drawn in: after a day without a feed, half a feed must be seen.

    Source: three scaled median absolute deviations, Hampel, JASA 69 (1974).
    """
    logs = np.log(np.maximum(np.array(values, dtype=np.float64), 1))
    weekday = np.array([date.fromisoformat(day).weekday() for day in days])
    centre = np.array([np.median(logs[weekday == one]) for one in weekday])
    reach = 3 * 1.4826 * float(np.median(np.abs(logs - centre)))
    drawn: Sequence[float] = np.exp(np.clip(logs, centre - reach, centre + reach)).tolist()
    return drawn


def _amounts(values: Sequence[float]) -> Series:
    means = np.array(values, dtype=np.float64).reshape(-1, 1, 1)
    return Series(means=means, rows=np.ones((len(values), 1)))


def _signals(
    measure: Measure,
    view: View,
    names: Sequence[str],
    reference: tuple[Days, Series],
    current: tuple[Days, Series],
    per_row: Sequence[float],
) -> Signals:
    scales: Mapping[Measure, Scale] = {
        "mean": identity,
        "shares": root_shares,
        "missing": arcsine,
        "new": arcsine,
        "rows": logarithm,
    }
    horizons = HORIZONS if view == "frozen" else (1, SOON)
    return Signals(
        names=tuple(names),
        measure=measure,
        view=view,
        scale=scales[measure],
        per_row=np.array(per_row, dtype=np.float64),
        reference_days=reference[0],
        reference=reference[1],
        days=current[0],
        series=current[1],
        weights=np.ones(len(names)),
        horizons=(1,) if measure in ("new", "rows") else horizons,
        since=reference[0][-1] if view == "trailing" else "",
    )


def _columns(
    bins: Mapping[str, ColumnBins], reference: Mapping[str, Profile], current: Mapping[str, Profile], view: View
) -> list[Signals]:
    """Mean of each number, shares of the bins, missing values, and new values of each category."""
    if not reference:
        return []
    known, days = sorted(reference), sorted(current)
    then, now = [reference[day] for day in known], [current[day] for day in days]
    numbers = [name for name, how in bins.items() if how.edges]
    closed = [name for name, how in bins.items() if not how.edges and not how.others]  # elsewhere new values are usual
    units = {name: _unit(then, name) for name in numbers}
    merged = {name: merged_bins(_mean_counts(then, name)) for name in bins}
    divided = [name for name in bins if merged[name].max(initial=0) > 0]

    def pair(measure: Measure, names: Sequence[str], of: Measured, before: Measured | None = None) -> Signals:
        first, second = _series(then, names, before or of), _series(now, names, of)
        per_row = [float(merged[name].max()) if measure == "shares" else 1.0 for name in names]
        return _signals(measure, view, names, (known, first), (days, second), per_row)

    groups = [
        pair("mean", numbers, lambda profiles, name: _means(profiles, name, units[name])),
        pair("shares", divided, lambda profiles, name: _shares(profiles, name, merged[name])),
        pair("missing", list(bins), _missing),
        pair("new", closed, _new, before=_unknown_to_the_other_half if view == "frozen" else _new),
    ]
    return [group for group in groups if group.names]


def _series(
    profiles: Sequence[Profile],
    names: Sequence[str],
    of: Callable[[Sequence[Profile], str], tuple[FloatArray, FloatArray]],
) -> Series:
    """Means (d, s, b) and rows (d, s) of some columns, padded to the widest."""
    parts = [of(profiles, name) for name in names]
    width = max((means.shape[1] for means, _ in parts), default=1)
    shape = (len(profiles), len(names))
    means = np.zeros((*shape, width))
    rows = np.zeros(shape)
    for position, (values, counted) in enumerate(parts):
        means[:, position, : values.shape[1]] = values
        rows[:, position] = counted
    return Series(means=means, rows=rows)


def _unit(profiles: Sequence[Profile], name: str) -> tuple[float, float]:
    """Mean and standard deviation of a number in all the profiles; 1 where it does not vary."""
    moments = [profile.columns[name].moments for profile in profiles]
    rows = sum(one.rows for one in moments if one)
    if not rows:
        return 0.0, 1.0
    total = sum(one.total for one in moments if one) / rows
    variance = sum(one.squares for one in moments if one) / rows - total * total
    centre = next(one.centre for one in moments if one)
    return centre + total, math.sqrt(variance) if variance > 0 else 1.0


def _means(profiles: Sequence[Profile], name: str, unit: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    columns = [profile.columns[name] for profile in profiles]
    rows = np.array([column.moments.rows if column.moments else 0 for column in columns], dtype=np.float64)
    means = np.array([column.mean for column in columns], dtype=np.float64)
    return np.nan_to_num((means - unit[0]) / unit[1])[:, None], rows


def _missing(profiles: Sequence[Profile], name: str) -> tuple[FloatArray, FloatArray]:
    counts = np.array([[p.columns[name].missing, p.columns[name].rows] for p in profiles], dtype=np.float64).reshape(
        -1, 2
    )
    return _rate(counts[:, 0], counts[:, 1])


def _new(profiles: Sequence[Profile], name: str) -> tuple[FloatArray, FloatArray]:
    counts = np.array([[p.columns[name].new, p.columns[name].present] for p in profiles], dtype=np.float64).reshape(
        -1, 2
    )
    return _rate(counts[:, 0], counts[:, 1])


def _unknown_to_the_other_half(profiles: Sequence[Profile], name: str) -> tuple[FloatArray, FloatArray]:
    """How new the values of each half of the reference would be to its other half."""
    counts = _counts(profiles, name)
    half = len(counts) // 2
    parts = [(counts[:half], counts[half:]), (counts[half:], counts[:half])]
    new = np.concatenate([mine[:, other.sum(axis=0) == 0].sum(axis=1) for mine, other in parts])
    return _rate(new, counts.sum(axis=1))


def _rate(part: FloatArray, whole: FloatArray) -> tuple[FloatArray, FloatArray]:
    return (part / np.maximum(whole, 1))[:, None], whole


def _counts(profiles: Sequence[Profile], name: str) -> FloatArray:
    return np.array([profile.columns[name].counts for profile in profiles], dtype=np.float64)


def _mean_counts(profiles: Sequence[Profile], name: str) -> FloatArray:
    counts: FloatArray = _counts(profiles, name).mean(axis=0)
    return counts


def _shares(profiles: Sequence[Profile], name: str, groups: NDArray[np.intp]) -> tuple[FloatArray, FloatArray]:
    if not profiles:
        return np.zeros((0, 1)), np.zeros(0)
    counts = _counts(profiles, name)
    if profiles[0].columns[name].moments is None:
        counts[:, -1] = 0  # new values are a signal of their own
    merged = counts @ np.eye(groups.max() + 1)[groups]
    rows = merged.sum(axis=1)
    return merged / np.maximum(rows, 1)[:, None], rows


def merged_bins(counts: FloatArray, *, rows: float = ROWS_PER_BIN, bins: int = BINS_PER_DISTANCE) -> NDArray[np.intp]:
    """Groups (k,) of neighbouring bins, so that an ordinary day, with these counts (k,), has some rows in each.

    Of a category the neighbours are about as frequent, so its rare values come together.
    """
    wanted = max(rows, counts.sum() / bins) * (1 - 1e-9)
    groups = np.zeros(len(counts), dtype=np.intp)
    group, held = 0, 0.0
    for position, count in enumerate(counts):
        groups[position] = group
        held += float(count)
        if held >= wanted:
            group, held = group + 1, 0.0
    if held < rows and group > 0:
        groups[groups == group] = group - 1
    return groups


def _status(findings: Sequence[Finding]) -> Status:
    if any(finding.flagged and finding.kind == "error" for finding in findings):
        return Status.DECAY
    if any(finding.flagged for finding in findings):
        return Status.DRIFT
    if any(f.note for f in findings if f.kind == "error" and not f.column and f.horizon_days <= SOON):
        return Status.NOT_ENOUGH_DATA
    return Status.OK
