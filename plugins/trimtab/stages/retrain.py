"""Apply the retraining policy to a day's verdict, and record the decision."""

from collections.abc import Callable
from datetime import date

from trimtab.domain.journal import Draft, Entry, Ledger, Payload, record
from trimtab.domain.release import releases, routing
from trimtab.domain.retraining import Action, RetrainDecision, Situation, decide_retraining
from trimtab.domain.spec import RetrainSpec
from trimtab.domain.triage import Advice
from trimtab.domain.verdict import Status
from trimtab.errors import NotFoundError
from trimtab.stages.judge import staleness_of, triage_of
from trimtab.stages.recall import Recall

CHANGES = (Action.RETRAIN, Action.RECALL)
"""Actions that bring another version, after which the cooldown begins."""


def verdict_of(day: date, ledger: Ledger) -> Entry | None:
    """The verdict that counts for a day, if it has been judged."""
    entries = ledger.entries("verdict", day.isoformat())
    return entries[-1] if entries else None


FormerChampion = Callable[[], Recall | None]
"""Looks for a former champion that is better; only asked where a training would be the answer."""


def retrain(
    as_of: date, *, ledger: Ledger, policy: RetrainSpec, former: FormerChampion = lambda: None
) -> RetrainDecision:
    """Decide what to do about the verdict of a day; repeating it gives the same decision.

    Raises:
        NotFoundError: If the day has not been judged.
    """
    made = ledger.entries("retraining", as_of.isoformat())
    verdict = verdict_of(as_of, ledger)
    if verdict is None:
        raise NotFoundError(f"{as_of} has no verdict. Run the task 'judge' of that day first.")
    decision = decide_retraining(_situation(as_of, verdict, ledger), policy)
    if made and made[-1].payload.get("verdict") == verdict.sequence:
        return _decision(made[-1])
    if decision.action is Action.RETRAIN and (better := former()):
        reason = f"{better.reason}: {decision.reason}"
        decision = RetrainDecision(action=Action.RECALL, reason=reason, version=better.version)
    payload: Payload = {"reason": decision.reason, "verdict": verdict.sequence, "version": decision.version}
    draft = Draft(
        stream="retraining", subject=as_of.isoformat(), kind=decision.action.value, as_of=as_of, payload=payload
    )
    record(ledger, draft)
    return decision


def _decision(entry: Entry) -> RetrainDecision:
    version = entry.payload.get("version")
    return RetrainDecision(
        action=Action(entry.kind),
        reason=str(entry.payload["reason"]),
        version=None if version is None else str(version),
    )


def open_incident(as_of: date, reason: str, *, ledger: Ledger) -> None:
    """Record that a person must look at this day."""
    payload: Payload = {"reason": reason, "cure": "Look at the verdict's findings; retrain by hand if they are real."}
    record(
        ledger,
        Draft(stream="incident", subject=f"verdict {as_of.isoformat()}", kind="opened", as_of=as_of, payload=payload),
    )


def _situation(as_of: date, verdict: Entry, ledger: Ledger) -> Situation:
    batch = ledger.entries("batch", as_of.isoformat())
    entries = ledger.entries("release")
    champion = routing(entries).champion
    requested = [entry for entry in entries if entry.subject == champion and entry.kind == "requested"]
    decided = ledger.entries("retraining")
    diagnosis, age = triage_of(verdict), staleness_of(verdict)
    return Situation(
        as_of=as_of,
        status=Status(verdict.kind),
        summary=str(verdict.payload["summary"]),
        blocked=bool(batch) and batch[-1].kind == "blocked",
        broken=diagnosis.summary if diagnosis.advice is Advice.QUARANTINE else "",
        alarm=diagnosis.summary if diagnosis.advice is Advice.INCIDENT else "",
        alarmed=sorted(entry.as_of for entry in decided if entry.kind == Action.INCIDENT and entry.as_of < as_of),
        stale=age.summary if age.stale else "",
        release_open=any(release.is_open for release in releases(entries).values()),
        retrained=sorted(entry.as_of for entry in decided if entry.kind in CHANGES and entry.as_of < as_of),
        trained_on=requested[0].as_of if requested else None,
    )
