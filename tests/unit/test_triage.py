"""Every drill on a made-up model is called what it is, and broken data never leads to a retraining."""

from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import pytest

from trimtab.domain.drills import DRILLS, Batch, Target
from trimtab.domain.metrics import FloatArray, day_errors
from trimtab.domain.profiles import PREDICTION, Profile, Reference, bins_of, profile
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.triage import Advice, Bug, Evidence, Intake, Kind, Triage, triage
from trimtab.domain.verdict import Current, ReferenceDaysRule

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


def said(drill: str | None, days: int, *, with_labels: bool = True) -> Triage:
    """What triage says after so many drilled days."""
    batches = {day: day_of(100 + number) for number, day in enumerate(LIVE)}
    for number, day in enumerate(DRILLED[:days]):
        today, before = day_of(200 + number), batches[max(batches)]
        random = np.random.default_rng(1)
        batches[day] = DRILLS[drill].inject(today, before, TARGET, random) if drill else today
    last = max(batches)
    errors = {day: day_errors("regression", one.y_true, predicted(one), {}) for day, one in batches.items()}
    current = Current(
        profiles={day: counted(batch) for day, batch in batches.items()},
        errors=errors if with_labels else {},
        rows={day: len(batch.y_true) for day, batch in batches.items()},
    )
    verdict = ReferenceDaysRule().judge(reference(), current, MonitorSpec())
    intake = Intake(accepted=len(batches[last].y_true), repeated=batches[last].repeated)
    return triage(Evidence(day=last, reference=reference(), current=current, verdict=verdict, intake=intake))


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


def test_without_labels_a_shift_asks_for_some() -> None:
    found = said("covariate_shift", 7, with_labels=False)
    assert (found.kind, found.advice) == (Kind.COVARIATE_SHIFT, Advice.ASK_FOR_LABELS)


def test_summary_has_kind_pace_numbers_and_what_to_do() -> None:
    found = said("missing_feed", 1)
    assert found.summary == ("data_bug (missing_feed), sudden: 50% of the usual rows have come. Quarantine.")


def test_batch_that_validation_blocks_is_broken() -> None:
    current = Current(profiles={}, errors={})
    verdict = ReferenceDaysRule().judge(reference(), current, MonitorSpec())
    evidence = Evidence(day=DRILLED[0], reference=reference(), current=current, verdict=verdict)
    blocked = replace(evidence, intake=Intake(blocked=True, failures=("too few rows: 3",)))
    assert triage(blocked).bug is Bug.INVALID
    assert triage(blocked).reasons == ("too few rows: 3",)
    unreadable = replace(evidence, intake=Intake(accepted=50, unreadable=50))
    assert triage(unreadable).bug is Bug.ENCODING


@pytest.mark.parametrize("name", sorted(DRILLS))
def test_the_same_seed_gives_the_same_fault(name: str) -> None:
    first, second = (DRILLS[name].inject(day_of(1), day_of(0), TARGET, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_equal(first.rows, second.rows)
    np.testing.assert_equal(first.y_true, second.y_true)
    assert (first.repeated, first.prediction_shift) == (second.repeated, second.prediction_shift)
