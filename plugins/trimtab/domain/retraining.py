"""Whether a verdict leads to a retraining: a pure function of the verdict, the history and the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from trimtab.domain.journal import Entry
from trimtab.domain.spec import RetrainSpec
from trimtab.domain.verdict import Status

MONTH = timedelta(days=30)
WORTH_IT = 0.5
"""Times the ordinary wait after a trial that was worth it: nothing else had asked for what it found."""


class Action(StrEnum):
    """What to do about a verdict."""

    RETRAIN = "retrain"
    RECALL = "recall"
    """Release a former champion again."""
    RECALIBRATE = "recalibrate"
    """Release the champion with its level corrected."""
    INCIDENT = "incident"
    NOTHING = "nothing"


class Trigger(StrEnum):
    """What asks for a training."""

    STALE = "stale"
    """Decay that a training can mend."""
    HARDER = "harder"
    """Decay that it may or may not."""
    AGE = "age"
    SCHEDULE = "schedule"
    RENEWAL = "renewal"
    """So many new days that a training would learn from little or nothing that the champion has seen."""
    DRIFT = "drift"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """An earlier training that the policy asked for."""

    trigger: Trigger
    worth_it: bool
    """Whether the gate let it through, and it saved a share of the loss that matters."""


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
    grown: bool
    """Whether errors are larger than they ordinarily are."""
    doubt: str = ""
    """Why a training would not mend that the errors have a direction."""
    release_open: bool
    """Whether a release is on its way."""
    level: str = ""
    """What triage says where the level alone has moved; empty where it has not."""
    retrained: Sequence[date]
    """Days of earlier retrainings, ascending."""
    recalibrated: Sequence[date] = ()
    """Days on which the champion's level was corrected, ascending; they cost no training."""
    refused: Sequence[date] = ()
    """Days on which the gate refused a correction."""
    trials: Sequence[Trial]
    """What those that were trainings have come to, in their order."""
    trained_on: date | None
    """Day that the champion was trained on, whatever has been corrected since."""
    training_days: int
    """Days of window and hold-out of a training; of a champion that had fewer to learn from, those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainDecision:
    """An action with its reason; also "nothing" has one."""

    action: Action
    reason: str
    trigger: Trigger | None = None
    """What asked for the training, if one is begun."""
    version: str | None = None
    """The version that is recalled, or has its level corrected."""
    corrects: str | None = None
    """The version whose level it corrects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """A training that something asks for, if so many days have passed since the last one."""

    trigger: Trigger
    reason: str
    wait_days: float


def decide_retraining(situation: Situation, spec: RetrainSpec) -> RetrainDecision:
    """Choose the action for a day; a wish within its wait or beyond the month's budget opens no second training."""
    if situation.blocked or situation.broken:
        reason = situation.broken or "the batch is blocked; broken data is never trained on"
        return RetrainDecision(action=Action.INCIDENT, reason=reason)
    wish = _stale(situation, spec) or _timed(situation, spec) or _grown(situation, spec) or _renewal(situation, spec)
    if wish is not None:
        return _unless_busy(situation, spec, wish)
    if situation.alarm:
        return _on_alarm(situation, spec)
    if situation.status is Status.DRIFT:
        moved = f"inputs or predictions moved while the errors did not: {situation.summary}"
        if not spec.on_drift:
            return RetrainDecision(action=Action.NOTHING, reason=moved)
        wish = _Wish(trigger=Trigger.DRIFT, reason=moved, wait_days=_trial_wait(situation, spec))
        return _unless_busy(situation, spec, wish)
    return RetrainDecision(action=Action.NOTHING, reason=situation.doubt or situation.summary)


def accusation(situation: Situation, spec: RetrainSpec) -> str:
    """Why a version that costs no training is tried; empty where nothing accuses the champion, or it is new.

    Such a version takes neither a part of the month's budget nor a trial's wait, only the cooldown: what was changed
    last must be seen for a while.
    """
    if situation.blocked or situation.broken or situation.release_open:
        return ""
    changes = [*situation.retrained, *situation.recalibrated]
    if any((situation.as_of - day).days < spec.cooldown_days for day in changes):
        return ""
    if situation.stale:
        return f"the model is stale: {situation.stale}"
    return f"the errors have grown: {situation.summary}" if situation.grown else situation.level


def may_correct(situation: Situation, spec: RetrainSpec) -> bool:
    """Whether the policy has corrections, and the gate has refused none within the cooldown."""
    refused = any((situation.as_of - day).days < spec.cooldown_days for day in situation.refused)
    return spec.recalibrate and not refused


def trained_on(version: str | None, released: Sequence[Entry], decided: Sequence[Entry]) -> date | None:
    """Day that the model of a version was trained on; a corrected one is the model of the version that it corrects.

    Args:
        version: Of the registered model.
        released: The stream `release`: a version is trained on the day of its first request.
        decided: The stream `retraining`.
    """
    corrects = {entry.payload["version"]: entry.payload["corrects"] for entry in decided if _corrects(entry)}
    while version in corrects:
        version = str(corrects[version])
    return next((entry.as_of for entry in released if entry.subject == version and entry.kind == "requested"), None)


def _corrects(entry: Entry) -> bool:
    return entry.kind == Action.RECALIBRATE


def patience(trials: Sequence[Trial]) -> float:
    """Times the ordinary wait until the next trial that no staleness asks for.

    Each one that was not worth it doubles the wait, so that a model which a training cannot better is tried ever less
    often; one that was halves it. A worthwhile training of a stale model ends the doubling: the world has changed.
    """
    factor = 1.0
    for trial in trials:
        if trial.trigger is Trigger.STALE:
            factor = min(factor, 1.0) if trial.worth_it else factor
        else:
            factor = WORTH_IT if trial.worth_it else 2 * factor
    return factor


def _stale(situation: Situation, spec: RetrainSpec) -> _Wish | None:
    if not situation.stale:
        return None
    reason = f"the model is stale: {situation.stale}"
    return _Wish(trigger=Trigger.STALE, reason=reason, wait_days=spec.cooldown_days)


def _timed(situation: Situation, spec: RetrainSpec) -> _Wish | None:
    if situation.trained_on is None:
        return None
    age = (situation.as_of - situation.trained_on).days
    if spec.max_age_days is not None and age >= spec.max_age_days:
        reason = f"the champion is {age} days old, {spec.max_age_days} are allowed"
        return _Wish(trigger=Trigger.AGE, reason=reason, wait_days=spec.cooldown_days)
    since = (situation.as_of - _changed(situation)).days
    if spec.every_days is not None and since >= spec.every_days:
        reason = f"the last training is {since} days ago, and the schedule says {spec.every_days}"
        return _Wish(trigger=Trigger.SCHEDULE, reason=reason, wait_days=0)
    return None


def _grown(situation: Situation, spec: RetrainSpec) -> _Wish | None:
    if not situation.grown:
        return None
    why = situation.doubt or "the model does not look stale"
    reason = f"the errors have grown, and {why}: {situation.summary}"
    return _Wish(trigger=Trigger.HARDER, reason=reason, wait_days=_trial_wait(situation, spec))


def _renewal(situation: Situation, spec: RetrainSpec) -> _Wish | None:
    if situation.trained_on is None or spec.trial_after_windows is None:
        return None
    changed = _changed(situation)
    since = (situation.as_of - changed).days
    wait = spec.trial_after_windows * situation.training_days * patience(situation.trials)
    if since < wait:
        return None
    reason = f"{since} days since {changed}, {wait:.0f} are the wait: a training may know what no error shows"
    return _Wish(trigger=Trigger.RENEWAL, reason=reason, wait_days=spec.cooldown_days)


def _changed(situation: Situation) -> date:
    """Day of the last training, or on which a former champion came back."""
    return max(filter(None, [situation.trained_on, *situation.retrained]))


def _trial_wait(situation: Situation, spec: RetrainSpec) -> float:
    return max(spec.cooldown_days, spec.harder_cooldown_days * patience(situation.trials))


def _on_alarm(situation: Situation, spec: RetrainSpec) -> RetrainDecision:
    """One incident for what lasts."""
    told = [day for day in situation.alarmed if (situation.as_of - day).days < max(spec.cooldown_days, 1)]
    if told:
        reason = f"the incident of {told[-1]} is younger than the cooldown of {spec.cooldown_days} days"
        return RetrainDecision(action=Action.NOTHING, reason=f"{reason} ({situation.alarm})")
    return RetrainDecision(action=Action.INCIDENT, reason=situation.alarm)


def _unless_busy(situation: Situation, spec: RetrainSpec, wish: _Wish) -> RetrainDecision:
    within_month = [day for day in situation.retrained if situation.as_of - day < MONTH]
    if len(within_month) >= spec.max_per_month:
        decays = wish.trigger in (Trigger.STALE, Trigger.HARDER)
        return RetrainDecision(
            action=Action.INCIDENT if decays else Action.NOTHING,
            reason=f"{len(within_month)} retrainings within 30 days, and {spec.max_per_month} are allowed "
            f"({wish.reason})",
        )
    if situation.release_open:
        return RetrainDecision(action=Action.NOTHING, reason=f"a release is on its way ({wish.reason})")
    waits = [
        ("retrained", situation.retrained, wish.wait_days),
        ("recalibrated", situation.recalibrated, min(wish.wait_days, spec.cooldown_days)),
    ]
    for done, days, wait in waits:
        recent = [day for day in days if (situation.as_of - day).days < wait]
        if recent:
            return RetrainDecision(
                action=Action.NOTHING,
                reason=f"{done} on {recent[-1]}, and the wait is {wait:.0f} days ({wish.reason})",
            )
    return RetrainDecision(action=Action.RETRAIN, reason=wish.reason, trigger=wish.trigger)
