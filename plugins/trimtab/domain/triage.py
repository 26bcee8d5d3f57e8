"""What a verdict means: a bug in the data, a harmless shift, or a world that has changed; and what to do about it.

A pure function of profiles, findings and what validation has set aside. Broken data is looked for first, and each
kind of it has a signature that the world hardly leaves: the same counts as the day before, a number times a constant,
a value that goes as another one comes. Only then is a shift named, by which of P(X), P(Y) and P(Y|X) has moved.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from trimtab.domain.metrics import DayErrors, FloatArray
from trimtab.domain.profiles import PREDICTION, ColumnProfile, Profile, Reference, total
from trimtab.domain.verdict import SOON, Current, Finding, Measure, Verdict

MISSING_SURGE = 0.05
"""Rise of the share of missing values, beyond its limit, that is a fault of the feed rather than of single rows."""
REPEATED = 0.05
"""Share of rows set aside for a repeated key from which on the batch was sent twice, wholly or in part."""
ALL_NEW = 0.95
"""Share of new values from which on it is not one value that has another name."""
RENAMED = 0.8
"""Share of the new values that the values that went must account for."""
SCALES: Mapping[str, float] = {
    "hours and minutes, or minutes and seconds": 60.0,
    "a thousand (kilo, milli)": 1000.0,
    "a hundred (per cent, cents)": 100.0,
    "ten": 10.0,
    "miles and kilometres": 1.609344,
    "feet and metres": 0.3048,
    "inches and centimetres": 2.54,
    "pounds and kilograms": 0.45359237,
    "metres per second and kilometres per hour": 3.6,
    "hours and days": 24.0,
    "degrees Fahrenheit and Celsius": 1.8,
}
"""What a unit change multiplies by, or divides by. Source: the international yard and pound agreement of 1959; SI."""
SCALE_TOLERANCE = 0.04
"""Deviation of a ratio from a known one: the sampling error of a standard deviation of some hundred rows."""
LARGEST_TOLERANCE = 0.2
"""Beyond it, one known ratio is as near as another."""
SMALLEST_SCALE = 1.5
"""Ratio of standard deviations below which it is no other unit: the nearest ones are 1.6 and more apart."""
CAUSE = 0.2
"""Shift of an input, in standard deviations, below which it explains no growth of the errors: Cohen's small effect."""
FOREIGN = 0.2
"""Share of values that the reference never had from which on a person looks before anything is learnt from them."""
LEVEL = 3.5
"""Standard errors of the bias, from the reference's own days, beyond which the level of the label has moved."""
LARGE_SCALE = 5.0
"""Ratio of standard deviations, with means in the same ratio, that is a unit whichever it is."""


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


def triage(evidence: Evidence) -> Triage:
    """Name what has happened, and say what to do."""
    for sign in BUGS:
        found = sign(evidence)
        if found:
            bug, reasons = found
            return Triage(kind=Kind.DATA_BUG, bug=bug, sudden=True, advice=Advice.QUARANTINE, reasons=tuple(reasons))
    return _shift(evidence)


Sign = Callable[[Evidence], tuple[Bug, list[str]] | None]


def _unreadable(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    intake = evidence.intake
    all_rows = intake.accepted + intake.repeated + intake.unreadable
    if intake.unreadable > REPEATED * all_rows:
        return Bug.ENCODING, [f"{intake.unreadable} of {all_rows} rows cannot be read as what they should be"]
    return None


def _repeated(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    intake = evidence.intake
    all_rows = intake.accepted + intake.repeated + intake.unreadable
    if intake.repeated > REPEATED * all_rows:
        return Bug.DUPLICATED_BATCH, [f"{intake.repeated} of {all_rows} rows repeat the key of another one"]
    if evidence.today is None:
        return None
    doubled = [f for f in evidence.flagged("rows") if f.horizon_days == 1 and f.rising]
    if doubled and not evidence.moved_today("mean", "shares", "new", "missing"):
        ratio = _volume_ratio(evidence)
        if abs(ratio - round(ratio)) < 0.1 and round(ratio) > 1:  # noqa: PLR2004  # twice or more the usual rows
            return Bug.DUPLICATED_BATCH, [f"{ratio:.1f} times the usual rows, and no column has moved"]
    return None


def _volume_ratio(evidence: Evidence) -> float:
    rows = evidence.current.rows
    last = max(rows)
    usual = float(np.median([count for day, count in rows.items() if day != last]))
    return rows[last] / usual if usual else math.inf


STILL_DAYS = 7
"""Days before that a stuck feed may repeat."""


def _stuck(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    """The counts of all columns are those of a day of the week before, and these columns have never stood still.

    A column with one value a day, such as the weekday, tells nothing: it is computed from the date.
    """
    days = sorted(evidence.current.profiles)
    if len(days) < 2 or evidence.today is None:  # noqa: PLR2004  # today and a day before
        return None
    today = evidence.today.columns
    moving = [name for name in _never_still(evidence) if sum(map(bool, today[name].counts)) > 1]
    for day in days[-1 - STILL_DAYS : -1]:
        before = evidence.current.profiles[day]
        if len(moving) > 1 and all(today[name].counts == before.columns[name].counts for name in moving):
            return Bug.STUCK_FEED, [f"all {len(moving)} columns have exactly the counts of {day}"]
    return None


def _never_still(evidence: Evidence) -> list[str]:
    """Features whose counts no two days of the reference within a week share: a timetable repeats itself."""
    days = [evidence.reference.days[day] for day in sorted(evidence.reference.days)]
    names = [name for name in evidence.reference.bins if name != PREDICTION]
    pairs = [(a, b) for place, a in enumerate(days) for b in days[place + 1 : place + 1 + STILL_DAYS]]
    return [name for name in names if not any(a.columns[name].counts == b.columns[name].counts for a, b in pairs)]


def _missing_surge(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    today = evidence.today
    if today is None:
        return None
    rising = {f.column for f in evidence.flagged("missing") if f.horizon_days == 1 and f.rising} - {PREDICTION}
    if not rising:
        return None
    ordinary = evidence.ordinary
    shares = {name: (ordinary.columns[name].missing_share, today.columns[name].missing_share) for name in rising}
    surges = {name: both for name, both in shares.items() if both[1] - both[0] > MISSING_SURGE}
    if not surges:
        return None
    return Bug.MISSING_SURGE, [
        f"{name}: {b:.0%} of the values are missing, usually {a:.1%}" for name, (a, b) in sorted(surges.items())
    ]


def _missing_feed(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    fewer = [f for f in evidence.flagged("rows") if f.horizon_days == 1 and not f.rising]
    if not fewer or evidence.today is None:
        return None
    share = math.exp(-(fewer[0].value or 0))
    return Bug.MISSING_FEED, [f"{share:.0%} of the usual rows have come"]


def _renamed(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    today = evidence.today
    if today is None:
        return None
    for name in evidence.moved_today("new"):
        gone = _gone(name, evidence, today)
        new = today.columns[name].new_share
        lost = sum(gone.values())
        if gone and RENAMED * new <= lost <= new / RENAMED:
            largest = max(gone.values())
            one = largest >= RENAMED * new and new < ALL_NEW
            values = ", ".join(map(repr, list(gone)[:3]))
            reason = f"{name}: {new:.0%} of the values are new, as {values}, usually {lost:.0%}, went"
            return Bug.RENAMED_CATEGORY if one else Bug.ENCODING, [reason]
    return None


def _gone(name: str, evidence: Evidence, today: Profile) -> dict[str, float]:
    """Known values that were to be expected and have not come, with their usual shares, the most frequent first."""
    bins, usual, now = evidence.reference.bins[name], evidence.ordinary.columns[name], today.columns[name]
    shares = {value: usual.counts[position] / usual.present for position, value in enumerate(bins.categories)}
    return {
        value: share
        for position, (value, share) in enumerate(shares.items())
        if share * now.present >= 1 and not now.counts[position]
    }


def _unit_change(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    today = evidence.today
    if today is None:
        return None
    reasons = []
    for name in evidence.moved_today("mean", "shares"):
        usual, now = evidence.ordinary.columns[name], today.columns[name]
        words = _other_unit(usual, now) if usual.moments else ""
        if words:
            reasons.append(
                f"{name}: mean {usual.mean:.3g} to {now.mean:.3g}, sd {usual.sd:.3g} to {now.sd:.3g}, {words}"
            )
    return (Bug.UNIT_CHANGE, reasons) if reasons else None


def _other_unit(usual: ColumnProfile, now: ColumnProfile) -> str:
    """How the numbers look like the usual ones in another unit; empty, if they do not."""
    if not (usual.sd > 0 and now.sd > 0):
        return ""
    ratio = now.sd / usual.sd
    tolerance = min(max(SCALE_TOLERANCE, 3 / math.sqrt(2 * max(now.present, 1))), LARGEST_TOLERANCE)
    if max(ratio, 1 / ratio) < SMALLEST_SCALE:
        return ""
    scaled = abs(now.mean - ratio * usual.mean) <= tolerance * (abs(now.mean) + now.sd)
    for words, factor in SCALES.items():
        known = min(abs(math.log(ratio / factor)), abs(math.log(ratio * factor))) <= tolerance
        shifted = factor == 1.8 and _is_temperature(usual, now, tolerance)  # noqa: PLR2004  # has a zero of its own
        if known and (shifted or (scaled and factor != 1.8)):  # noqa: PLR2004
            return f"the ratio of {words}"
    return f"both {ratio:.3g} times as large" if scaled and max(ratio, 1 / ratio) >= LARGE_SCALE else ""


def _is_temperature(usual: ColumnProfile, now: ColumnProfile, tolerance: float) -> bool:
    there, back = 1.8 * usual.mean + 32, (usual.mean - 32) / 1.8
    return min(abs(now.mean - there), abs(now.mean - back)) <= 4 * tolerance * now.sd


def _blocked(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    if not evidence.intake.blocked:
        return None
    return Bug.INVALID, list(evidence.intake.failures) or ["validation has blocked the batch"]


BUGS: Sequence[Sign] = (
    _unreadable,
    _repeated,
    _stuck,
    _missing_feed,
    _renamed,
    _missing_surge,
    _unit_change,
    _blocked,
)


def _shift(evidence: Evidence) -> Triage:
    errors = [finding for finding in evidence.verdict.flagged if finding.kind == "error"]
    inputs = [finding for finding in evidence.verdict.flagged if finding.kind == "input"]
    predictions = [finding for finding in evidence.verdict.flagged if finding.kind == "prediction"]
    causes = [f for f in inputs if (f.value or 0) >= CAUSE]
    if errors:
        return _costly(evidence, errors, causes)
    if [f for f in predictions if (f.value or 0) >= CAUSE] and not causes and not _nearly(evidence):
        return Triage(
            kind=Kind.CHANGED_COMPONENT,
            sudden=_is_sudden(predictions),
            advice=Advice.INCIDENT,
            reasons=("the predictions have moved and no input has", *_largest(predictions)),
        )
    moved = [*inputs, *predictions]
    if moved:
        return _free(evidence, moved)
    volume = evidence.flagged("rows")
    if volume:
        return Triage(kind=Kind.UNKNOWN, sudden=True, advice=Advice.NOTE, reasons=tuple(_largest(volume)))
    return Triage(kind=Kind.NOTHING)


def _free(evidence: Evidence, moved: Sequence[Finding]) -> Triage:
    """Inputs have moved, and the errors have not grown, or nobody knows whether they have."""
    kind, advice, reason = Kind.BENIGN_SHIFT, Advice.NOTE, "inputs have moved and the errors are within their limits"
    level = _levels(evidence, moved)
    if not _errors_are_known(evidence):
        kind, advice = Kind.COVARIATE_SHIFT, Advice.ASK_FOR_LABELS
        reason = "inputs have moved, and no labels say what that costs"
    elif level.of_the_label and _predictions_follow(evidence, level):
        kind, advice, reason = Kind.PRIOR_SHIFT, Advice.RECALIBRATE, level.in_words
    return Triage(kind=kind, sudden=_is_sudden(moved), advice=advice, reasons=(reason, *_largest(moved)))


def _nearly(evidence: Evidence) -> bool:
    """Whether an input has come near its limit, so that it may be behind what the predictions show."""
    return any(
        f.kind == "input" and f.value is not None and f.limit is not None and f.value >= max(CAUSE, f.limit / 2)
        for f in evidence.verdict.findings
    )


def _costly(evidence: Evidence, errors: Sequence[Finding], moved: Sequence[Finding]) -> Triage:
    """The errors have grown: is it the inputs, the level of the label, or what the label depends on."""
    sudden = _is_sudden(errors)
    reasons = list(_largest(errors))
    foreign = _foreign(evidence)
    if foreign:
        return Triage(kind=Kind.UNKNOWN, sudden=sudden, advice=Advice.INCIDENT, reasons=(*reasons, *foreign))
    level = _levels(evidence, errors)
    if not _predictions_follow(evidence, level):
        reasons.append("the predictions have not moved: the label depends on the inputs in another way")
        return Triage(
            kind=Kind.CONCEPT_DRIFT,
            sudden=sudden,
            advice=Advice.RETRAIN,
            window_days=_days_since_step(evidence) if sudden else None,
            reasons=tuple(reasons),
        )
    reasons.append(level.in_words)
    if level.bias_is_off and abs(level.labelled) < abs(level.predicted) / 2:
        reasons.append("the predictions have moved and the labels have not followed")
        return Triage(kind=Kind.CHANGED_COMPONENT, sudden=sudden, advice=Advice.INCIDENT, reasons=tuple(reasons))
    reasons += _largest(moved)
    if level.of_the_label:
        return Triage(kind=Kind.PRIOR_SHIFT, sudden=sudden, advice=Advice.RECALIBRATE, reasons=tuple(reasons))
    return Triage(kind=Kind.COVARIATE_SHIFT, sudden=sudden, advice=Advice.RETRAIN, reasons=tuple(reasons))


def _days_since_step(evidence: Evidence) -> int | None:
    """Last labelled days in a row with a loss above all but a tenth of the reference's days; None below a week."""
    usual = [one.loss for one in evidence.reference.errors.values()]
    bound = float(np.quantile(usual, 0.9)) if usual else math.inf
    recent = [evidence.current.errors[day].loss > bound for day in sorted(evidence.current.errors, reverse=True)]
    count = next((number for number, above in enumerate(recent) if not above), len(recent))
    return count if count >= SOON else None


def _predictions_follow(evidence: Evidence, level: "_Levels") -> bool:
    """Whether the predictions have moved by more than a trifle, so that a change of the inputs has reached them."""
    if any(f.kind == "prediction" and (f.value or 0) >= CAUSE for f in evidence.verdict.flagged):
        return True
    usual = evidence.ordinary.columns.get(PREDICTION)
    return bool(usual and level.predicted_is_off and abs(level.predicted) >= CAUSE * usual.sd)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Levels:
    """How far the means of predictions and labels have moved in the last days with labels."""

    predicted: float = 0.0
    bias: float = 0.0
    predicted_is_off: bool = False
    bias_is_off: bool = False

    @property
    def labelled(self) -> float:
        """The mean label is the mean prediction less the bias."""
        return self.predicted - self.bias

    @property
    def of_the_label(self) -> bool:
        """Whether the label has moved the way of the predictions, and further: more than the inputs explain."""
        return self.bias_is_off and self.predicted * self.labelled > 0 and abs(self.labelled) > abs(self.predicted)

    @property
    def in_words(self) -> str:
        """Both movements."""
        return f"the mean prediction has moved by {self.predicted:+.3g}, the mean label by {self.labelled:+.3g}"


def _levels(evidence: Evidence, findings: Sequence[Finding]) -> _Levels:
    """Over the shortest horizon of the findings, a week at most: what has just begun is not thinned by what was."""
    days = min(SOON, *(finding.horizon_days for finding in findings))
    then = _daily_levels(evidence.reference.days, evidence.reference.errors)
    now = _daily_levels(evidence.current.profiles, evidence.current.errors)[-days:]
    if len(then) < 2 or not len(now):  # noqa: PLR2004  # a spread needs two
        return _Levels()
    moved = now.mean(axis=0) - then.mean(axis=0)
    error = then.std(axis=0, ddof=1) * math.sqrt(1 / len(now) + 1 / len(then))
    off = np.abs(moved) >= LEVEL * error
    return _Levels(
        predicted=float(moved[0]), bias=float(moved[1]), predicted_is_off=bool(off[0]), bias_is_off=bool(off[1])
    )


def _daily_levels(profiles: Mapping[str, Profile], errors: Mapping[str, DayErrors]) -> FloatArray:
    """Mean prediction and bias (d, 2) of the days that have both, in order."""
    days = [day for day in sorted(errors) if day in profiles and PREDICTION in profiles[day].columns]
    return np.array([[profiles[day].columns[PREDICTION].mean, errors[day].bias] for day in days]).reshape(-1, 2)


def _foreign(evidence: Evidence) -> list[str]:
    """Features that are suddenly full of values which the reference never had."""
    today, columns = evidence.today, evidence.moved_today("mean", "shares", "new")
    if today is None:
        return []
    shares = {
        name: np.nan_to_num(today.columns[name].new_share + today.columns[name].out_of_range_share) for name in columns
    }
    return [
        f"{name}: {share:.0%} of the values are new to the model" for name, share in shares.items() if share >= FOREIGN
    ]


def _errors_are_known(evidence: Evidence) -> bool:
    return any(f.kind == "error" and f.limit is not None and f.value is not None for f in evidence.verdict.findings)


def _is_sudden(findings: Iterable[Finding]) -> bool:
    """Whether one day alone is beyond its limit, or the last week differs from the weeks before."""
    return any(finding.horizon_days == 1 or finding.view == "trailing" for finding in findings)


def _largest(findings: Sequence[Finding]) -> list[str]:
    """The two signals furthest beyond their limits, in words."""
    ranked = sorted(findings, key=lambda f: (f.value or 0) / (f.limit or 1), reverse=True)
    names = dict.fromkeys(finding.signal for finding in ranked)
    firsts = [next(finding for finding in ranked if finding.signal == name) for name in list(names)[:2]]
    return [f"{f.signal} {f.value:.3g} over {f.horizon_days} d, limit {f.limit:.3g}" for f in firsts]
