"""What users did with the answers of a version, as guards read it from the ledger."""

import math
from datetime import UTC, date, datetime

from trimtab.domain.interaction import Interaction, interactions_since
from trimtab.domain.journal import Entry, Payload

AT = datetime(2026, 1, 1, tzinfo=UTC)


def measured(sequence: int, day: str, payload: Payload) -> Entry:
    return Entry(
        stream="feedback",
        sequence=sequence,
        subject=day,
        kind="measured",
        as_of=date(2013, 1, 9),
        payload=payload,
        recorded_at=AT,
    )


def used(**counts: int) -> Payload:
    return {"rows": 3, "loss": 1.0, "interaction": {**counts}}


def test_days_are_added_up_by_version_and_the_last_entry_of_a_day_counts() -> None:
    entries = [
        measured(1, "2013-01-01", {"1": used(rows=99, retry=99)}),
        measured(2, "2013-01-02", {"1": used(rows=1, retry=1)}),
        measured(3, "2013-01-03", {"1": used(rows=10, click=4), "2": used(rows=5, override=1)}),
        measured(4, "2013-01-02", {"1": used(rows=10, retry=2), "3": {"rows": 7, "loss": 1.0}}),
    ]
    assert interactions_since(entries, "2013-01-02") == {
        "1": Interaction(rows=20, retry=2, click=4),
        "2": Interaction(rows=5, override=1),
    }


def test_rates_are_shares_of_the_answered_rows() -> None:
    found = Interaction(rows=20, retry=2, click=5)
    assert [found.rate(kind) for kind in ("retry", "click", "override")] == [0.1, 0.25, 0.0]
    assert math.isnan(Interaction().rate("click"))
