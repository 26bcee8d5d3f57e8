"""Broken data, by signatures that the world hardly leaves.

The counts of a day before, half of the usual rows, a value that goes as another one comes, a surge of missing values, a
number in another unit.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TypeAlias

import numpy as np

from trimtab.domain.change import Change
from trimtab.domain.diagnosis import Bug, Evidence
from trimtab.domain.profiles import PREDICTION, ColumnProfile, Profile
from trimtab.domain.verdict import HORIZONS, SOON

SURGE = 0.05
"""Rise of the share of missing or new values that is a fault of the feed rather than of single rows."""
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
}
"""What a unit change multiplies by, or divides by. Source: the international yard and pound agreement of 1959; SI."""
ORDINARY = 3.0
"""Standard deviations of the reference's days about their mean within which a day is ordinary."""
MIN_DAYS = 10
"""Reference days below which their spread is unknown to more than a quarter."""
LARGE_SCALE = 5.0
"""Ratio of means and of standard deviations that is a unit whichever it is."""

Sign: TypeAlias = Callable[[Evidence], tuple[Bug, list[str]] | None]


def _unreadable(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    intake = evidence.intake
    if intake.unreadable > REPEATED * intake.rows:
        return Bug.ENCODING, [f"{intake.unreadable} of {intake.rows} rows cannot be read as what they should be"]
    return None


def _repeated(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    intake = evidence.intake
    if intake.repeated > REPEATED * intake.rows:
        return Bug.DUPLICATED_BATCH, [f"{intake.repeated} of {intake.rows} rows repeat the key of another one"]
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
    """Values are missing today, and by more than chance today or in the days with it."""
    today = evidence.today
    if today is None:
        return None
    rising = {f.column for f in evidence.flagged("missing") if f.rising} - {PREDICTION}
    if not rising:
        return None
    ordinary = evidence.ordinary
    shares = {name: (ordinary.columns[name].missing_share, today.columns[name].missing_share) for name in rising}
    surges = {name: both for name, both in shares.items() if both[1] - both[0] > SURGE}
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
    for name in sorted({*evidence.moved_today("new"), *_surges_of_new(evidence, today)}):
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


def _surges_of_new(evidence: Evidence, today: Profile) -> list[str]:
    """Categories with far more new values than on any day before: one odd day of the reference can widen the limit."""
    before = [profile for day, profile in evidence.current.profiles.items() if day < evidence.day]
    categories = [name for name, bins in evidence.reference.bins.items() if bins.categories] if before else []
    return [
        name
        for name in categories
        if today.columns[name].new_share - max(one.columns[name].new_share for one in before) > SURGE
    ]


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
    """Today is an ordinary day in another unit, or, where a day tells too little, so are the days since the change.

    What is ordinary the reference says, and, since the season moves on, the days before the change.
    """
    if evidence.today is None:
        return None
    found = _other_units(evidence, evidence.moved_today("mean", "shares"), evidence.day)
    if not found:
        moved = {finding.column for finding in evidence.flagged("mean", "shares")} - {PREDICTION}
        since = Change(evidence=evidence).since if moved else evidence.day
        found = _other_units(evidence, sorted(moved), since) if since < evidence.day else []
    return (Bug.UNIT_CHANGE, found) if found else None


def _other_units(evidence: Evidence, names: Sequence[str], since: str) -> list[str]:
    """The columns that since a day, for a week at most, are what as many days have been before, in another unit."""
    profiles = evidence.current.profiles
    last = [day for day in sorted(profiles) if day >= since][-SOON:]
    before = [profiles[day] for day in sorted(profiles) if day < since][-max(HORIZONS) :]
    reference = [evidence.reference.days[day] for day in sorted(evidence.reference.days)]
    reasons = []
    for name in names:
        now = _sum([profiles[day].columns[name] for day in last])
        for days in (reference, before) if now.moments else ():
            usual = _in_a_row([day.columns[name] for day in days], len(last))
            words = other_unit(usual, now)
            if words:
                whole = _sum([day.columns[name] for day in days])
                reasons.append(
                    f"{name}: mean {whole.mean:.3g} to {now.mean:.3g}, sd {whole.sd:.3g} to {now.sd:.3g}, {words}"
                )
                break
    return reasons


def _in_a_row(columns: Sequence[ColumnProfile], days: int) -> Sequence[ColumnProfile]:
    return [_sum(columns[end - days : end]) for end in range(days, len(columns) + 1)]


def _sum(columns: Sequence[ColumnProfile]) -> ColumnProfile:
    return reduce(lambda a, b: a + b, columns)


def other_unit(days: Sequence[ColumnProfile], now: ColumnProfile) -> str:
    """How a day's numbers look like the reference's own days in another unit; empty, if they do not.

    In that unit both mean and spread are ordinary, three standard deviations of the days about their mean, and a spread
    that is ordinary in the one unit cannot be in the other. Where it has shrunk, so must the mean have moved: rows that
    were selected spread less, too.
    """
    spread = [day for day in days if day.sd > 0]
    if len(spread) < MIN_DAYS or not now.sd > 0:
        return ""
    means, logs = np.array([day.mean for day in spread]), np.log([day.sd for day in spread])
    sampling = np.array([math.exp(logs.mean()), 1.0]) / math.sqrt(now.present)
    reach = ORDINARY * np.maximum([means.std(ddof=1), logs.std(ddof=1)], sampling)
    if math.log(now.sd) < logs.mean() and abs(now.mean - means.mean()) <= reach[0]:
        return ""

    def distance(scale: float, zero: float = 0.0) -> float:
        """Of the day in another unit from an ordinary one; above 1, it is none."""
        if abs(math.log(scale)) <= 2 * reach[1]:
            return math.inf
        off = np.array([(now.mean - zero) / scale - means.mean(), math.log(now.sd / scale) - logs.mean()])
        return float(np.abs(off / reach).max())

    known = {f"the ratio of {words}": min(distance(by), distance(1 / by)) for words, by in SCALES.items()}
    known["the scales of Fahrenheit and Celsius"] = min(distance(1.8, 32.0), distance(1 / 1.8, -32 / 1.8))
    best = min(known, key=lambda words: known[words])
    if known[best] <= 1:
        return best
    ratios = (now.sd / math.exp(logs.mean()), now.mean / means.mean() if means.mean() else 1.0)
    large = [ratio for ratio in ratios if ratio > 0 and abs(math.log(ratio)) >= math.log(LARGE_SCALE)]
    return next((f"both {ratio:.3g} times as large" for ratio in large if distance(ratio) <= 1), "")


def _blocked(evidence: Evidence) -> tuple[Bug, list[str]] | None:
    if not evidence.intake.blocked:
        return None
    return Bug.INVALID, list(evidence.intake.failures) or ["validation has blocked the batch"]


SIGNS: Sequence[Sign] = (
    _unreadable,
    _repeated,
    _stuck,
    _missing_feed,
    _renamed,
    _missing_surge,
    _unit_change,
    _blocked,
)
