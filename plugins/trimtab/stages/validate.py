"""Judge the landed batch with the suite: block it, or let its good rows through and set the bad ones aside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pandas as pd

from trimtab.domain.journal import Draft, Ledger, Payload, record
from trimtab.domain.ports import BrokenRow, ExpectationResult, Lake, Validator
from trimtab.errors import MAX_EXAMPLES
from trimtab.stages.ingest import RAW_LENGTH, quarantine_frame

QUARANTINE_PART = "validate"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateResult:
    """Outcome of the validation of a batch."""

    accepted: bool
    rows_accepted: int
    rows_quarantined: int
    failures: tuple[str, ...]
    """Critical expectations that failed as a whole; they block the batch."""
    warnings: tuple[str, ...]
    """Warnings that failed; recorded only."""

    @property
    def summary(self) -> str:
        """One sentence for the log and the UI."""
        if not self.accepted:
            return "Batch blocked: " + "; ".join(self.failures[:MAX_EXAMPLES]) + "."
        return f"{self.rows_accepted} rows accepted, {self.rows_quarantined} set aside, {len(self.warnings)} warnings."


def validate(day: date, *, validator: Validator, lake: Lake, ledger: Ledger) -> ValidateResult:
    """Validate the landed rows of a day and record the outcome; a blocked batch has no row in `batches`."""
    landed = lake.read("landing", day, day)
    results = validator.validate(landed) if len(landed) else []
    failures = tuple(_sentence(r) for r in results if r.severity == "critical" and not r.success)
    if not len(landed):
        failures = ("no row of the batch could be read",)
    broken = [] if failures else _bad_rows(landed, results)
    bad = {row.row for row in broken}
    accepted = landed[~landed["_row"].isin(bad)] if not failures else landed.iloc[:0]
    lake.write("quarantine", day, quarantine_frame(broken), part=QUARANTINE_PART)
    lake.write("batches", day, _without_partitions(accepted))
    result = ValidateResult(
        accepted=not failures,
        rows_accepted=len(accepted),
        rows_quarantined=len(broken),
        failures=failures,
        warnings=tuple(_sentence(r) for r in results if r.severity == "warning" and not r.success),
    )
    _record(day, result, ledger)
    return result


def _record(day: date, result: ValidateResult, ledger: Ledger) -> None:
    kind = "accepted" if result.accepted else "blocked"
    payload: Payload = {
        "rows_accepted": result.rows_accepted,
        "rows_quarantined": result.rows_quarantined,
        "failures": list(result.failures),
        "warnings": list(result.warnings),
    }
    record(ledger, Draft(stream="batch", subject=day.isoformat(), kind=kind, as_of=day, payload=payload))
    if not result.accepted:
        reason: Payload = {"reason": result.summary, "cure": "Mend the feed, then clear the tasks of this day."}
        record(
            ledger,
            Draft(stream="incident", subject=f"batch {day.isoformat()}", kind="opened", as_of=day, payload=reason),
        )


def _bad_rows(landed: pd.DataFrame, results: Sequence[ExpectationResult]) -> list[BrokenRow]:
    reasons: dict[int, list[str]] = {}
    for result in results:
        if result.severity == "critical" and result.per_row:
            for row in result.unexpected_rows:
                reasons.setdefault(row, []).append(result.expectation)
    by_row = landed.set_index("_row").drop(columns=["_day", "_part"])
    return [
        BrokenRow(
            row=row,
            reason="breaks " + "; ".join(broken),
            raw=json.dumps(by_row.loc[row].to_dict(), default=str)[:RAW_LENGTH],
        )
        for row, broken in reasons.items()
    ]


def _sentence(result: ExpectationResult) -> str:
    return f"{result.expectation}: {result.observed}"


def _without_partitions(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=["_day", "_part"], errors="ignore").reset_index(drop=True)
