"""The retraining policy, case by case."""

from datetime import date

import pytest

from trimtab.domain.retraining import Action, Situation, decide_retraining
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
        "stale": "a third",
        "release_open": False,
        "retrained": (),
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
            "retrained on 2013-05-14, and the cooldown is 7 days (the model is stale: a third)",
        ),
        (situation(Status.DECAY, retrained=[date(2013, 5, 13)]), Action.RETRAIN, "the model is stale: a third"),
        (
            situation(Status.DECAY, retrained=[date(2013, 4, 21), date(2013, 5, 10)]),
            Action.INCIDENT,
            "the model is stale after 2 retrainings within 30 days, and 2 are allowed: a third",
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
            "retrained on 2013-05-19, and the cooldown is 7 days (the champion is 139 days old, 90 are allowed)",
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
            situation(Status.DECAY, stale="", retrained=[date(2013, 4, 23)]),
            Action.NOTHING,
            "retrained on 2013-04-23, and the cooldown is 28 days "
            "(the errors have grown, and the model does not look stale: numbers)",
        ),
    ],
)
def test_policy(case: Situation, action: Action, reason: str) -> None:
    decision = decide_retraining(case, POLICY)
    assert (decision.action, decision.reason) == (action, reason)


def test_champion_may_grow_old_where_no_age_is_set() -> None:
    old = situation(trained_on=date(2000, 1, 1))
    assert decide_retraining(old, RetrainSpec()).action is Action.NOTHING
