"""What a person on call wants to know about a model, folded from the entries of its ledger.

Values in, values out: no I/O, no clock, no markup.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TypeAlias, get_args

from pydantic import TypeAdapter, ValidationError

from trimtab.domain.journal import Entry, JsonValue, Payload, Stream, latest_by_subject
from trimtab.domain.release import Release, releases, routing
from trimtab.domain.retraining import Action
from trimtab.domain.spec import ModelSpec
from trimtab.domain.verdict import Finding, Status

Streams: TypeAlias = Mapping[Stream, Sequence[Entry]]

STREAMS: tuple[Stream, ...] = get_args(Stream)
SHOWN_FINDINGS = 3
TIMELINE_ROWS = 50
SILENCE = timedelta(days=2)
"""Batches come once a day; after this long without one something has stopped."""
FRESH = timedelta(days=1)
"""How long a rollback stays among the things to look at."""
TEXT_LENGTH = 600


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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictStatus:
    """The last verdict."""

    status: Status
    day: date
    recorded_at: datetime
    version: str | None
    """The champion that it is about."""
    summary: str
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
    proposals: tuple[Proposal, ...]

    @property
    def level(self) -> Level:
        """The most urgent of the proposals."""
        return self.proposals[0].level


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Realised error of one version on one labelled day, in the unit of the label."""

    day: date
    version: str
    mae: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """A day on which the champion changed."""

    day: date
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the last verdict expected of the error of one day, from the day its version went live."""

    since: date
    expected: float
    limit: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRow:
    """A ledger entry in words."""

    recorded_at: datetime
    day: date
    stream: Stream
    kind: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHistory:
    """How the model got where it is."""

    measured: tuple[Measured, ...]
    markers: tuple[Marker, ...]
    bounds: Bounds | None
    timeline: tuple[TimelineRow, ...]
    """Newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known about a model besides its ledger."""

    name: str
    spec: ModelSpec | None
    problem: str = ""


def status_of(card: Card, streams: Streams, *, baked: int, now: datetime) -> ModelStatus:
    """Fold a model's ledger into its card.

    Args:
        card: Its folder.
        streams: Every stream of the ledger, in order.
        baked: Labelled days that an open release has been live for.
        now: Wall clock (UTC).
    """
    facts = ModelStatus(
        name=card.name,
        description=card.spec.description if card.spec else "",
        owner=card.spec.owner if card.spec else "",
        problem=card.problem,
        live=_live(streams["release"]),
        release=_release(streams["release"], card.spec, baked),
        verdict=_verdict(streams["verdict"]),
        retraining=_decision(streams["retraining"], "reason"),
        training=_training(streams),
        incidents=open_incidents(streams),
        batch=_batch(streams["batch"]),
        proposals=(),
    )
    return _with_proposals(facts, card.spec, now)


def history_of(streams: Streams) -> ModelHistory:
    """Errors by day, releases and the last entries of a model's ledger."""
    return ModelHistory(
        measured=tuple(_measured(streams["feedback"])),
        markers=tuple(_markers(streams["release"])),
        bounds=_bounds(streams),
        timeline=_timeline(streams),
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
        reason=_text(entry.payload, "reason"),
        cure=_text(entry.payload, "cure"),
    )


def _live(entries: Sequence[Entry]) -> Live | None:
    version = routing(entries).champion
    since = [entry for entry in entries if entry.subject == version and entry.kind == "live"]
    if version is None or not since:
        return None
    return Live(version=version, day=since[-1].as_of, recorded_at=since[-1].recorded_at)


def _release(entries: Sequence[Entry], spec: ModelSpec | None, baked: int) -> ReleaseStatus | None:
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
        reason=_text(entry.payload, "reason"),
        waits_for=_waits_for(last, spec, baked) if last.is_open else "",
    )


def _waits_for(release: Release, spec: ModelSpec | None, baked: int) -> str:
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
        version=_text(entry.payload, "version") or None,
        summary=_text(entry.payload, "summary"),
        closest=closest(_findings(entry)),
    )


def closest(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings that are nearest to their limit or furthest beyond it."""
    judged = [finding for finding in findings if math.isfinite(nearness(finding))]
    return tuple(sorted(judged, key=nearness, reverse=True)[:SHOWN_FINDINGS])


def nearness(finding: Finding) -> float:
    """Value over limit, >= 0; nan where there is none of them."""
    return finding.value / finding.limit if finding.value is not None and finding.limit else math.nan


def _findings(entry: Entry) -> tuple[Finding, ...]:
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
        kind=entry.kind, day=entry.as_of, recorded_at=entry.recorded_at, reason=_text(entry.payload, reason)
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
        rows=_count(entry.payload, "rows_accepted"),
        quarantined=_count(entry.payload, "rows_quarantined"),
        problems=_texts(entry.payload, "warnings" if accepted else "failures"),
    )


def newest(entries: Sequence[Entry]) -> Entry | None:
    """The last word on the latest day: a run again of an older day is no news."""
    return max(entries, key=lambda entry: (entry.as_of, entry.sequence), default=None)


def _with_proposals(facts: ModelStatus, spec: ModelSpec | None, now: datetime) -> ModelStatus:
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
    values = {name: getattr(facts, name) for name in ModelStatus.__dataclass_fields__}
    return ModelStatus(**{**values, "proposals": proposals})


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
    elif release.is_open:
        text = f"Version {release.version} waits for {release.waits_for}."
        yield Proposal(level=Level.WATCH, text=text, dag=dag)
    elif release.state == "rolled_back" and now - release.recorded_at < FRESH:
        yield Proposal(level=Level.WATCH, text=f"Version {release.version} was rolled back.", dag=dag)


def _about_verdict(facts: ModelStatus) -> Iterable[Proposal]:
    decision, verdict = facts.retraining, facts.verdict
    if verdict is not None and verdict.status is Status.DECAY and not facts.incidents:
        yield _about_decay(facts)
    elif verdict is not None and verdict.status is Status.DRIFT:
        text = "Inputs or predictions moved, the errors did not. Nothing to do yet."
        yield Proposal(level=Level.WATCH, text=text)
    elif decision is not None and decision.kind == Action.RETRAIN and verdict and verdict.day == decision.day:
        yield Proposal(level=Level.WATCH, text="A retraining was started.", dag=f"{facts.name}.train")
    elif verdict is not None and verdict.status is Status.NOT_ENOUGH_DATA and facts.live is not None:
        yield Proposal(level=Level.UNKNOWN, text="Too few labelled days to judge the errors. Nothing to do.")


def _about_decay(facts: ModelStatus) -> Proposal:
    decision = facts.retraining
    if decision is None or facts.verdict is None or decision.day < facts.verdict.day:
        return Proposal(
            level=Level.ACT, text="The errors have grown and nothing is decided yet.", dag=f"{facts.name}.watch"
        )
    if decision.kind == Action.RETRAIN:
        return Proposal(
            level=Level.WATCH, text="The errors have grown. A retraining was started.", dag=f"{facts.name}.train"
        )
    return Proposal(level=Level.WATCH, text="The errors have grown. The policy waits; see its reason below.")


def _about_silence(facts: ModelStatus, spec: ModelSpec | None, now: datetime) -> Iterable[Proposal]:
    batch, last_day = facts.batch, spec.source.last_day if spec else None
    if batch is None or (last_day is not None and batch.day >= last_day):
        return
    if now - batch.recorded_at > SILENCE:
        text = f"No batch for {(now - batch.recorded_at).days} days; the last one was that of {batch.day}."
        yield Proposal(level=Level.WATCH, text=text, dag=f"{facts.name}.daily")


def _measured(entries: Sequence[Entry]) -> Iterable[Measured]:
    for subject, entry in sorted(latest_by_subject(entries).items()):
        for version, values in entry.payload.items():
            mae = values.get("mae") if isinstance(values, dict) else None
            if isinstance(mae, (int, float)) and math.isfinite(mae):
                yield Measured(day=date.fromisoformat(subject), version=version, mae=float(mae))


def _markers(entries: Sequence[Entry]) -> Iterable[Marker]:
    was_live: set[str] = set()
    for entry in entries:
        if entry.kind == "live":
            was_live.add(entry.subject)
            yield Marker(day=entry.as_of, text=f"version {entry.subject} live")
        elif entry.kind == "rolled_back" and entry.subject in was_live:
            yield Marker(day=entry.as_of, text=f"version {entry.subject} rolled back")


def _bounds(streams: Streams) -> Bounds | None:
    live, verdict = _live(streams["release"]), newest(streams["verdict"])
    if live is None or verdict is None or verdict.payload.get("version") != live.version:
        return None
    for finding in _findings(verdict):
        if finding.kind == "error" and finding.horizon_days == 1 and finding.expected is not None:
            return Bounds(since=live.day, expected=finding.expected, limit=finding.limit)
    return None


def _timeline(streams: Streams) -> tuple[TimelineRow, ...]:
    # Of each stream, only so many can be among the newest of all.
    candidates = [entry for entries in streams.values() for entry in entries[-TIMELINE_ROWS:]]
    ordered = sorted(candidates, key=lambda entry: (entry.recorded_at, entry.sequence), reverse=True)
    return tuple(
        TimelineRow(
            recorded_at=entry.recorded_at,
            day=entry.as_of,
            stream=entry.stream,
            kind=entry.kind,
            subject=entry.subject,
            text=_shortened(_in_words(entry)),
        )
        for entry in ordered[:TIMELINE_ROWS]
    )


def _in_words(entry: Entry) -> str:
    payload = entry.payload
    if entry.stream == "batch":
        counts = f"{_count(payload, 'rows_accepted')} rows accepted, {_count(payload, 'rows_quarantined')} set aside"
        return "; ".join([counts, *_texts(payload, "failures"), *_texts(payload, "warnings")])
    if entry.stream == "feedback":
        return "; ".join(f"version {version}: MAE {m:.3g} on {n} rows" for version, m, n in _errors(payload))
    if entry.stream == "release":
        return _release_in_words(payload)
    if entry.stream == "incident":
        return f"{_text(payload, 'reason')} {_text(payload, 'cure')}"
    return _text(payload, "summary") or _text(payload, "reason")


def _release_in_words(payload: Payload) -> str:
    actor, reason = _text(payload, "actor"), _text(payload, "reason")
    step = _text(payload, "step")
    return ": ".join(part for part in (step, actor, reason) if part)


def _errors(payload: Payload) -> Iterable[tuple[str, float, int]]:
    for version, values in payload.items():
        if isinstance(values, dict) and isinstance(values.get("mae"), (int, float)):
            yield version, float(str(values["mae"])), _count(values, "rows")


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(payload: Payload, key: str) -> str:
    value = payload.get(key)
    return "" if value is None else str(value)


def _texts(payload: Payload, key: str) -> tuple[str, ...]:
    values: JsonValue = payload.get(key)
    return tuple(map(str, values)) if isinstance(values, list) else ()


def _count(payload: Mapping[str, JsonValue], key: str) -> int:
    value = payload.get(key)
    return int(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0
