"""Apply the retraining policy to a day's verdict, and record the decision."""

from datetime import date

from trimtab.domain.journal import Draft, Entry, Ledger, Payload, record
from trimtab.domain.release import releases, routing
from trimtab.domain.retraining import Action, RetrainDecision, Situation, decide_retraining
from trimtab.domain.spec import RetrainSpec
from trimtab.domain.verdict import Status
from trimtab.errors import NotFoundError


def verdict_of(day: date, ledger: Ledger) -> Entry | None:
    """The verdict that counts for a day, if it has been judged."""
    entries = ledger.entries("verdict", day.isoformat())
    return entries[-1] if entries else None


def retrain(as_of: date, *, ledger: Ledger, policy: RetrainSpec) -> RetrainDecision:
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
        return RetrainDecision(action=Action(made[-1].kind), reason=str(made[-1].payload["reason"]))
    payload: Payload = {"reason": decision.reason, "verdict": verdict.sequence}
    draft = Draft(
        stream="retraining", subject=as_of.isoformat(), kind=decision.action.value, as_of=as_of, payload=payload
    )
    record(ledger, draft)
    return decision


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
    return Situation(
        as_of=as_of,
        status=Status(verdict.kind),
        summary=str(verdict.payload["summary"]),
        blocked=bool(batch) and batch[-1].kind == "blocked",
        release_open=any(release.is_open for release in releases(entries).values()),
        retrained=sorted(entry.as_of for entry in decided if entry.kind == Action.RETRAIN and entry.as_of < as_of),
        trained_on=requested[0].as_of if requested else None,
    )
