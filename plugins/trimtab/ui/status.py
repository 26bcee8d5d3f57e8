"""What a person on call wants to know about a model, folded from the entries of its ledger.

Values in, values out: no I/O, no clock, no markup.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import TypeAlias, get_args

from pydantic import TypeAdapter, ValidationError

from trimtab.domain.automation import automations, in_force
from trimtab.domain.guards import GuardReport
from trimtab.domain.journal import Entry, Stream, latest_by_subject
from trimtab.domain.release import GUARD, Release, releases, routing
from trimtab.domain.spec import ModelSpec
from trimtab.domain.verdict import Finding, Status
from trimtab.ui.payloads import count_in, text_in, texts_in

Streams: TypeAlias = Mapping[Stream, Sequence[Entry]]

STREAMS: tuple[Stream, ...] = get_args(Stream)
SHOWN_FINDINGS = 3


class Level(StrEnum):
    """How much a model needs a person, the most urgent first."""

    ACT = "act"
    DECIDE = "decide"
    WATCH = "watch"
    UNKNOWN = "unknown"
    FINE = "fine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One thing that somebody should do or know, most urgent first."""

    level: Level
    text: str
    dag: str = ""
    """DAG where it is done, if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The version that answers."""

    version: str
    day: date
    """Day in the model's own time on which it went live."""
    recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseStatus:
    """The last release that was asked for."""

    version: str
    previous: str | None
    state: str
    step: str | None
    share: float
    is_open: bool
    day: date
    recorded_at: datetime
    reason: str
    waits_for: str
    """What must happen next, and who does it; empty once the release has ended."""
    held_by: str | None = None
    """Who holds it where it is."""
    checked: str = ""
    """What golden rows have shown after a rollback."""
    guards: GuardReport | None = None
    """What the guards of its present step say, with what they still need; None: it is not in one, or not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictStatus:
    """The last verdict."""

    status: Status
    day: date
    recorded_at: datetime
    version: str | None
    """The champion that it is about."""
    summary: str
    labels: str
    """How the labels that have come lie beside those of the training; empty if there is nothing to say."""
    closest: tuple[Finding, ...]
    """Findings with the highest value relative to their limit, highest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The last entry of a stream, with its reason."""

    kind: str
    day: date
    recorded_at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStatus:
    """The last batch."""

    accepted: bool
    day: date
    recorded_at: datetime
    rows: int
    quarantined: int
    problems: tuple[str, ...]
    """What blocked it, or the warnings of an accepted batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that waits for a person."""

    subject: str
    day: date
    recorded_at: datetime
    reason: str
    cure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeciderStatus:
    """A level of automation at which people decide about some rows."""

    rows: str
    """'all', or a slice."""
    level: str
    day: date
    recorded_at: datetime
    reason: str
    """By whom, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """Everything on a model's card."""

    name: str
    description: str
    owner: str
    problem: str
    """What is wrong with the model folder; empty if it can be read."""
    live: Live | None
    release: ReleaseStatus | None
    verdict: VerdictStatus | None
    retraining: Decision | None
    training: Decision | None
    incidents: tuple[Incident, ...]
    batch: BatchStatus | None
    deciders: tuple[DeciderStatus, ...] = ()
    """Empty: the model decides everything."""
    proposals: tuple[Proposal, ...] = ()

    @property
    def level(self) -> Level:
        """The most urgent of the proposals."""
        return self.proposals[0].level if self.proposals else Level.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known about a model besides its ledger."""

    name: str
    spec: ModelSpec | None
    problem: str = ""


def status_of(card: Card, streams: Streams, *, baked: int, guards: GuardReport | None = None) -> ModelStatus:
    """Fold a model's ledger into its card, but for what to do.

    Args:
        card: Its folder.
        streams: Every stream of the ledger, in order.
        baked: Labelled days that an open release has been live for.
        guards: What the guards of the step say that a release is in.
    """
    return ModelStatus(
        name=card.name,
        description=card.spec.description if card.spec else "",
        owner=card.spec.owner if card.spec else "",
        problem=card.problem,
        live=live_version(streams["release"]),
        release=_release(streams["release"], card.spec, baked, guards),
        verdict=_verdict(streams["verdict"]),
        retraining=_decision(streams["retraining"], "reason"),
        training=_training(streams),
        incidents=open_incidents(streams),
        batch=_batch(streams["batch"]),
        deciders=_deciders(streams["automation"]),
    )


def open_incidents(streams: Streams) -> tuple[Incident, ...]:
    """Incidents that nothing in the ledger has settled yet, newest first.

    One about a batch is settled when the batch is accepted after all. One about a verdict is settled when a later
    verdict finds the errors within their limits, when another version goes live, or when a newer incident about a
    verdict takes its place.
    """
    latest = [entry for entry in latest_by_subject(streams["incident"]).values() if entry.kind == "opened"]
    batches = {entry.as_of: entry.kind for entry in streams["batch"]}
    verdicts = [entry for entry in latest if not _is_about_batch(entry)]
    last = max(verdicts, key=lambda entry: entry.as_of, default=None)
    unsettled = [entry for entry in latest if _is_about_batch(entry) and batches.get(entry.as_of) != "accepted"]
    if last is not None and not _is_over(last, streams):
        unsettled.append(last)
    return tuple(_incident(entry) for entry in sorted(unsettled, key=lambda entry: entry.as_of, reverse=True))


def _is_about_batch(entry: Entry) -> bool:
    return entry.subject.startswith("batch ")


def _is_over(incident: Entry, streams: Streams) -> bool:
    sound = (Status.OK, Status.DRIFT)
    return any(entry.as_of > incident.as_of and entry.kind in sound for entry in streams["verdict"]) or any(
        entry.recorded_at > incident.recorded_at and entry.kind == "live" for entry in streams["release"]
    )


def _incident(entry: Entry) -> Incident:
    return Incident(
        subject=entry.subject,
        day=entry.as_of,
        recorded_at=entry.recorded_at,
        reason=text_in(entry.payload, "reason"),
        cure=text_in(entry.payload, "cure"),
    )


def _deciders(entries: Sequence[Entry]) -> tuple[DeciderStatus, ...]:
    latest = latest_by_subject(entries)
    return tuple(
        DeciderStatus(
            rows=rows,
            level=one.level,
            day=latest[rows].as_of,
            recorded_at=latest[rows].recorded_at,
            reason=f"{one.actor}: {one.reason}",
        )
        for rows, one in sorted(in_force(automations(entries)).items())
        if one.level != "full"
    )


def live_version(entries: Sequence[Entry]) -> Live | None:
    """The champion after these entries of the release stream."""
    version = routing(entries).champion
    since = [entry for entry in entries if entry.subject == version and entry.kind == "live"]
    if version is None or not since:
        return None
    return Live(version=version, day=since[-1].as_of, recorded_at=since[-1].recorded_at)


def _release(
    entries: Sequence[Entry], spec: ModelSpec | None, baked: int, guards: GuardReport | None
) -> ReleaseStatus | None:
    if not entries:
        return None
    last = max(releases(entries).values(), key=lambda release: (release.is_open, release.sequence))
    entry = next(entry for entry in entries if entry.sequence == last.sequence)
    return ReleaseStatus(
        version=last.version,
        previous=last.previous,
        state=last.state,
        step=last.step,
        share=last.share,
        is_open=last.is_open,
        day=entry.as_of,
        recorded_at=entry.recorded_at,
        reason=text_in(entry.payload, "reason"),
        waits_for=_waits_for(last, spec, baked) if last.is_open else "",
        held_by=last.held_by,
        checked=_checked(last, entries),
        guards=guards,
    )


def _checked(release: Release, entries: Sequence[Entry]) -> str:
    after = (entry for entry in entries if entry.sequence > release.sequence and entry.subject == release.version)
    return next((text_in(entry.payload, "reason") for entry in after if entry.kind == "verified"), "")


def _waits_for(release: Release, spec: ModelSpec | None, baked: int) -> str:
    if release.held_by is not None:
        return "the evidence that is missing, or a person" if release.held_by == GUARD else f"{release.held_by}"
    if release.state == "requested":
        return _answer(spec) if asks_a_person(spec) else "its run to begin the first step"
    if release.state == "approved":
        return "its run to begin the first step"
    if release.state == "live":
        return (
            f"labels of {spec.release.bake_days} days, {baked} have come" if spec else f"labels, {baked} days have come"
        )
    steps = {step.name: step for step in spec.release.steps} if spec else {}
    step = steps.get(release.step or "")
    return f"{step.requests} requests that it has predicted" if step else "the guards of this step"


def _answer(spec: ModelSpec | None) -> str:
    within = f"; none within {spec.release.approval_hours:g} h is a no" if spec else ""
    return f"a person's yes or no{within}"


def asks_a_person(spec: ModelSpec | None) -> bool:
    """Whether a release of the model may have to wait for somebody's yes."""
    return spec is None or spec.release.automation != "full"


def _verdict(entries: Sequence[Entry]) -> VerdictStatus | None:
    entry = newest(entries)
    if entry is None:
        return None
    return VerdictStatus(
        status=Status(entry.kind),
        day=entry.as_of,
        recorded_at=entry.recorded_at,
        version=text_in(entry.payload, "version") or None,
        summary=text_in(entry.payload, "summary"),
        labels=text_in(entry.payload, "labels"),
        closest=closest(findings_of(entry)),
    )


def closest(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that are nearest to their limit or furthest beyond it."""
    judged = [finding for finding in findings if math.isfinite(nearness(finding))]
    return tuple(sorted(judged, key=nearness, reverse=True)[:SHOWN_FINDINGS])


def nearness(finding: Finding) -> float:
    """Value over limit, >= 0; nan where there is none of them."""
    return finding.value / finding.limit if finding.value is not None and finding.limit else math.nan


def findings_of(entry: Entry) -> tuple[Finding, ...]:
    """The findings of a verdict."""
    try:
        return _finding_json.validate_python(entry.payload.get("findings", ()))
    except ValidationError:  # written by a version with other fields; status and summary still say what it found
        return ()


_finding_json = TypeAdapter(tuple[Finding, ...])


def _decision(entries: Sequence[Entry], reason: str) -> Decision | None:
    entry = newest(entries)
    if entry is None:
        return None
    return Decision(
        kind=entry.kind, day=entry.as_of, recorded_at=entry.recorded_at, reason=text_in(entry.payload, reason)
    )


def _training(streams: Streams) -> Decision | None:
    """The gate's answer, or the training that has begun since."""
    begun, judged = _decision(streams["training"], "reason"), _decision(streams["gate"], "summary")
    if begun is None or judged is None:
        return judged or begun
    return judged if judged.recorded_at >= begun.recorded_at else begun


def _batch(entries: Sequence[Entry]) -> BatchStatus | None:
    entry = newest(entries)
    if entry is None:
        return None
    accepted = entry.kind == "accepted"
    return BatchStatus(
        accepted=accepted,
        day=entry.as_of,
        recorded_at=entry.recorded_at,
        rows=count_in(entry.payload, "rows_accepted"),
        quarantined=count_in(entry.payload, "rows_quarantined"),
        problems=texts_in(entry.payload, "warnings" if accepted else "failures"),
    )


def newest(entries: Sequence[Entry]) -> Entry | None:
    """The last word on the latest day: a run again of an older day is no news."""
    return max(entries, key=lambda entry: (entry.as_of, entry.sequence), default=None)
