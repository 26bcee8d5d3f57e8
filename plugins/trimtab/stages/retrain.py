"""Apply the retraining policy to a day's verdict, and record the decision."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Protocol

from trimtab.domain.diagnosis import Advice
from trimtab.domain.journal import Draft, Entry, JsonValue, Ledger, Payload, record
from trimtab.domain.recalibration import TRAINING
from trimtab.domain.release import releases, routing
from trimtab.domain.retraining import (
    Action,
    RetrainDecision,
    Situation,
    Trial,
    Trigger,
    accusation,
    decide_retraining,
    may_correct,
    trained_on,
)
from trimtab.domain.spec import MonitorSpec, RetrainSpec, TrainSpec
from trimtab.domain.verdict import Status
from trimtab.errors import NotFoundError
from trimtab.stages.judge import finding_json, staleness_of, triage_of
from trimtab.stages.recall import Recall

if TYPE_CHECKING:
    from trimtab.stages.recalibrate import Recalibration  # what opens an incident trains nothing

CHANGES = (Action.RETRAIN, Action.RECALL)
"""Actions that bring another model, after which the cooldown begins; a correction brings the same one."""


def verdict_of(day: date, ledger: Ledger) -> Entry | None:
    """The verdict that counts for a day, if it has been judged."""
    entries = ledger.entries("verdict", day.isoformat())
    return entries[-1] if entries else None


Doubt = Callable[[], str]
"""Says why a training would not mend a stale model; only asked where it would be the answer. Empty: it may."""


class FormerChampion(Protocol):
    """Looks for a former champion that is better."""

    def __call__(self, *, in_place_of_training: bool) -> Recall | None:
        """It, if there is one; whether a training would else be the answer."""
        ...


class Corrected(Protocol):
    """Puts the champion with its level corrected to the gate."""

    def __call__(self, why: str, *, in_place_of_training: bool) -> "Recalibration":
        """What comes of it, where something asks for it, and whether a training would else be the answer."""
        ...


def retrain(
    as_of: date,
    *,
    ledger: Ledger,
    policy: RetrainSpec,
    train: TrainSpec,
    monitor: MonitorSpec,
    former: FormerChampion | None = None,
    doubt: Doubt = lambda: "",
    corrected: Corrected | None = None,
) -> RetrainDecision:
    """Decide what to do about the verdict of a day; repeating it gives the same decision.

    Raises:
        NotFoundError: If the day has not been judged.
    """
    made = ledger.entries("retraining", as_of.isoformat())
    verdict = verdict_of(as_of, ledger)
    if verdict is None:
        raise NotFoundError(f"{as_of} has no verdict. Run the task 'judge' of that day first.")
    if made and made[-1].payload.get("verdict") == verdict.sequence:
        return _decision(made[-1])
    situation = _situation(as_of, verdict, ledger, train, monitor)
    decision = decide_retraining(situation, policy)
    if decision.trigger is Trigger.STALE and (why := doubt()):
        decision = decide_retraining(replace(situation, stale="", doubt=why), policy)
    trains, accused = decision.action is Action.RETRAIN, accusation(situation, policy)
    if former and (trains or accused) and (better := former(in_place_of_training=trains)):
        reason = f"{better.reason}: {decision.reason}"
        decision = replace(decision, action=Action.RECALL, reason=reason, version=better.version)
    elif corrected and accused and may_correct(situation, policy):
        decision = _unless_corrected(decision, corrected(accused, in_place_of_training=trains))
    payload: Payload = {
        "reason": decision.reason,
        "verdict": verdict.sequence,
        "trigger": decision.trigger,
        "version": decision.version,
        "corrects": decision.corrects,
    }
    draft = Draft(
        stream="retraining", subject=as_of.isoformat(), kind=decision.action.value, as_of=as_of, payload=payload
    )
    record(ledger, draft)
    return decision


def _unless_corrected(decision: RetrainDecision, found: "Recalibration") -> RetrainDecision:
    if found.version is None:
        return replace(decision, reason=f"{decision.reason}; no correction of the level: {found.reason}")
    return RetrainDecision(
        action=Action.RECALIBRATE,
        reason=f"{found.reason}: {decision.reason}",
        version=found.version,
        corrects=found.corrects,
    )


def _decision(entry: Entry) -> RetrainDecision:
    return RetrainDecision(
        action=Action(entry.kind),
        reason=str(entry.payload["reason"]),
        trigger=_trigger(entry),
        version=_text(entry.payload.get("version")),
        corrects=_text(entry.payload.get("corrects")),
    )


def _text(value: JsonValue) -> str | None:
    return None if value is None else str(value)


def open_incident(as_of: date, reason: str, *, ledger: Ledger) -> None:
    """Record that a person must look at this day."""
    payload: Payload = {"reason": reason, "cure": "Look at the verdict's findings; retrain by hand if they are real."}
    record(
        ledger,
        Draft(stream="incident", subject=f"verdict {as_of.isoformat()}", kind="opened", as_of=as_of, payload=payload),
    )


def _situation(as_of: date, verdict: Entry, ledger: Ledger, train: TrainSpec, monitor: MonitorSpec) -> Situation:
    batch = ledger.entries("batch", as_of.isoformat())
    entries = ledger.entries("release")
    decided = [entry for entry in ledger.entries("retraining") if entry.as_of < as_of]
    trained = trained_on(routing(entries).champion, entries, decided)
    diagnosis, age = triage_of(verdict), staleness_of(verdict)
    return Situation(
        as_of=as_of,
        status=Status(verdict.kind),
        summary=str(verdict.payload["summary"]),
        blocked=bool(batch) and batch[-1].kind == "blocked",
        broken=diagnosis.summary if diagnosis.advice is Advice.QUARANTINE else "",
        alarm=diagnosis.summary if diagnosis.advice is Advice.INCIDENT else "",
        alarmed=sorted(entry.as_of for entry in decided if entry.kind == Action.INCIDENT),
        stale=age.summary if age.stale else "",
        grown=_has_grown(verdict, stale=age.stale),
        level=diagnosis.summary if diagnosis.advice is Advice.RECALIBRATE else "",
        release_open=any(release.is_open for release in releases(entries).values()),
        retrained=sorted(entry.as_of for entry in decided if entry.kind in CHANGES),
        recalibrated=sorted(entry.as_of for entry in decided if entry.kind == Action.RECALIBRATE),
        refused=_refused_corrections(as_of, ledger),
        trials=_trials(decided, ledger, monitor.smallest_saving),
        trained_on=trained,
        training_days=_training_days(trained, ledger, train),
    )


def _has_grown(verdict: Entry, *, stale: bool) -> bool:
    """A verdict is also one of decay if the model is stale and its errors are what they ordinarily are."""
    if verdict.kind != Status.DECAY or not stale:
        return verdict.kind == Status.DECAY
    findings = finding_json.validate_python(verdict.payload.get("findings", []))
    return any(finding.flagged and finding.kind == "error" for finding in findings)


def _trials(decided: Sequence[Entry], ledger: Ledger, smallest_saving: float) -> Sequence[Trial]:
    """The policy's trainings that the gate has answered, and whether they were worth it."""
    answers = {entry.as_of: entry for entry in ledger.entries("gate") if not entry.subject.startswith(TRAINING)}
    return [
        Trial(trigger=trigger, worth_it=_worth_it(answers[entry.as_of], smallest_saving))
        for entry in decided
        if entry.kind == Action.RETRAIN and entry.as_of in answers and (trigger := _trigger(entry))
    ]


def _refused_corrections(as_of: date, ledger: Ledger) -> Sequence[date]:
    return [
        entry.as_of
        for entry in ledger.entries("gate")
        if entry.kind == "refused" and entry.subject.startswith(TRAINING) and entry.as_of < as_of
    ]


def _worth_it(answer: Entry, smallest_saving: float) -> bool:
    saving = answer.payload.get("saving")
    return answer.kind == "promoted" and isinstance(saving, float) and saving >= smallest_saving


def _trigger(entry: Entry) -> Trigger | None:
    said = entry.payload.get("trigger")
    return None if said is None else Trigger(str(said))


def _training_days(trained_on: date | None, ledger: Ledger, train: TrainSpec) -> int:
    """Days that a training takes; of a champion that was trained when there were fewer, those."""
    window = max(candidate.window_days for candidate in train.candidates)
    known = [entry.as_of for entry in ledger.entries("batch")]
    if trained_on is not None and known:
        window = min(window, max((trained_on - min(known)).days, 1))
    return window + train.holdout_days
