"""The rule alarms within its budget, finds what has grown, and says what it lacks."""

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from trimtab.domain.calibration import Series, logarithm
from trimtab.domain.metrics import DayErrors, Errors, FloatArray
from trimtab.domain.profiles import PREDICTION, ColumnBins, ColumnProfile, Moments, Profile, Reference
from trimtab.domain.reference_days import ReferenceDaysRule, judged
from trimtab.domain.signals import Signals
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.verdict import HORIZONS, Current, Finding, Status, Verdict

RULE, SPEC = ReferenceDaysRule(), MonitorSpec()
START = date(2013, 1, 1)
BINS = {name: ColumnBins(edges=(0.0, 1.0, 2.0)) for name in (PREDICTION, "distance")}


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


def profile_of(random: np.random.Generator, rows: int = 300, shift: float = 0.0, missing: int = 0) -> Profile:
    counts = random.multinomial(rows - missing, np.array([0.5 - shift, 0.5 + shift]))
    column = ColumnProfile(
        counts=(0, *counts.tolist(), 0),
        missing=missing,
        moments=Moments(rows=rows - missing, centre=0.5, total=float((counts[1] - counts[0]) / 2), squares=rows / 4),
    )
    return Profile(rows=rows, columns=dict.fromkeys(BINS, column))


def errors_of(logarithms: FloatArray, first: date = START) -> dict[str, DayErrors]:
    days = names(len(logarithms), first)
    return {
        day: DayErrors(rows=300, loss=float(np.exp(value)), bias=0.0)
        for day, value in zip(days, logarithms, strict=True)
    }


def reference_of(logarithms: FloatArray, random: np.random.Generator) -> Reference:
    days = {day: profile_of(random) for day in names(len(logarithms))}
    return Reference(bins=BINS, days=days, errors=errors_of(logarithms))


def error_alarms(reference: Reference, logarithms: FloatArray) -> list[bool]:
    """Whether the errors are beyond a limit on each day, with the rule's own comparison."""
    known, days = list(reference.errors), names(len(logarithms), date.fromisoformat(max(reference.errors)))
    group = Signals(
        names=("",),
        measure="loss",
        view="frozen",
        scale=logarithm,
        per_row=np.ones(1),
        reference_days=known,
        reference=series_of([reference.errors[day].loss for day in known]),
        days=days,
        series=series_of(np.exp(logarithms)),
        weights=np.ones(1),
    )
    alpha = np.full(1, SPEC.false_decays_per_year / 365 / len(HORIZONS))
    found = judged(group, alpha, SPEC, ends=range(len(days)))
    beyond = [(one.value > one.limit) & (one.direction > 0) for one in found.values()]
    alarms: list[bool] = np.any(beyond, axis=0)[:, 0].tolist()
    return alarms


def series_of(losses: FloatArray | list[float]) -> Series:
    return Series(means=np.array(losses).reshape(-1, 1, 1), rows=np.full((len(losses), 1), 300.0))


def begun(alarms: list[bool]) -> int:
    """Alarms, each counted once, on its first day."""
    return sum(now and not before for before, now in zip([False, *alarms], alarms, strict=False))


def error_findings(verdict: Verdict) -> dict[int, Finding]:
    return {finding.horizon_days: finding for finding in verdict.findings if finding.kind == "error"}


def test_verdict_and_the_shortcut_of_these_tests_agree() -> None:
    random = np.random.default_rng(1)
    reference = reference_of(autoregressive(random, 40, 0.4), random)
    grown = autoregressive(random, 40, 0.4) + np.linspace(0, 1.2, 40)
    alarms = error_alarms(reference, grown)
    for day in range(40):
        current = Current(profiles={}, errors=errors_of(grown[: day + 1], date.fromisoformat(max(reference.errors))))
        assert (RULE.judge(reference, current, SPEC).status is Status.DECAY) is alarms[day]
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
    assert np.mean(alarms) <= SPEC.false_decays_per_year + 3 * deviation


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
    assert f"mean loss over 7 d is 25, expected {week.expected:.3g}, limit {week.limit:.3g}" in verdict.summary


def judged_inputs(shift: float = 0.0, missing: int = 0, days: int = 7, spec: MonitorSpec = SPEC) -> Verdict:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    profiles = {day: profile_of(random, shift=shift, missing=missing) for day in names(days)}
    return RULE.judge(reference, Current(profiles=profiles, errors=errors_of(np.full(days, np.log(10)))), spec)


def test_moved_inputs_alone_are_drift_and_not_decay() -> None:
    verdict = judged_inputs(shift=0.25)
    assert verdict.status is Status.DRIFT
    assert {finding.kind for finding in verdict.flagged} == {"prediction", "input"}
    assert {(finding.measure, finding.column) for finding in verdict.flagged} == {
        (measure, column) for measure in ("mean", "shares") for column in BINS
    }
    mean = next(finding for finding in verdict.flagged if finding.measure == "mean")
    assert mean.value == pytest.approx(0.5, abs=0.1)  # half a standard deviation
    assert mean.rising
    assert "of distance over" in verdict.summary
    assert " sd, expected " in verdict.summary


def test_missing_values_are_a_finding_of_their_own() -> None:
    verdict = judged_inputs(missing=60)
    assert {finding.measure for finding in verdict.flagged} == {"missing"}
    assert "missing values of distance" in verdict.summary


def test_only_the_features_that_matter_are_judged() -> None:
    verdict = judged_inputs(shift=0.25, spec=MonitorSpec(features=("other",)))
    assert {finding.column for finding in verdict.findings if finding.kind != "error"} == {PREDICTION}


def test_finding_that_stands_is_no_news() -> None:
    assert judged_inputs(shift=0.25, days=1).news
    later = judged_inputs(shift=0.25, days=20)
    assert later.status is Status.DRIFT
    assert [finding for finding in later.news if finding.horizon_days == 1] == []


def test_nothing_beyond_a_limit_is_ok_and_says_what_would_have_been_seen() -> None:
    verdict = judged_inputs()
    assert verdict.status is Status.OK
    assert verdict.summary == (
        "Nothing beyond its limit in 21 comparisons; the smallest shift that matters would show in 0 of 2 numbers."
    )
    many = judged_inputs(spec=MonitorSpec(smallest_shift=0.5))
    assert many.summary.endswith("would show in 2 of 2 numbers.")


def test_trailing_reference_sees_a_step_and_forgets_a_slow_drift() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)

    def verdict_after(shifts: FloatArray) -> Verdict:
        days = names(len(shifts), START + timedelta(days=40))
        profiles = {day: profile_of(random, rows=3000, shift=shift) for day, shift in zip(days, shifts, strict=True)}
        return RULE.judge(reference, Current(profiles=profiles, errors={}), SPEC)

    views = [
        {finding.view for finding in verdict_after(shifts).flagged}
        for shifts in (np.repeat([0.0, 0.2], [60, 6]), np.repeat([0.2], [64]), np.repeat([0.0], [64]))
    ]
    assert views == [{"frozen", "trailing"}, {"frozen"}, set()]


def test_one_storm_is_told_once_and_is_no_month_of_drift() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 56, 0.2), random)
    profiles = {day: profile_of(random, rows=3000, shift=0.4 if day == "2013-01-20" else 0.0) for day in names(40)}
    during = RULE.judge(reference, Current(profiles=dict(list(profiles.items())[:20]), errors={}), SPEC)
    after = RULE.judge(reference, Current(profiles=profiles, errors={}), SPEC)
    assert {finding.horizon_days for finding in during.flagged} == {1}
    assert after.flagged == ()


def test_week_is_beyond_its_limit_only_if_more_than_one_day_makes_it() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 56, 0.2), random)

    def flagged(shifted: int, shift: float) -> set[int]:
        days = names(40)
        profiles = {
            day: profile_of(random, shift=shift if number >= 40 - shifted else 0) for number, day in enumerate(days)
        }
        return {f.horizon_days for f in RULE.judge(reference, Current(profiles=profiles, errors={}), SPEC).flagged}

    assert flagged(1, 0.13) == set()  # within the limit of a day, and enough to move the mean of a week
    assert 7 in flagged(7, 0.13)


def test_model_without_champion_has_nothing_to_judge() -> None:
    assert Verdict(status=Status.NOT_ENOUGH_DATA, findings=()).summary == "The model has no champion yet."


def test_batch_of_half_the_rows_is_a_finding_about_the_volume() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    rows = {day: int(random.normal(1000, 20)) for day in names(60)}
    for last, kinds in ((1000, set()), (500, {"volume"}), (2000, {"volume"})):
        current = Current(profiles={}, errors={}, rows={**rows, names(60)[-1]: last})
        assert {finding.kind for finding in RULE.judge(reference, current, SPEC).flagged} == kinds


def test_quiet_weekend_is_no_missing_feed_and_half_a_saturday_is() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    usual = {5: 800, 6: 950}
    rows = {day: int(random.normal(usual.get(date.fromisoformat(day).weekday(), 1000), 10)) for day in names(61)}
    rows["2013-02-08"] = 20  # a day almost without a feed must not hide the next
    assert date.fromisoformat(max(rows)).weekday() == 5
    assert RULE.judge(reference, Current(profiles={}, errors={}, rows=rows), SPEC).flagged == ()
    half = Current(profiles={}, errors={}, rows={**rows, max(rows): 400})
    assert [finding.kind for finding in RULE.judge(reference, half, SPEC).flagged] == ["volume"]


def test_missing_labels_are_no_ok() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    profiles = {day: profile_of(random) for day in names(7)}
    none = RULE.judge(reference, Current(profiles=profiles, errors={}), SPEC)
    assert none.status is Status.NOT_ENOUGH_DATA
    assert "0 of 1 days seen of mean loss; 0 of 28 days seen of mean loss; 0 of 7 days" in none.summary
    few = RULE.judge(reference, Current(profiles=profiles, errors=errors_of(np.full(3, np.log(10)))), SPEC)
    assert few.status is Status.NOT_ENOUGH_DATA
    assert "3 of 7 days seen of mean loss" in few.summary


def test_longest_horizon_may_still_be_filling() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    verdict = RULE.judge(reference, Current(profiles={}, errors=errors_of(np.full(7, np.log(10)))), SPEC)
    assert verdict.status is Status.OK
    assert error_findings(verdict)[28].note == "7 of 28 days seen of mean loss"


def test_slice_is_judged_against_itself() -> None:
    random = np.random.default_rng(0)

    def day(loss: float) -> DayErrors:
        slices = {
            name: Errors(rows=50, loss=value, bias=0.0) for name, value in {"carrier=A": 2.0, "carrier=B": loss}.items()
        }
        noisy = {name: replace(one, loss=one.loss * random.lognormal(0, 0.1)) for name, one in slices.items()}
        return DayErrors(rows=1000, loss=5.0 * random.lognormal(0, 0.1), bias=0.0, slices=noisy)

    reference = Reference(bins={}, days={}, errors={name: day(9.0) for name in names(40)})
    verdict = RULE.judge(reference, Current(profiles={}, errors={name: day(20.0) for name in names(7)}), SPEC)
    assert {finding.signal for finding in verdict.flagged} == {"loss of carrier=B"}
    assert verdict.status is Status.DECAY


def test_reference_of_few_days_is_no_ok() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 9, 0.2), random)
    verdict = RULE.judge(reference, Current(profiles={}, errors=errors_of(np.full(7, np.log(99)))), SPEC)
    assert verdict.status is Status.NOT_ENOUGH_DATA
    assert "the reference has 9 days of mean loss, 10 are needed" in verdict.summary
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
        error_findings(RULE.judge(reference, current, SPEC.model_copy(update={"false_decays_per_year": budget})))[
            7
        ].limit
        for budget in (0.1, 1.0, 12.0)
    ]
    assert limits == sorted((limit for limit in limits if limit is not None), reverse=True)


def test_error_of_zero_has_a_logarithm() -> None:
    random = np.random.default_rng(0)
    reference = reference_of(autoregressive(random, 40, 0.2), random)
    perfect = {day: replace(errors, loss=0.0) for day, errors in errors_of(np.zeros(7)).items()}
    verdict = RULE.judge(reference, Current(profiles={}, errors=perfect), SPEC)
    assert error_findings(verdict)[7].flagged is False
