"""Entries of the ledger, and how a decision is recorded once however often its task runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal, Protocol, TypeAlias

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Payload: TypeAlias = dict[str, JsonValue]
Stream = Literal[
    "batch", "labels", "feedback", "verdict", "training", "gate", "retraining", "incident", "release", "automation"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A decision about to be recorded."""

    stream: Stream
    subject: str
    """What is decided about: a day, a training, a release."""
    kind: str
    as_of: date
    """The day in the model's own time that the decision belongs to."""
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A decision as it stands in the ledger; never changed, never removed."""

    stream: Stream
    sequence: int
    """Position within the stream of this model, from 1 without gaps."""
    subject: str
    kind: str
    as_of: date
    payload: Payload
    recorded_at: datetime
    """Wall clock (UTC) of the writer."""


class Ledger(Protocol):
    """The journal of one model."""

    def append(self, draft: Draft, *, after: int) -> Entry:
        """Write the entry that follows sequence number `after` of its stream.

        Raises:
            LedgerConflictError: If another writer has taken that place.
            LedgerUnavailableError: If the database does not answer.
        """
        ...

    def entries(self, stream: Stream, subject: str | None = None) -> Sequence[Entry]:
        """Entries of a stream in order, of one subject where that is given."""
        ...

    def head(self, stream: Stream) -> int:
        """Sequence number of the stream's last entry, 0 when it is empty."""
        ...


def record(ledger: Ledger, draft: Draft, notes: Sequence[str] = ()) -> Entry:
    """Append the decision unless the subject's latest entry already says the same.

    A task that runs twice on the same inputs comes to the same payload and leaves one entry; one that runs on
    corrected inputs leaves a second entry that takes the first one's place. An incident is opened once, whatever has
    become of it since.

    Args:
        ledger: Takes the entry.
        draft: The decision.
        notes: Names in the payload that do not make another decision of it.
    """
    after = ledger.head(draft.stream)
    entries = ledger.entries(draft.stream, draft.subject)
    if draft.stream == "incident":
        entries = [entry for entry in entries if entry.kind == draft.kind]
    if entries and entries[-1].kind == draft.kind and _without(notes, entries[-1]) == _without(notes, draft):
        return entries[-1]
    return ledger.append(draft, after=after)


def _without(notes: Sequence[str], said: Draft | Entry) -> Payload:
    return {name: value for name, value in said.payload.items() if name not in notes}


def latest_by_subject(entries: Sequence[Entry]) -> Mapping[str, Entry]:
    """The entry that counts for each subject: the last one."""
    return {entry.subject: entry for entry in entries}
