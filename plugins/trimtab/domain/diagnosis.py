"""What triage looks at, and what it can say."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from trimtab.domain.profiles import PREDICTION, Profile, Reference, total
from trimtab.domain.verdict import Current, Finding, Measure, Verdict


class Kind(StrEnum):
    """What has happened."""

    NOTHING = "nothing"
    DATA_BUG = "data_bug"
    BENIGN_SHIFT = "benign_shift"
    PRIOR_SHIFT = "prior_shift"
    COVARIATE_SHIFT = "covariate_shift"
    CONCEPT_DRIFT = "concept_drift"
    CHANGED_COMPONENT = "changed_component"
    UNKNOWN = "unknown"


class Bug(StrEnum):
    """How data are broken."""

    INVALID = "invalid"
    UNIT_CHANGE = "unit_change"
    MISSING_SURGE = "missing_surge"
    STUCK_FEED = "stuck_feed"
    MISSING_FEED = "missing_feed"
    DUPLICATED_BATCH = "duplicated_batch"
    RENAMED_CATEGORY = "renamed_category"
    ENCODING = "encoding"


class Advice(StrEnum):
    """What to do."""

    NOTHING = "nothing"
    QUARANTINE = "quarantine"
    """Keep the day out of training and of later comparisons, and open an incident."""
    NOTE = "note"
    RECALIBRATE = "recalibrate"
    RETRAIN = "retrain"
    ASK_FOR_LABELS = "ask_for_labels"
    INCIDENT = "incident"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What ingest and validation have made of the day's batch."""

    blocked: bool = False
    failures: tuple[str, ...] = ()
    """Critical expectations that failed as a whole."""
    accepted: int = 0
    repeated: int = 0
    """Rows set aside because another one has their key."""
    unreadable: int = 0
    """Rows set aside because a value is not of its type."""

    @property
    def rows(self) -> int:
        """All that have come."""
        return self.accepted + self.repeated + self.unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """A verdict of a kind, with its reasons."""

    kind: Kind
    bug: Bug | None = None
    sudden: bool | None = None
    """Whether it came at once rather than bit by bit; None where nothing has."""
    advice: Advice = Advice.NOTHING
    window_days: int | None = None
    """Days that a retraining should learn from, where it should not be those of the spec."""
    reasons: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One sentence; empty where nothing has happened."""
        if self.kind is Kind.NOTHING:
            return ""
        name = f"{self.kind} ({self.bug})" if self.bug else str(self.kind)
        pace = "" if self.sudden is None else ", sudden" if self.sudden else ", gradual"
        return f"{name}{pace}: {'; '.join(self.reasons)}. {self.advice.capitalize().replace('_', ' ')}."


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that triage looks at."""

    day: str
    """ISO day that is judged."""
    reference: Reference
    current: Current
    verdict: Verdict
    intake: Intake = Intake()

    @property
    def today(self) -> Profile | None:
        """Profile of the day that is judged; None if nothing of it has been accepted."""
        return self.current.profiles.get(self.day)

    @cached_property
    def ordinary(self) -> Profile:
        """All days of the reference together; adding them up takes longer than the rest of triage."""
        return total(list(self.reference.days.values()))

    def flagged(self, *measures: Measure) -> list[Finding]:
        """Findings beyond their limits, of some measures."""
        return [finding for finding in self.verdict.flagged if finding.measure in measures]

    def moved_today(self, *measures: Measure) -> list[str]:
        """Columns that are beyond a limit on the last day alone."""
        if self.today is None:
            return []
        names = {f.column for f in self.flagged(*measures) if f.horizon_days == 1 and f.column != PREDICTION}
        return sorted(names)


def largest(findings: Sequence[Finding]) -> list[str]:
    """The two signals furthest beyond their limits, in words."""
    ranked = sorted(findings, key=lambda f: (f.value or 0) / (f.limit or 1), reverse=True)
    names = dict.fromkeys(finding.signal for finding in ranked)
    firsts = [next(finding for finding in ranked if finding.signal == name) for name in list(names)[:2]]
    return [f"{f.signal} {f.value:.3g} over {f.horizon_days} d, limit {f.limit:.3g}" for f in firsts]
