"""Whether a verdict leads to a retraining: a pure function of the verdict, the history and the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from trimtab.domain.spec import RetrainSpec
from trimtab.domain.verdict import Status

MONTH = timedelta(days=30)


class Action(StrEnum):
    """What to do about a verdict."""

    RETRAIN = "retrain"
    RECALL = "recall"
    """Release a former champion again."""
    INCIDENT = "incident"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that the policy looks at, on one day."""

    as_of: date
    status: Status
    summary: str
    """Of the verdict."""
    blocked: bool
    """Whether the day's batch was blocked by validation: never retrain on broken data."""
    broken: str
    """What triage found broken in the day's data; empty where nothing is."""
    alarm: str
    """What triage found that a person must look at, though the data may be learnt from; empty if nothing."""
    alarmed: Sequence[date]
    """Days of earlier incidents, ascending."""
    stale: str
    """In what way the errors are such as a training can mend; empty where they are not."""
    release_open: bool
    """Whether a release is on its way."""
    retrained: Sequence[date]
    """Days of earlier retrainings, ascending."""
    trained_on: date | None
    """Day that the champion was trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainDecision:
    """An action with its reason; also "nothing" has one."""

    action: Action
    reason: str
    version: str | None = None
    """The version that is recalled."""


def decide_retraining(situation: Situation, spec: RetrainSpec) -> RetrainDecision:
    """Choose the action for a day; a decay within cooldown or beyond the month's budget opens no second training."""
    if situation.blocked or situation.broken:
        reason = situation.broken or "the batch is blocked; broken data is never trained on"
        return RetrainDecision(action=Action.INCIDENT, reason=reason)
    if situation.status is Status.DECAY:
        return _on_decay(situation, spec)
    age = _age(situation)
    if spec.max_age_days is not None and age is not None and age >= spec.max_age_days:
        return _unless_busy(
            situation, spec.cooldown_days, f"the champion is {age} days old, {spec.max_age_days} are allowed"
        )
    if situation.alarm:
        return _on_alarm(situation, spec)
    if situation.status is Status.DRIFT:
        return RetrainDecision(
            action=Action.NOTHING,
            reason=f"inputs or predictions moved while the errors did not: {situation.summary}",
        )
    return RetrainDecision(action=Action.NOTHING, reason=situation.summary)


def _on_alarm(situation: Situation, spec: RetrainSpec) -> RetrainDecision:
    """One incident for what lasts."""
    told = [day for day in situation.alarmed if (situation.as_of - day).days < max(spec.cooldown_days, 1)]
    if told:
        reason = f"the incident of {told[-1]} is younger than the cooldown of {spec.cooldown_days} days"
        return RetrainDecision(action=Action.NOTHING, reason=f"{reason} ({situation.alarm})")
    return RetrainDecision(action=Action.INCIDENT, reason=situation.alarm)


def _on_decay(situation: Situation, spec: RetrainSpec) -> RetrainDecision:
    days = spec.cooldown_days if situation.stale else max(spec.cooldown_days, spec.harder_cooldown_days)
    what = "the model is stale" if situation.stale else "the errors have grown, and the model does not look stale"
    details = situation.stale or situation.summary
    within_month = [day for day in situation.retrained if situation.as_of - day < MONTH]
    if len(within_month) >= spec.max_per_month:
        return RetrainDecision(
            action=Action.INCIDENT,
            reason=f"{what} after {len(within_month)} retrainings within 30 days, and "
            f"{spec.max_per_month} are allowed: {details}",
        )
    return _unless_busy(situation, days, f"{what}: {details}")


def _unless_busy(situation: Situation, cooldown_days: int, reason: str) -> RetrainDecision:
    if situation.release_open:
        return RetrainDecision(action=Action.NOTHING, reason=f"a release is on its way ({reason})")
    cooled = [day for day in situation.retrained if (situation.as_of - day).days < cooldown_days]
    if cooled:
        return RetrainDecision(
            action=Action.NOTHING,
            reason=f"retrained on {cooled[-1]}, and the cooldown is {cooldown_days} days ({reason})",
        )
    return RetrainDecision(action=Action.RETRAIN, reason=reason)


def _age(situation: Situation) -> int | None:
    return None if situation.trained_on is None else (situation.as_of - situation.trained_on).days
