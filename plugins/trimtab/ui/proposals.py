"""What somebody should do about a model, or know of it. Values in, values out."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from trimtab.domain.retraining import Action
from trimtab.domain.spec import ModelSpec
from trimtab.domain.verdict import Status
from trimtab.ui.status import Level, ModelStatus, Proposal, asks_a_person

SILENCE = timedelta(days=2)
"""Batches come once a day; after this long without one something has stopped."""
FRESH = timedelta(days=1)
"""How long a rollback stays among the things to look at."""


def with_proposals(facts: ModelStatus, spec: ModelSpec | None, now: datetime) -> ModelStatus:
    """The card with what to do, most urgent first.

    Args:
        facts: The card.
        spec: Spec of the model, if its folder can be read.
        now: Wall clock (UTC).
    """
    found = [
        *_about_folder(facts),
        *_about_incidents(facts),
        *_about_release(facts, spec, now),
        *_about_verdict(facts),
        *_about_silence(facts, spec, now),
    ]
    nothing = Proposal(level=Level.FINE, text="Nothing to do.")
    order = list(Level)
    proposals = tuple(sorted(found, key=lambda proposal: order.index(proposal.level))) or (nothing,)
    return replace(facts, proposals=proposals)


def _about_folder(facts: ModelStatus) -> Iterable[Proposal]:
    if facts.problem:
        yield Proposal(level=Level.ACT, text="Mend the model folder: its DAGs are gone until it can be read.")


def _about_incidents(facts: ModelStatus) -> Iterable[Proposal]:
    for incident in facts.incidents:
        dag = f"{facts.name}.daily" if incident.subject.startswith("batch ") else f"{facts.name}.train"
        yield Proposal(level=Level.ACT, text=f"{_capital(incident.subject)}: {incident.cure}", dag=dag)


def _about_release(facts: ModelStatus, spec: ModelSpec | None, now: datetime) -> Iterable[Proposal]:
    release, dag = facts.release, f"{facts.name}.release"
    if release is None:
        yield Proposal(level=Level.UNKNOWN, text="No version is live. Train a first one.", dag=f"{facts.name}.train")
    elif release.state == "requested" and asks_a_person(spec):
        yield Proposal(level=Level.DECIDE, text=f"Approve or reject version {release.version}.", dag=dag)
    elif release.held_by is not None:
        why = release.reason.removesuffix(".")
        text = f"Version {release.version} is held by {release.held_by} ({why}). Resume it or roll it back."
        yield Proposal(level=Level.DECIDE, text=text, dag=f"{facts.name}.rollback")
    elif release.is_open:
        text = f"Version {release.version} waits for {release.waits_for}."
        yield Proposal(level=Level.WATCH, text=text, dag=dag)
    elif release.state == "rolled_back" and now - release.recorded_at < FRESH:
        yield Proposal(level=Level.WATCH, text=f"Version {release.version} was rolled back.", dag=dag)


def _about_verdict(facts: ModelStatus) -> Iterable[Proposal]:
    decision, verdict = facts.retraining, facts.verdict
    if verdict is not None and verdict.status is Status.DECAY and not facts.incidents:
        yield _about_decay(facts)
    elif decision is not None and decision.kind == Action.RETRAIN and verdict and verdict.day == decision.day:
        yield Proposal(level=Level.WATCH, text="A retraining was started.", dag=f"{facts.name}.train")
    elif verdict is not None and verdict.status is Status.DRIFT:
        text = "Inputs or predictions moved, the errors did not. Nothing to do yet."
        yield Proposal(level=Level.WATCH, text=text)
    elif verdict is not None and verdict.status is Status.NOT_ENOUGH_DATA and facts.live is not None:
        yield Proposal(level=Level.UNKNOWN, text="Too few labelled days to judge the errors. Nothing to do.")


def _about_decay(facts: ModelStatus) -> Proposal:
    decision = facts.retraining
    if decision is None or facts.verdict is None or decision.day < facts.verdict.day:
        text = "The model errs more than it need, and nothing is decided yet."
        return Proposal(level=Level.ACT, text=text, dag=f"{facts.name}.watch")
    if decision.kind == Action.RETRAIN:
        text = "The model errs more than it need. A retraining was started."
        return Proposal(level=Level.WATCH, text=text, dag=f"{facts.name}.train")
    released = {
        Action.RECALL: "A former champion is released again.",
        Action.RECALIBRATE: "The champion is released with its level corrected.",
    }
    if decision.kind in released:
        text = f"The model errs more than it need. {released[Action(decision.kind)]}"
        return Proposal(level=Level.WATCH, text=text, dag=f"{facts.name}.release")
    return Proposal(level=Level.WATCH, text="The model errs more than it need. The policy waits; see its reason below.")


def _about_silence(facts: ModelStatus, spec: ModelSpec | None, now: datetime) -> Iterable[Proposal]:
    batch, last_day = facts.batch, spec.source.last_day if spec else None
    if batch is None or (last_day is not None and batch.day >= last_day):
        return
    if now - batch.recorded_at > SILENCE:
        text = f"No batch for {(now - batch.recorded_at).days} days; the last one was that of {batch.day}."
        yield Proposal(level=Level.WATCH, text=text, dag=f"{facts.name}.daily")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
