"""How a model got where it is: its errors by day, its releases and its last decisions. Values in, values out."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from trimtab.domain.journal import Entry, Payload, Stream, latest_by_subject
from trimtab.ui.payloads import count_in, loss_name_in, text_in, texts_in
from trimtab.ui.status import Streams, findings_of, live_version, newest

TIMELINE_ROWS = 50
TEXT_LENGTH = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Realised error of one version on one labelled day."""

    day: date
    version: str
    loss: float
    loss_name: str
    """What the loss is called, such as 'MAE'."""


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


def history_of(streams: Streams) -> ModelHistory:
    """Errors by day, releases and the last entries of a model's ledger."""
    return ModelHistory(
        measured=tuple(_measured(streams["feedback"])),
        markers=tuple(_markers(streams["release"])),
        bounds=_bounds(streams),
        timeline=_timeline(streams),
    )


def _measured(entries: Sequence[Entry]) -> Iterable[Measured]:
    for subject, entry in sorted(latest_by_subject(entries).items()):
        for version, values in entry.payload.items():
            loss = values.get("loss") if isinstance(values, dict) else None
            if isinstance(values, dict) and isinstance(loss, (int, float)) and math.isfinite(loss):
                yield Measured(
                    day=date.fromisoformat(subject), version=version, loss=float(loss), loss_name=loss_name_in(values)
                )


def _markers(entries: Sequence[Entry]) -> Iterable[Marker]:
    was_live: set[str] = set()
    for entry in entries:
        if entry.kind == "live":
            was_live.add(entry.subject)
            yield Marker(day=entry.as_of, text=f"version {entry.subject} live")
        elif entry.kind == "rolled_back" and entry.subject in was_live:
            yield Marker(day=entry.as_of, text=f"version {entry.subject} rolled back")


def _bounds(streams: Streams) -> Bounds | None:
    live, verdict = live_version(streams["release"]), newest(streams["verdict"])
    if live is None or verdict is None or verdict.payload.get("version") != live.version:
        return None
    for finding in findings_of(verdict):
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
        accepted, quarantined = count_in(payload, "rows_accepted"), count_in(payload, "rows_quarantined")
        counts = f"{accepted} rows accepted, {quarantined} quarantined"
        return "; ".join([counts, *texts_in(payload, "failures"), *texts_in(payload, "warnings")])
    if entry.stream == "feedback":
        return "; ".join(_errors(payload))
    if entry.stream == "release":
        return _release_in_words(payload)
    if entry.stream == "incident":
        return f"{text_in(payload, 'reason')} {text_in(payload, 'cure')}"
    return text_in(payload, "summary") or text_in(payload, "reason")


def _release_in_words(payload: Payload) -> str:
    actor, reason = text_in(payload, "actor"), text_in(payload, "reason")
    step = text_in(payload, "step")
    return ": ".join(part for part in (step, actor, reason) if part)


def _errors(payload: Payload) -> Iterable[str]:
    for version, values in payload.items():
        loss = values.get("loss") if isinstance(values, dict) else None
        if isinstance(values, dict) and isinstance(loss, (int, float)):
            rows = count_in(values, "rows")
            yield f"version {version}: {loss_name_in(values)} {loss:.3g} on {rows} rows"


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_LENGTH else text[: TEXT_LENGTH - 1] + "…"
