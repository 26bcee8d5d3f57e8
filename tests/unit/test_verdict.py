"""The rule alarms within its budget, finds what has grown, and says what it lacks."""

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import PREDICTION, ColumnBins, ColumnProfile, DayErrors, Profile, Reference
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.verdict import Current, Finding, ReferenceDaysRule, Status, Verdict

RULE, SPEC = ReferenceDaysRule(), MonitorSpec()
START = date(2013, 1, 1)
BINS = {PREDICTION: ColumnBins(edges=(0.0, 1.0)), "distance": ColumnBins(edges=(0.0, 1.0))}


def names(days: int, first: date = START) -> list[str]:
    return [(first + timedelta(days=number)).isoformat() for number in range(days)]


def autoregressive(random: np.random.Generator, days: int, correlation: float, spread: float = 0.25) -> FloatArray:
    """Logarithms of daily errors around 10 that remember the day before."""
    shocks = random.normal(0, spread * math.sqrt(1 - correlation**2), days)
    values = np.empty(days)
    values[0] = random.normal(0, spread)
    for day in range(1, days):
        values[day] = correlation * values[day - 1] + shocks[day]
    return np.log(10) + values


def profile_of(random: np.random.Generator, rows: int = 300, shift: float = 0.0) -> Profile:
    shares = np.array([0.3 - shift, 0.3, 0.4 + shift])
    columns = {name: ColumnProfile(counts=tuple(random.multinomial(rows, shares).tolist()), missing=0) for name in BINS}
    return Profile(rows=rows, columns=columns)


def errors_of(logarithms: FloatArray, first: date = START) -> dict[str, DayErrors]:
    days = names(len(logarithms), first)
    return {
        day: DayErrors(rows=300, mae=float(np.exp(value)), bias=0.0)
        for day, value in zip(days, logarithms, strict=True)
    }


def reference_of(logarithms: FloatArray, random: np.random.Generator) -> Reference:
    days = {day: profile_of(random) for day in names(len(logarithms))}
    return Reference(bins=BINS, days=days, errors=errors_of(logarithms))


def error_alarms(reference: Reference, logarithms: FloatArray) -> list[bool]:
    """Whether the errors are beyond a limit on each day, with the limits of the rule itself."""
    seen = Current(profiles={}, errors=errors_of(np.full(7, np.log(10))))
    limits = {
        finding.horizon_days: math.log(finding.limit)
        for finding in RULE.judge(reference, seen, SPEC).findings
        if finding.kind == "error" and finding.limit is not None
    }
    week = np.convolve(logarithms, np.full(7, 1 / 7), "full")[: len(logarithms)]
    week[:6] = -np.inf
    alarms: list[bool] = ((logarithms > limits[1]) | (week > limits[7])).tolist()
    return alarms


def begun(alarms: list[bool]) -> int:
    """Alarms, each counted once, on its first day."""
    return sum(now and not before for before, now in zip([False, *alarms], alarms, strict=False))


def error_findings(verdict: Verdict) -> dict[int, Finding]:
    return {finding.horizon_days: finding for finding in verdict.findings if finding.kind == "error"}


def test_verdict_and_the_shortcut_of_these_tests_agree() -> None:
    random = np.random.default_rng(1)
    reference = reference_of(autoregressive(random, 40, 0.4), random)
    grown = autoregressive(random, 30, 0.4) + np.linspace(0, 1.2, 30)
    alarms = error_alarms(reference, grown)
    for day in range(30):
        verdict = RULE.judge(reference, Current(profiles={}, errors=errors_of(grown[: day + 1])), SPEC)
        assert (verdict.status is Status.DECAY) is alarms[day]
    assert any(alarms)
    assert not all(alarms)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("reference_days", [28, 83])
def test_years_without_change_alarm_within_the_budget(correlation: float, reference_days: int) -> None:
    random = np.random.default_rng(round(correlation * 10) + reference_days)
    alarms = []
    for _ in range(150):
        whole = autoregressive(random, reference_days + 365, correlation)
        reference = reference_of(whole[:reference_days], np.random.default_rng(0))
        alarms.append(begun(error_alarms(reference, whole[reference_days:])))
    deviation = np.std(alarms) / math.sqrt(len(alarms))
    assert np.mean(alarms) <= SPEC.false_alarms_per_year + 3 * deviation


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_growth_by_half_is_mostly_found_within_two_weeks(correlation: float) -> None:
    random = np.random.default_rng(3)
    found = 0
    for _ in range(100):
        whole = autoregressive(random, 56 + 14, correlation, spread=0.15)
        whole[56:] += np.log(1.5)
        reference = reference_of(whole[:56], np.random.default_rng(0))
        found += any(error_alarms(reference, whole[56:]))
    assert found >= 90


def test_doubled_errors_are_decay_with_the_numbers_in_the_summary() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    current = Current(profiles={day: profile_of(random) for day in names(7)}, errors=errors_of(np.full(7, np.log(25))))
    verdict = RULE.judge(reference, current, SPEC)
    assert verdict.status is Status.DECAY
    week = error_findings(verdict)[7]
    assert week.value == pytest.approx(25)
    assert week.limit is not None
    assert week.expected is not None
    assert (
        f"mean absolute error over 7 d is 25, expected {week.expected:.3g}, limit {week.limit:.3g}" in verdict.summary
    )


def test_moved_inputs_alone_are_drift_and_not_decay() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    current = Current(
        profiles={day: profile_of(random, shift=0.25) for day in names(7)}, errors=errors_of(np.full(7, np.log(10)))
    )
    verdict = RULE.judge(reference, current, SPEC)
    assert verdict.status is Status.DRIFT
    assert {finding.signal for finding in verdict.flagged} == {"distance of prediction", "distance of distance"}
    assert {finding.kind for finding in verdict.flagged} == {"prediction", "input"}


def test_nothing_beyond_a_limit_is_ok() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    current = Current(profiles={day: profile_of(random) for day in names(7)}, errors=errors_of(np.full(7, np.log(10))))
    verdict = RULE.judge(reference, current, SPEC)
    assert (verdict.status, verdict.summary) == (Status.OK, "Nothing beyond its limit in 6 comparisons.")


def test_missing_labels_are_no_ok() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    profiles = {day: profile_of(random) for day in names(7)}
    none = RULE.judge(reference, Current(profiles=profiles, errors={}), SPEC)
    assert none.status is Status.NOT_ENOUGH_DATA
    assert none.summary == (
        "Not enough data: 0 of 1 days seen of mean absolute error; 0 of 7 days seen of mean absolute error."
    )
    few = RULE.judge(reference, Current(profiles=profiles, errors=errors_of(np.full(3, np.log(10)))), SPEC)
    assert (few.status, few.summary) == (
        Status.NOT_ENOUGH_DATA,
        "Not enough data: 3 of 7 days seen of mean absolute error.",
    )


def test_reference_of_few_days_is_no_ok() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 9, 0.2), random)
    verdict = RULE.judge(reference, Current(profiles={}, errors=errors_of(np.full(7, np.log(99)))), SPEC)
    assert verdict.status is Status.NOT_ENOUGH_DATA
    assert "the reference has 9 days of mean absolute error, 10 are needed" in verdict.summary
    assert {finding.limit for finding in verdict.findings} == {None}


def test_one_terrible_day_is_found_at_once() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    verdict = RULE.judge(reference, Current(profiles={}, errors=errors_of(np.array([np.log(80)]))), SPEC)
    assert verdict.status is Status.DECAY
    assert [finding.horizon_days for finding in verdict.flagged] == [1]


def test_rise_below_the_smallest_change_is_left_alone() -> None:
    random = np.random.default_rng(0)
    steady = reference_of(autoregressive(random, 60, 0.0, spread=0.01), random)
    current = Current(profiles={}, errors=errors_of(np.full(7, np.log(10.8))))
    assert RULE.judge(steady, current, SPEC).status is Status.DECAY
    tolerant = SPEC.model_copy(update={"smallest_change": 0.1})
    assert RULE.judge(steady, current, tolerant).status is not Status.DECAY


def test_smaller_budget_means_higher_limits() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    current = Current(profiles={}, errors=errors_of(np.full(7, np.log(10))))
    limits = [
        error_findings(RULE.judge(reference, current, SPEC.model_copy(update={"false_alarms_per_year": budget})))[
            7
        ].limit
        for budget in (0.1, 1.0, 12.0)
    ]
    assert limits == sorted((limit for limit in limits if limit is not None), reverse=True)


def test_error_of_zero_has_a_logarithm() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    perfect = {day: replace(errors, mae=0.0) for day, errors in errors_of(np.zeros(7)).items()}
    verdict = RULE.judge(reference, Current(profiles={}, errors=perfect), SPEC)
    assert error_findings(verdict)[7].flagged is False
