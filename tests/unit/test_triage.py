"""Every drill on a made-up model is called what it is, and broken data never leads to a retraining."""

from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.binning import bins_of
from trimtab.domain.broken_data import other_unit
from trimtab.domain.change import COSTLY, Levels, change_point, have_grown
from trimtab.domain.counting import profile, profile_column
from trimtab.domain.diagnosis import Advice, Bug, Evidence, Intake, Kind, Triage
from trimtab.domain.drills import DRILLS, Batch, Target
from trimtab.domain.metrics import DayErrors, FloatArray, day_errors
from trimtab.domain.profiles import PREDICTION, ColumnBins, ColumnProfile, Profile, Reference
from trimtab.domain.reference_days import ReferenceDaysRule
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.triage import triage
from trimtab.domain.verdict import Current, Finding, Measure, SignalKind, Status, Verdict

TARGET = Target(numeric=("size", "age"), categorical=("colour",), costly="size", harmless="age")
DAYS = [(date(2013, 1, 1) + timedelta(days=number)).isoformat() for number in range(56 + 35 + 7)]
KNOWN, LIVE, DRILLED = DAYS[:56], DAYS[56:91], DAYS[91:]


def day_of(seed: int, rows: int = 1000) -> Batch:
    """Labels are the size and the colour's worth; their noise grows with the size."""
    random = np.random.default_rng(seed)
    size = random.gamma(4.0, 10.0, rows)
    colour = random.choice(np.array(["red", "green", "blue"], dtype=object), rows, p=[0.5, 0.3, 0.2])
    y_true = size + 20 * (colour == "red") + random.normal(0, 1, rows) * size / 4
    return Batch(rows={"size": size, "age": random.normal(40, 10, rows), "colour": colour}, y_true=y_true)


def predicted(batch: Batch) -> FloatArray:
    """By a model that knows the truth, and takes a missing or unknown value for the mean one."""
    size = np.nan_to_num(np.asarray(batch.rows["size"], dtype=np.float64), nan=40.0)
    red = np.array([{"red": 20.0, "green": 0.0, "blue": 0.0}.get(colour, 10.0) for colour in batch.rows["colour"]])
    answer: FloatArray = size + red + batch.prediction_shift * batch.y_true.std()
    return answer


@cache
def reference() -> Reference:
    batches = {day: day_of(number) for number, day in enumerate(KNOWN)}
    names = list(batches[KNOWN[0]].rows)
    whole = {name: np.concatenate([batch.rows[name] for batch in batches.values()]) for name in names}
    bins = bins_of({**whole, PREDICTION: np.concatenate([predicted(batch) for batch in batches.values()])})
    return Reference(
        bins=bins,
        days={day: counted(batch, bins) for day, batch in batches.items()},
        errors={day: day_errors("regression", batch.y_true, predicted(batch), {}) for day, batch in batches.items()},
    )


def counted(batch: Batch, bins: object = None) -> Profile:
    return profile({**batch.rows, PREDICTION: predicted(batch)}, bins or reference().bins)  # type: ignore[arg-type]


def said(drill: str | tuple[str, ...] | None, days: int, *, with_labels: bool = True) -> Triage:
    """What triage says after so many drilled days."""
    return triage(evidence(drill, days, with_labels=with_labels))


def evidence(drill: str | tuple[str, ...] | None, days: int, *, with_labels: bool = True, by: float = 0.0) -> Evidence:
    """Of so many drilled days; `by` is added to their predictions, in standard deviations of the label."""
    drills = (drill,) if isinstance(drill, str) else drill or ()
    batches = {day: day_of(100 + number) for number, day in enumerate(LIVE)}
    for number, day in enumerate(DRILLED[:days]):
        today, before = day_of(200 + number), batches[max(batches)]
        random = np.random.default_rng(1)
        for name in drills:
            today = DRILLS[name].inject(today, before, TARGET, random)
        batches[day] = replace(today, prediction_shift=today.prediction_shift + by)
    last = max(batches)
    errors = {day: day_errors("regression", one.y_true, predicted(one), {}) for day, one in batches.items()}
    current = Current(
        profiles={day: counted(batch) for day, batch in batches.items()},
        errors=errors if with_labels else {},
        rows={day: len(batch.y_true) for day, batch in batches.items()},
    )
    verdict = ReferenceDaysRule().judge(reference(), current, MonitorSpec())
    intake = Intake(accepted=len(batches[last].y_true), repeated=batches[last].repeated)
    return Evidence(day=last, reference=reference(), current=current, verdict=verdict, intake=intake)


def over_a_week(*, kind: SignalKind, signal: str, measure: Measure, column: str) -> Finding:
    """Beyond its limit by half."""
    return Finding(
        kind=kind,
        signal=signal,
        horizon_days=7,
        value=3.0,
        expected=1.0,
        limit=2.0,
        flagged=True,
        measure=measure,
        column=column,
    )


@pytest.mark.parametrize("name", [name for name, drill in DRILLS.items() if drill.kind is Kind.DATA_BUG])
def test_broken_data_is_named_on_the_first_day_and_kept_out(name: str) -> None:
    found = said(name, 1)
    assert (found.kind, found.bug, found.advice) == (Kind.DATA_BUG, DRILLS[name].bug, Advice.QUARANTINE)
    assert found.sudden
    assert found.reasons


@pytest.mark.parametrize("name", [name for name, drill in DRILLS.items() if drill.kind is not Kind.DATA_BUG])
def test_shift_is_named_within_a_week(name: str) -> None:
    assert said(name, 7).kind is DRILLS[name].kind


def test_sudden_concept_drift_is_learnt_from_the_days_since() -> None:
    assert (said("concept_drift", 3).window_days, said("concept_drift", 7).window_days) == (None, 7)


def test_days_as_they_always_were_are_nothing() -> None:
    found = said(None, 7)
    assert (found.kind, found.advice, found.summary) == (Kind.NOTHING, Advice.NOTHING, "")


@pytest.mark.parametrize(
    ("name", "bug"), [("renamed_category", Bug.RENAMED_CATEGORY), ("encoding_damage", Bug.ENCODING)]
)
def test_renamed_values_are_named_also_where_no_limit_is_exceeded(name: str, bug: Bug) -> None:
    """A reference with one odd day may have a limit that no share of new values can reach."""
    before = {day: counted(day_of(100 + number)) for number, day in enumerate(LIVE)}
    broken = DRILLS[name].inject(day_of(200), day_of(134), TARGET, np.random.default_rng(1))
    profiles = {**before, DRILLED[0]: counted(broken)}
    of_today = Evidence(
        day=DRILLED[0],
        reference=reference(),
        current=Current(profiles=profiles, errors={}, rows=dict.fromkeys(profiles, 1000)),
        verdict=Verdict(status=Status.OK, findings=()),
    )
    assert triage(of_today).bug is bug


def test_without_labels_a_shift_asks_for_some() -> None:
    found = said("covariate_shift", 7, with_labels=False)
    assert (found.kind, found.advice) == (Kind.COVARIATE_SHIFT, Advice.ASK_FOR_LABELS)


def test_summary_has_kind_pace_numbers_and_what_to_do() -> None:
    found = said("missing_feed", 1)
    assert found.summary == ("data_bug (missing_feed), sudden: 50% of the usual rows have come. Quarantine.")


def test_batch_that_validation_blocks_is_broken() -> None:
    current = Current(profiles={}, errors={})
    verdict = ReferenceDaysRule().judge(reference(), current, MonitorSpec())
    of_today = Evidence(day=DRILLED[0], reference=reference(), current=current, verdict=verdict)
    blocked = replace(of_today, intake=Intake(blocked=True, failures=("too few rows: 3",)))
    assert triage(blocked).bug is Bug.INVALID
    assert triage(blocked).reasons == ("too few rows: 3",)
    unreadable = replace(of_today, intake=Intake(accepted=50, unreadable=50))
    assert triage(unreadable).bug is Bug.ENCODING


def test_label_that_moved_further_than_any_input_is_the_cause() -> None:
    """The size explains much of the label and no more: who moves the label moves the size less, and the reverse."""
    prior, covariate = said("prior_shift", 7), said("covariate_shift", 7)
    assert (prior.kind, prior.advice) == (Kind.PRIOR_SHIFT, Advice.RECALIBRATE)
    assert prior.reasons[1] == "no input has moved further"
    assert (covariate.kind, covariate.advice) == (Kind.COVARIATE_SHIFT, Advice.RETRAIN)


def test_input_that_moved_further_is_the_cause_also_within_its_limits() -> None:
    """One odd day of the reference can widen the limits of an input; the predictions cannot have led it for that."""
    of_today = evidence("covariate_shift", 7)
    within = [replace(f, flagged=f.flagged and f.kind != "input") for f in of_today.verdict.findings]
    only = Verdict(status=Status.DRIFT, findings=tuple(within))
    assert any(finding.kind == "prediction" for finding in only.flagged)
    assert triage(replace(of_today, verdict=only)).kind is Kind.COVARIATE_SHIFT


def test_input_that_the_user_does_not_want_judged_is_no_cause() -> None:
    """A column such as the day's number moves every day, and would hide every prior shift."""
    of_today = evidence("covariate_shift", 7)
    others = Verdict(status=Status.DRIFT, findings=tuple(f for f in of_today.verdict.findings if f.kind != "input"))
    assert triage(replace(of_today, verdict=others)).kind is Kind.PRIOR_SHIFT


@pytest.mark.parametrize(("by", "kind"), [(0.1, Kind.CONCEPT_DRIFT), (0.5, Kind.CHANGED_COMPONENT)])
def test_component_has_changed_only_where_the_predictions_have_moved(by: float, kind: Kind) -> None:
    of_today = evidence(None, 7, by=by)
    grown = over_a_week(kind="error", signal="mean loss", measure="loss", column="")
    assert triage(replace(of_today, verdict=Verdict(status=Status.DECAY, findings=(grown,)))).kind is kind


def test_growth_that_the_inputs_cannot_explain_is_concept_drift() -> None:
    assert "and no input has moved" in said("concept_drift", 7).reasons[-1]
    mixed = said(("benign_shift", *["concept_drift"] * 4), 7)
    assert mixed.kind is Kind.CONCEPT_DRIFT
    assert "of which the inputs can explain" in mixed.reasons[-1]


def test_missing_values_that_only_a_week_shows_are_a_surge_today() -> None:
    """A day of a few rows may be within its limits, and yet must not be learnt from."""
    missing = over_a_week(kind="input", signal="missing values of age", measure="missing", column="age")
    before = {day: counted(day_of(100 + number)) for number, day in enumerate(LIVE)}
    gone = day_of(200)
    ages = np.where(np.arange(1000) < 100, np.nan, np.asarray(gone.rows["age"], dtype=np.float64))
    today = counted(replace(gone, rows={**gone.rows, "age": ages}))
    for profile_of_today, bug in ((today, Bug.MISSING_SURGE), (counted(gone), None)):
        of_today = Evidence(
            day=DRILLED[0],
            reference=reference(),
            current=Current(profiles={**before, DRILLED[0]: profile_of_today}, errors={}),
            verdict=Verdict(status=Status.DRIFT, findings=(missing,)),
        )
        assert triage(of_today).bug is bug


@pytest.mark.parametrize(
    ("predicted_by", "labelled_by", "stood", "followed"),
    [(4.0, 1.0, True, False), (4.0, 3.0, False, True), (4.0, -3.0, True, False), (4.0, -5.0, False, False)],
)
def test_label_stands_where_it_moved_less_than_the_predictions_or_against_them(
    predicted_by: float, labelled_by: float, stood: bool, followed: bool
) -> None:
    levels = Levels(predicted=predicted_by, bias=predicted_by - labelled_by)
    assert (levels.label_stood, levels.label_followed) == (stood, followed)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(-5, 5).filter(lambda step: abs(step) > 1e-3))
def test_change_point_is_where_a_series_steps(before: int, after: int, step: float) -> None:
    assert change_point(np.array([0.0] * before + [step] * after)) == before


def test_errors_have_grown_only_beyond_what_such_days_differ() -> None:
    random = np.random.default_rng(0)

    def days(first: int, count: int, growth: float) -> dict[str, DayErrors]:
        names = [(date(2013, 1, 1) + timedelta(days=first + number)).isoformat() for number in range(count)]
        losses = growth * np.exp(random.normal(0, 0.1, count))
        return {name: DayErrors(rows=500, loss=float(loss), bias=0.0) for name, loss in zip(names, losses, strict=True)}

    grown = [[have_grown(days(0, 28, 1.0), days(28, 7, growth)) for _ in range(300)] for growth in (1.0, 1.2)]
    assert np.mean(grown[0]) <= COSTLY + 3 * np.sqrt(COSTLY / 300)
    assert np.mean(grown[1]) >= 0.9
    assert not have_grown(days(0, 6, 1.0), days(6, 7, 9.0))  # less than a week is nothing to compare with
    assert not have_grown(days(0, 28, 1.0), {})


def numbers(mean: float, sd: float, seed: int = 0, rows: int = 400) -> ColumnProfile:
    values = np.random.default_rng(seed).normal(mean, sd, rows)
    return profile_column(values, ColumnBins(edges=(0.0, 1.0)))


@pytest.mark.parametrize(
    ("mean", "sd", "words"),
    [
        (70 * 1.609344, 10 * 1.609344, "the ratio of miles and kilometres"),
        (70 / 1000, 10 / 1000, "the ratio of a thousand (kilo, milli)"),
        ((70 - 32) / 1.8, 10 / 1.8, "the scales of Fahrenheit and Celsius"),
        (70 * 1.8 + 32, 10 * 1.8, "the scales of Fahrenheit and Celsius"),
        (70 * 8.0, 10 * 8.0, "both 8"),
        (70.0, 10.0, ""),
        (110.0, 10.0, ""),  # a heat wave
        (70.0, 2.0, ""),  # a selection of rows spreads less
    ],
)
def test_other_unit_makes_an_ordinary_day_of_it(mean: float, sd: float, words: str) -> None:
    days = [numbers(70 + 2 * np.sin(day), 10, seed=day) for day in range(56)]
    assert other_unit(days, numbers(mean, sd, seed=99)).startswith(words)
    assert bool(other_unit(days, numbers(mean, sd, seed=99))) == bool(words)


@pytest.mark.parametrize("days", [5, 7])
def test_unit_that_one_day_of_few_rows_does_not_tell_shows_in_the_days_since(days: int) -> None:
    """A day whose own spread varies by as much as units do; today is within its limits, the days since are not."""
    bins = {"size": ColumnBins(edges=tuple(np.arange(0.0, 401.0, 25.0))), PREDICTION: ColumnBins(edges=(0.0, 1.0))}

    def day(number: int, scale: float) -> Profile:
        random = np.random.default_rng(number)
        size = random.normal(100, 20 * np.exp(random.normal(0, 0.3)), 24) * scale
        return profile({"size": size, PREDICTION: random.uniform(0, 1, 24)}, bins)

    frozen = Reference(bins=bins, days={name: day(number, 1.0) for number, name in enumerate(KNOWN)}, errors={})
    names = [*LIVE, *DRILLED[:days]]
    profiles = {name: day(100 + place, 2.54 if name in DRILLED else 1.0) for place, name in enumerate(names)}
    week = Finding(
        kind="input",
        signal="mean of size",
        horizon_days=7,
        value=3.0,
        expected=0.1,
        limit=1.0,
        flagged=True,
        measure="mean",
        column="size",
    )
    evidence = Evidence(
        day=names[-1],
        reference=frozen,
        current=Current(profiles=profiles, errors={}),
        verdict=Verdict(status=Status.DRIFT, findings=(week,)),
    )
    found = triage(evidence)
    assert found.bug is Bug.UNIT_CHANGE
    assert "inches and centimetres" in found.reasons[0]


def test_days_that_differ_by_as_much_as_units_do_tell_no_unit() -> None:
    random = np.random.default_rng(1)
    days = [numbers(10 * scale, 5 * scale, seed=day) for day, scale in enumerate(np.exp(random.normal(0, 0.5, 56)))]
    assert other_unit(days, numbers(10 * 2.54, 5 * 2.54)) == ""


@pytest.mark.parametrize("name", sorted(DRILLS))
def test_the_same_seed_gives_the_same_fault(name: str) -> None:
    first, second = (DRILLS[name].inject(day_of(1), day_of(0), TARGET, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_equal(first.rows, second.rows)
    np.testing.assert_equal(first.y_true, second.y_true)
    assert (first.repeated, first.prediction_shift) == (second.repeated, second.prediction_shift)
