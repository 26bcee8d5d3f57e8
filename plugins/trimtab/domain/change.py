"""What has moved, since when, and how far: what the naming of a shift rests on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from trimtab.domain.calibration import Series, day_types, fit, logarithm, ordinals
from trimtab.domain.comparison import compare
from trimtab.domain.diagnosis import Evidence
from trimtab.domain.metrics import DayErrors, FloatArray
from trimtab.domain.profiles import PREDICTION, Profile, total
from trimtab.domain.signals import ROWS_PER_BIN, merged_bins
from trimtab.domain.verdict import HORIZONS, SOON, Finding

CAUSE = 0.2
"""Shift of an input, in standard deviations, below which it explains no growth of the errors: Cohen's small effect."""
LEVEL = 3.5
"""Standard errors of the bias, from the days before, beyond which the level of the label has moved."""
COSTLY = 0.05
"""Probability of taking errors for grown that have not: one question, asked once inputs are known to have moved."""
RECENT_DAYS = max(HORIZONS)
"""Days since a change that are looked at, and days before it."""
Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is beyond its limit, and since when."""

    evidence: Evidence

    @cached_property
    def errors(self) -> list[Finding]:
        """Findings that the errors have grown."""
        return self._flagged("error")

    @cached_property
    def inputs(self) -> list[Finding]:
        """Findings that inputs have moved, be it by a trifle."""
        return self._flagged("input")

    @property
    def judged_inputs(self) -> frozenset[str]:
        """All inputs that the user wants judged, beyond their limits or not."""
        return frozenset(finding.column for finding in self.evidence.verdict.findings if finding.kind == "input")

    @cached_property
    def predictions(self) -> list[Finding]:
        """The same about the predictions."""
        return self._flagged("prediction")

    @cached_property
    def causes(self) -> list[Finding]:
        """Inputs that have moved so far that the errors may depend on it."""
        return [finding for finding in self.inputs if (finding.value or 0) >= CAUSE]

    @cached_property
    def effects(self) -> list[Finding]:
        """Predictions that have moved as far."""
        return [finding for finding in self.predictions if (finding.value or 0) >= CAUSE]

    @property
    def moved(self) -> list[Finding]:
        """Inputs and predictions."""
        return [*self.inputs, *self.predictions]

    def _flagged(self, kind: str) -> list[Finding]:
        return [finding for finding in self.evidence.verdict.flagged if finding.kind == kind]

    @cached_property
    def since(self) -> str:
        """First day (ISO) after the change point of the signal that is furthest beyond its limit."""
        furthest = max(self.moved, key=lambda f: (f.value or 0) / (f.limit or 1), default=None)
        if furthest is None:
            days = list(self._labelled)
            return days[-2 * RECENT_DAYS :][change_point(self._log_losses)] if days else self.evidence.day
        profiles, name = self.evidence.current.profiles, furthest.column
        how, days = self.evidence.reference.bins[name], sorted(profiles)[-2 * RECENT_DAYS :]
        counts = np.array([how.coarsen(profiles[day].columns[name]).masses for day in days])
        usual = how.coarsen(self.evidence.ordinary.columns[name]).masses
        way = roots(counts[-furthest.horizon_days :].sum(axis=0)) - roots(usual)
        return days[change_point(roots(counts) @ way)]

    @property
    def days_since_step(self) -> int | None:
        """Labelled days since the loss has changed; None below a week."""
        count = len(self._log_losses) - change_point(self._log_losses)
        return count if count >= SOON else None

    @cached_property
    def _labelled(self) -> Mapping[str, DayErrors]:
        return {day: errors for day, errors in sorted(self.evidence.current.errors.items()) if errors.rows}

    @cached_property
    def _log_losses(self) -> FloatArray:
        """Of the last labelled days (d,)."""
        return np.log([max(errors.loss, 1e-9) for errors in list(self._labelled.values())[-2 * RECENT_DAYS :]])

    @cached_property
    def days(self) -> tuple[Mapping[str, Profile], Mapping[str, Profile]]:
        """Profiles before and since the change; those of the reference, if there is less than a week before."""
        before, recent = self._parts(self.evidence.current.profiles)
        return (before if len(before) >= SOON else self.evidence.reference.days), recent

    @cached_property
    def losses(self) -> tuple[Mapping[str, DayErrors], Mapping[str, DayErrors]]:
        """The same of the errors."""
        before, recent = self._parts(self._labelled)
        return (before if len(before) >= SOON else self.evidence.reference.errors), recent

    def _parts(self, values: Mapping[str, Value]) -> tuple[Mapping[str, Value], Mapping[str, Value]]:
        before = [day for day in sorted(values) if day < self.since][-RECENT_DAYS:]
        recent = [day for day in sorted(values) if day >= self.since][-RECENT_DAYS:]
        return {day: values[day] for day in before}, {day: values[day] for day in recent}

    @cached_property
    def totals(self) -> tuple[Profile, Profile] | None:
        """All rows before and since the change; None if there are none."""
        before, recent = self.days
        return (total(list(before.values())), total(list(recent.values()))) if before and recent else None

    @cached_property
    def is_costly(self) -> bool:
        """Whether the errors are beyond a limit, or have grown since the change."""
        return bool(self.errors) or have_grown(*self.losses)

    @cached_property
    def growth(self) -> float:
        """Mean loss since the change over that before, less 1; 0 without labels."""
        if not all(self.losses):
            return 0.0
        before, recent = (
            sum(one.loss * one.rows for one in part.values()) / max(sum(one.rows for one in part.values()), 1)
            for part in self.losses
        )
        return recent / before - 1 if before else math.inf

    @cached_property
    def levels(self) -> "Levels":
        """How far the means of predictions and labels have moved, on the days that have labels."""
        then, now = (_daily_levels(days, losses) for days, losses in zip(self.days, self.losses, strict=True))
        if len(then) < 2 or not len(now):  # noqa: PLR2004  # a spread needs two
            return Levels()
        moved = now.mean(axis=0) - then.mean(axis=0)
        error = then[:, 1].std(ddof=1) * math.sqrt(1 / len(now) + 1 / len(then))
        return Levels(predicted=float(moved[0]), bias=float(moved[1]), off=bool(abs(moved[1]) >= LEVEL * error))

    def divergence(self, name: str) -> float:
        """Of a column since the change from the days before: 2 sqrt(2) Hellinger distances, less the sampling noise.

        On bins that hold some rows each, since what two histograms do not resolve is not seen as a difference.
        """
        first, second = self._counts(name)
        if not first.sum() or not second.sum():
            return 0.0
        noise = (np.count_nonzero(first + second) - 1) * (1 / first.sum() + 1 / second.sum())
        return math.sqrt(max(0.0, 4 * float(np.square(roots(first) - roots(second)).sum()) - noise))

    def reach(self, name: str) -> float:
        """Pearson's divergence of a column since the change from the days before, less the sampling noise."""
        first, second = self._counts(name)
        if not first.sum() or not second.sum():
            return 0.0
        p, q = first / first.sum(), second / second.sum()
        if (q[p == 0] > 0).any():
            return math.inf
        known = p > 0
        noise = (np.count_nonzero(known) - 1) / float(second.sum())
        return max(0.0, float((np.square(q - p)[known] / p[known]).sum()) - noise)

    def _counts(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Rows before and since the change, on bins that hold some of each."""
        if self.totals is None:
            return np.zeros(1), np.zeros(1)
        usual, now = (part.columns[name] for part in self.totals)
        expected = usual.masses * (min(now.rows, usual.rows) / max(usual.rows, 1))
        groups = merged_bins(expected, rows=ROWS_PER_BIN, bins=len(expected))
        member = np.eye(int(groups.max()) + 1)[groups]
        return usual.masses @ member, now.masses @ member


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """How far the means of predictions and labels have moved."""

    predicted: float = 0.0
    bias: float = 0.0
    off: bool = False
    """Whether the bias has moved by more than chance."""

    @property
    def labelled(self) -> float:
        """The mean label is the mean prediction less the bias."""
        return self.predicted - self.bias

    @property
    def label_followed(self) -> bool:
        """Whether the label has moved the way of the predictions, by more than half as much."""
        return self.labelled * self.predicted > 0 and not self.label_stood

    @property
    def label_stood(self) -> bool:
        """Whether the label has moved by less than half as much as the predictions, or by less the other way.

        A label that moves the way of the predictions may be what they have followed. What moves both at once, as the
        weather does, leaves the smaller of two movements in different directions with what has stood.
        """
        same = self.labelled * self.predicted > 0
        return abs(self.labelled) <= abs(self.predicted) / (2 if same else 1)

    @property
    def in_words(self) -> str:
        """Both movements."""
        return f"the mean prediction has moved by {self.predicted:+.3g}, the mean label by {self.labelled:+.3g}"


def roots(counts: FloatArray) -> FloatArray:
    """Roots of the shares of histograms (..., k); 0 where there are no rows."""
    found: FloatArray = np.sqrt(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1))
    return found


def change_point(series: FloatArray) -> int:
    """Position of the first of the last values of a series (n,) that differ most from those before; 0 below two.

    Source: the likelihood ratio for one change of a normal mean, Sen & Srivastava, Annals of Statistics 3 (1975).
    """
    count = len(series)
    if count < 2:  # noqa: PLR2004  # nothing before
        return 0
    before = np.arange(1, count)
    sums = np.cumsum(series)
    gaps = (sums[-1] - sums[:-1]) / (count - before) - sums[:-1] / before
    return int(np.argmax(np.abs(gaps) * np.sqrt(before * (count - before)))) + 1


def have_grown(before: Mapping[str, DayErrors], recent: Mapping[str, DayErrors]) -> bool:
    """Whether recent days' losses are above those of the days before, by more than such days differ anyway."""
    known, days = sorted(before), sorted(recent)
    if len(known) < SOON or not days:
        return False
    types = day_types([*known, *days], known)
    null = fit(_losses(before), types[: len(known)], np.diff(ordinals(known)), np.ones(1), logarithm)
    window = np.ones((1, len(days)))
    found = compare(
        null, _losses(recent), types[len(known) :], window, alpha=COSTLY, floor=0.0, shift=0.0, one_sided=True
    )
    return bool(found.value[0, 0] > found.limit[0, 0] and found.direction[0, 0] > 0)


def _losses(errors: Mapping[str, DayErrors]) -> Series:
    days = [errors[day] for day in sorted(errors)]
    means = np.array([day.loss for day in days]).reshape(-1, 1, 1)
    return Series(means=means, rows=np.array([[float(day.rows)] for day in days]))


def _daily_levels(profiles: Mapping[str, Profile], errors: Mapping[str, DayErrors]) -> FloatArray:
    """Mean prediction and bias (d, 2) of the days that have both, in order."""
    days = [day for day in sorted(errors) if day in profiles and PREDICTION in profiles[day].columns]
    return np.array([[profiles[day].columns[PREDICTION].mean, errors[day].bias] for day in days]).reshape(-1, 2)
