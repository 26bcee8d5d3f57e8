"""What is measured of a model's days, and the days that it is compared with.

Of each column the mean, the shares of at most twenty bins, missing values and new values; beside them the number of
rows, the means within large slices, and the loss of all rows and of each slice. There are two references: the frozen
one of the model version, and the trailing one, the days before those that are judged.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.calibration import Scale, Series, arcsine, identity, logarithm, root_shares
from trimtab.domain.metrics import DayErrors, FloatArray
from trimtab.domain.profiles import PREDICTION, ColumnBins, Profile, Reference
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.verdict import HORIZONS, SOON, Current, Measure, View

TRAILING_DAYS = 56
"""Days of the trailing reference: eight of each weekday."""
MIN_REFERENCE_DAYS = 10
"""Below it the spread between days is unknown to more than a quarter (chi distribution, 9 degrees of freedom)."""
MIN_TRAILING_DAYS = 28
ROWS_PER_BIN = 10
"""Rows of an ordinary day that a bin of a distance has at least: with fewer, its share is mostly noise."""
BINS_PER_DISTANCE = 20

Days: TypeAlias = Sequence[str]
Measured: TypeAlias = Callable[[Sequence[Profile], str], tuple[FloatArray, FloatArray]]
"""Means (d, b) and rows (d,) of a column in the profiles of d days."""


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


def error_signals(reference: Reference, current: Current) -> list[Signals]:
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


def input_signals(reference: Reference, current: Current, spec: MonitorSpec) -> list[Signals]:
    """Volume, inputs and predictions against both references."""
    chosen = {*spec.features, PREDICTION} if spec.features else set(reference.bins)
    bins = {name: how for name, how in reference.bins.items() if name in chosen}
    days = sorted(current.profiles)
    groups = [*_volume(current), *_columns(bins, reference.days, current.profiles, "frozen")]
    trailing, latest = _split(days)
    if len(trailing) >= MIN_TRAILING_DAYS:
        before = {day: current.profiles[day] for day in trailing}
        now = {day: current.profiles[day] for day in latest}
        groups += _columns(bins, before, now, "trailing")
        groups += _slices(bins, before, now, whole=sum(len(group.names) for group in groups))
    return groups


def _slices(
    bins: Mapping[str, ColumnBins], before: Mapping[str, Profile], now: Mapping[str, Profile], whole: int
) -> list[Signals]:
    """Means of the numbers in large slices. However many there are, all together have half of the budget at most."""
    seen = Counter((name, part) for day in before.values() for part, means in day.slice_means.items() for name in means)
    pairs = sorted(pair for pair, days in seen.items() if days >= MIN_TRAILING_DAYS and pair[0] in bins)
    if not pairs:
        return []
    units = {name: _unit(list(before.values()), name) for name in {name for name, _ in pairs}}

    def means(profiles: Mapping[str, Profile]) -> tuple[Days, Series]:
        days = sorted(profiles)
        found = np.array(
            [[profiles[day].slice_means.get(part, {}).get(name, (0, 0.0)) for name, part in pairs] for day in days],
            dtype=np.float64,
        )
        centre, spread = np.array([units[name] for name, _ in pairs]).T
        standard = np.where(found[:, :, 0] > 0, (found[:, :, 1] - centre) / spread, 0.0)
        return days, Series(means=standard[:, :, None], rows=found[:, :, 0])

    names = [f"{name} where {part}" for name, part in pairs]
    group = _signals("slice_mean", "trailing", names, means(before), means(now), [1.0] * len(names))
    return [replace(group, weights=np.full(len(names), min(1.0, whole / len(names))))]


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
        "slice_mean": identity,
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
