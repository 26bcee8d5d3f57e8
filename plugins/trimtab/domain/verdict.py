"""What is said of a model's day: findings about its inputs, its predictions and its errors, and what they come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol

from trimtab.domain.metrics import DayErrors
from trimtab.domain.profiles import Profile, Reference
from trimtab.domain.spec import MonitorSpec

HORIZONS = (1, 7, 28)
"""Days that a comparison pools: one for what breaks at once, more for what creeps."""
SOON = 7
"""A verdict about the errors is due when this horizon can be judged; the longest may still be filling."""

SignalKind = Literal["input", "prediction", "slice", "volume", "error"]
Measure = Literal["mean", "shares", "missing", "new", "slice_mean", "rows", "loss"]
View = Literal["frozen", "trailing"]


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
    """What was seen; None if it could not be judged. A loss is in its unit, all else in standard deviations.

    All but a loss are over the horizon without the day that lies furthest off, where it is more than one.
    """
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
    """Feature, 'prediction', or slice, or both as 'distance where carrier=UA'; empty for all rows."""
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
        if not self.findings:
            return "The model has no champion yet."
        if self.status is Status.NOT_ENOUGH_DATA:
            notes = {f.note for f in self.findings if f.note and f.kind == "error" and not f.column}
            return "Not enough data: " + "; ".join(sorted(notes)) + "."
        if not self.flagged:
            return f"Nothing beyond its limit in {len(self.findings)} comparisons{self._sight}."
        deciding = [f for f in self.flagged if f.kind == "error"] or _furthest(self.flagged)
        noted = len({f.signal for f in self.flagged} - {f.signal for f in deciding})
        sentences = [in_words(finding) for finding in deciding]
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


def in_words(finding: Finding) -> str:
    """What was seen, beside what was to be expected."""
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
