"""A decision is recorded once, however often its task runs."""

from datetime import date
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.journal import Draft, Entry, Payload, Stream, latest_by_subject, record
from trimtab.errors import LedgerConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trimtab.adapters.sql_ledger import SqlLedger

DAY = date(2013, 1, 1)
PAYLOADS = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


def draft(kind: str, *, stream: Stream = "batch", subject: str = "2013-01-01", **payload: object) -> Draft:
    return Draft(stream=stream, subject=subject, kind=kind, as_of=DAY, payload=dict(payload))  # type: ignore[arg-type]


def kinds(ledger: "SqlLedger", stream: Stream = "batch") -> list[tuple[str, str]]:
    return [(entry.subject, entry.kind) for entry in ledger.entries(stream)]


@given(PAYLOADS)
def test_any_payload_recorded_twice_leaves_one_entry(ledger_of: "Callable[[str], SqlLedger]", payload: Payload) -> None:
    ledger = ledger_of("once")
    subject = repr(payload)
    decision = Draft(stream="gate", subject=subject[:200], kind="promoted", as_of=DAY, payload=payload)
    first, second = record(ledger, decision), record(ledger, decision)
    assert first.sequence == second.sequence
    assert second.payload == payload


def test_corrected_decision_takes_the_place_of_the_first(ledger: "SqlLedger") -> None:
    record(ledger, draft("accepted", rows=5))
    record(ledger, draft("accepted", rows=6))
    assert latest_by_subject(ledger.entries("batch"))["2013-01-01"].payload == {"rows": 6}
    assert len(ledger.entries("batch")) == 2


def test_decision_that_returns_to_what_it_once_was_counts_again(ledger: "SqlLedger") -> None:
    """A file that was good, then broken, then good again is accepted in the end."""
    for kind in ("accepted", "blocked", "accepted", "accepted"):
        record(ledger, draft(kind))
    assert kinds(ledger) == [("2013-01-01", kind) for kind in ("accepted", "blocked", "accepted")]


def test_incident_that_was_closed_is_not_opened_again_by_a_repetition(ledger: "SqlLedger") -> None:
    for kind in ("opened", "closed", "opened"):
        record(ledger, draft(kind, stream="incident", why="rows"))
    assert kinds(ledger, "incident") == [("2013-01-01", "opened"), ("2013-01-01", "closed")]


def test_subjects_do_not_disturb_each_other(ledger: "SqlLedger") -> None:
    for subject in ("a", "b", "a", "b"):
        record(ledger, draft("accepted", subject=subject))
    assert kinds(ledger) == [("a", "accepted"), ("b", "accepted")]


def test_writer_that_was_overtaken_between_reading_and_appending_is_told(ledger: "SqlLedger") -> None:
    class Overtaken:
        """The ledger, with another writer just before each append."""

        def head(self, stream: Stream) -> int:
            return ledger.head(stream)

        def entries(self, stream: Stream, subject: str | None = None) -> "list[Entry]":
            return list(ledger.entries(stream, subject))

        def append(self, mine: Draft, *, after: int) -> Entry:
            ledger.append(draft("blocked"), after=after)
            return ledger.append(mine, after=after)

    with pytest.raises(LedgerConflictError, match=r"another writer took entry 1 before this one \('accepted' of"):
        record(Overtaken(), draft("accepted"))
    assert kinds(ledger) == [("2013-01-01", "blocked")]
