"""The retraining policy, case by case."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.retraining import (
    Action,
    Situation,
    Trial,
    Trigger,
    accusation,
    decide_retraining,
    may_correct,
    patience,
)
from trimtab.domain.spec import RetrainSpec
from trimtab.domain.verdict import Status

TODAY = date(2013, 5, 20)
POLICY = RetrainSpec(cooldown_days=7, max_per_month=2, max_age_days=90)


def situation(status: Status = Status.OK, **changes: object) -> Situation:
    facts: dict[str, object] = {
        "as_of": TODAY,
        "status": status,
        "summary": "numbers",
        "blocked": False,
        "broken": "",
        "alarm": "",
        "alarmed": (),
        "stale": "a third" if status is Status.DECAY else "",
        "grown": status is Status.DECAY,
        "release_open": False,
        "retrained": (),
        "trials": (),
        "training_days": 1000,
        "trained_on": date(2013, 4, 1),
    }
    return Situation(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "action", "reason"),
    [
        (situation(), Action.NOTHING, "numbers"),
        (situation(Status.NOT_ENOUGH_DATA), Action.NOTHING, "numbers"),
        (
            situation(Status.DRIFT),
            Action.NOTHING,
            "inputs or predictions moved while the errors did not: numbers",
        ),
        (situation(Status.DECAY), Action.RETRAIN, "the model is stale: a third"),
        (
            situation(Status.DECAY, blocked=True),
            Action.INCIDENT,
            "the batch is blocked; broken data is never trained on",
        ),
        (situation(Status.DECAY, broken="data_bug (unit_change)"), Action.INCIDENT, "data_bug (unit_change)"),
        (situation(blocked=True), Action.INCIDENT, "the batch is blocked; broken data is never trained on"),
        (
            situation(Status.DECAY, release_open=True),
            Action.NOTHING,
            "a release is on its way (the model is stale: a third)",
        ),
        (
            situation(Status.DECAY, retrained=[date(2013, 5, 14)]),
            Action.NOTHING,
            "retrained on 2013-05-14, and the wait is 7 days (the model is stale: a third)",
        ),
        (situation(Status.DECAY, retrained=[date(2013, 5, 13)]), Action.RETRAIN, "the model is stale: a third"),
        (
            situation(Status.DECAY, retrained=[date(2013, 4, 21), date(2013, 5, 10)]),
            Action.INCIDENT,
            "2 retrainings within 30 days, and 2 are allowed (the model is stale: a third)",
        ),
        (
            situation(Status.DECAY, retrained=[date(2013, 4, 20), date(2013, 5, 10)]),
            Action.RETRAIN,
            "the model is stale: a third",
        ),
        (
            situation(trained_on=date(2013, 2, 19)),
            Action.RETRAIN,
            "the champion is 90 days old, 90 are allowed",
        ),
        (situation(trained_on=date(2013, 2, 20)), Action.NOTHING, "numbers"),
        (
            situation(trained_on=date(2013, 1, 1), retrained=[date(2013, 5, 19)]),
            Action.NOTHING,
            "retrained on 2013-05-19, and the wait is 7 days (the champion is 139 days old, 90 are allowed)",
        ),
        (
            situation(Status.DRIFT, trained_on=date(2013, 1, 1), release_open=True),
            Action.NOTHING,
            "a release is on its way (the champion is 139 days old, 90 are allowed)",
        ),
        (situation(trained_on=None), Action.NOTHING, "numbers"),
        (situation(Status.DRIFT, alarm="predictions moved"), Action.INCIDENT, "predictions moved"),
        (
            situation(Status.DRIFT, alarm="predictions moved", alarmed=[date(2013, 5, 14)]),
            Action.NOTHING,
            "the incident of 2013-05-14 is younger than the cooldown of 7 days (predictions moved)",
        ),
        (
            situation(Status.DRIFT, alarm="predictions moved", alarmed=[date(2013, 5, 13)]),
            Action.INCIDENT,
            "predictions moved",
        ),
        (
            situation(Status.DECAY, alarm="predictions moved"),
            Action.RETRAIN,
            "the model is stale: a third",
        ),
        (
            situation(Status.DECAY, stale=""),
            Action.RETRAIN,
            "the errors have grown, and the model does not look stale: numbers",
        ),
        (
            situation(Status.DECAY, stale="", retrained=[date(2013, 5, 7)]),
            Action.NOTHING,
            "retrained on 2013-05-07, and the wait is 14 days "
            "(the errors have grown, and the model does not look stale: numbers)",
        ),
    ],
)
def test_policy(case: Situation, action: Action, reason: str) -> None:
    decision = decide_retraining(case, POLICY)
    assert (decision.action, decision.reason) == (action, reason)


REFUSED, WORTH_IT = (Trial(trigger=Trigger.HARDER, worth_it=answer) for answer in (False, True))
MENDED = Trial(trigger=Trigger.STALE, worth_it=True)


def test_champion_may_grow_old_where_no_time_is_set() -> None:
    old = situation(trained_on=date(2000, 1, 1))
    assert decide_retraining(old, RetrainSpec(trial_after_windows=None)).action is Action.NOTHING


@pytest.mark.parametrize(
    ("trials", "factor"),
    [
        ([], 1),
        ([REFUSED], 2),
        ([REFUSED, REFUSED], 4),
        ([REFUSED, REFUSED, WORTH_IT], 0.5),
        ([WORTH_IT, WORTH_IT], 0.5),
        ([WORTH_IT, REFUSED], 1),
        ([REFUSED, REFUSED, MENDED], 1),
        ([WORTH_IT, MENDED], 0.5),
        ([REFUSED, Trial(trigger=Trigger.STALE, worth_it=False)], 2),
    ],
)
def test_trials_wait_for_as_long_as_they_are_not_worth_it(trials: list[Trial], factor: float) -> None:
    assert patience(trials) == factor


@pytest.mark.parametrize(("trials", "days"), [([], 35), ([REFUSED], 70), ([WORTH_IT], 18)])
def test_champion_is_tried_when_a_training_would_learn_from_other_days(trials: list[Trial], days: int) -> None:
    trained_on = date(2013, 1, 1)

    def on(day: int) -> Action:
        case = situation(as_of=trained_on + timedelta(days=day), trained_on=trained_on, trials=trials, training_days=35)
        return decide_retraining(case, RetrainSpec()).action

    assert [on(days - 1), on(days)] == [Action.NOTHING, Action.RETRAIN]


def test_refused_trials_do_not_keep_a_stale_model_waiting() -> None:
    decision = decide_retraining(situation(Status.DECAY, trials=[REFUSED] * 5), POLICY)
    assert (decision.action, decision.trigger) == (Action.RETRAIN, Trigger.STALE)


def test_schedule_counts_from_the_last_training() -> None:
    scheduled = RetrainSpec(every_days=28, trial_after_windows=None)
    assert decide_retraining(situation(trained_on=date(2013, 4, 22)), scheduled).action is Action.RETRAIN
    case = situation(trained_on=date(2013, 4, 22), retrained=[date(2013, 4, 23)])
    assert decide_retraining(case, scheduled).action is Action.NOTHING


def test_drift_asks_for_a_trial_where_it_may() -> None:
    decision = decide_retraining(situation(Status.DRIFT), RetrainSpec(on_drift=True))
    assert (decision.action, decision.trigger) == (Action.RETRAIN, Trigger.DRIFT)
    refused = situation(Status.DRIFT, trials=[REFUSED], retrained=[date(2013, 4, 25)])
    assert decide_retraining(refused, RetrainSpec(on_drift=True)).action is Action.NOTHING


def test_schedule_holds_however_long_a_trial_would_wait() -> None:
    case = situation(
        Status.DECAY, stale="", trained_on=date(2013, 4, 1), retrained=[date(2013, 4, 22)], trials=[REFUSED] * 4
    )
    assert decide_retraining(case, RetrainSpec()).action is Action.NOTHING
    decision = decide_retraining(case, RetrainSpec(every_days=28))
    assert (decision.action, decision.trigger) == (Action.RETRAIN, Trigger.SCHEDULE)


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (situation(), ""),
        (situation(Status.DECAY), "the model is stale: a third"),
        (situation(Status.DECAY, stale=""), "the errors have grown: numbers"),
        (situation(Status.DRIFT), ""),
        (situation(Status.DRIFT, level="prior_shift"), "prior_shift"),
        (situation(Status.DECAY, blocked=True), ""),
        (situation(Status.DECAY, broken="data_bug"), ""),
        (situation(Status.DECAY, release_open=True), ""),
        (situation(Status.DECAY, retrained=[date(2013, 5, 14)]), ""),
        (situation(Status.DECAY, recalibrated=[date(2013, 5, 14)]), ""),
        (
            situation(Status.DECAY, recalibrated=[date(2013, 5, 13)], retrained=[date(2013, 5, 1)] * 4),
            "the model is stale: a third",
        ),
    ],
)
def test_champion_is_accused_by_its_errors_or_triage_unless_it_is_new(case: Situation, why: str) -> None:
    assert accusation(case, POLICY) == why


def test_correction_is_for_a_policy_that_has_it_and_a_gate_that_has_not_just_refused_one() -> None:
    assert may_correct(situation(), POLICY)
    assert not may_correct(situation(), RetrainSpec(recalibrate=False))
    assert may_correct(situation(refused=[date(2013, 5, 13)]), POLICY)
    assert not may_correct(situation(refused=[date(2013, 5, 14)]), POLICY)


def test_trial_that_would_wait_for_weeks_waits_for_a_correction_no_longer_than_its_cooldown() -> None:
    case = situation(Status.DECAY, stale="", trials=[REFUSED] * 3, recalibrated=[date(2013, 5, 13)])
    assert decide_retraining(case, POLICY).action is Action.RETRAIN
    late = situation(Status.DECAY, stale="", trials=[REFUSED] * 3, recalibrated=[date(2013, 5, 14)])
    decision = decide_retraining(late, POLICY)
    assert decision.reason.startswith("recalibrated on 2013-05-14, and the wait is 7 days (the errors have grown")


@given(
    trials=st.lists(st.builds(Trial, trigger=st.sampled_from(Trigger), worth_it=st.booleans()), max_size=20),
    days=st.integers(0, 400),
)
def test_a_world_that_no_training_betters_costs_ever_fewer_trials(trials: list[Trial], days: int) -> None:
    """Whatever has been: one more trial in vain never shortens a wait."""
    in_vain = [*trials, Trial(trigger=Trigger.RENEWAL, worth_it=False)]
    assert patience(in_vain) == 2 * patience(trials)
    case = {"as_of": date(2013, 1, 1) + timedelta(days=days), "trained_on": date(2013, 1, 1), "training_days": 35}
    before, after = (decide_retraining(situation(**case, trials=past), RetrainSpec()) for past in (trials, in_vain))
    assert before.action is Action.RETRAIN or after.action is Action.NOTHING
