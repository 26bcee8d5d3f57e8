"""Judge whether the champion is still true, from profiles and from errors on labels that have arrived; say why not."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import TypeVar

from pydantic import TypeAdapter

from trimtab.domain.diagnosis import Evidence, Intake, Kind, Triage
from trimtab.domain.journal import Draft, Entry, Ledger, Payload, latest_by_subject, record
from trimtab.domain.label_drift import label_drift
from trimtab.domain.metrics import DayErrors
from trimtab.domain.ports import Lake, Registry, Table
from trimtab.domain.profiles import Profile
from trimtab.domain.reference_days import ReferenceDaysRule
from trimtab.domain.season import of_season
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.staleness import UNKNOWN, Staleness, staleness
from trimtab.domain.triage import triage
from trimtab.domain.verdict import HORIZONS, Current, DecisionRule, Finding, Status, Verdict
from trimtab.stages.ingest import QUARANTINE_PART as INGEST_PART
from trimtab.stages.ingest import REPEATED_KEY
from trimtab.stages.profile_batch import profile_json
from trimtab.stages.score import routing_of

finding_json = TypeAdapter(tuple[Finding, ...])
triage_json = TypeAdapter(Triage)
staleness_json = TypeAdapter(Staleness)
day_errors_json = TypeAdapter(DayErrors)
Value = TypeVar("Value")
NEAREST_RECORDED = 10
"""Findings within their limits that a verdict in the ledger keeps."""
LOOK_BACK_DAYS = 4 * max(HORIZONS)
"""Days among which the last ones with rows are found; holidays of the source may leave gaps."""


def judge(
    day: date,
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    monitor: MonitorSpec,
    rule: DecisionRule | None = None,
) -> Verdict:
    """Judge the champion of one day and record the verdict, also when it is that there is not enough data."""
    route = routing_of(day, ledger)
    champion = route.champion
    verdict, diagnosis = Verdict(status=Status.NOT_ENOUGH_DATA, findings=()), Triage(kind=Kind.NOTHING)
    stale, labels = UNKNOWN, None
    if champion is not None:
        current = current_of(champion, day, lake, ledger)
        trained = registry.describe(champion, route.digests[champion]).reference
        reference, labels = of_season(trained, day), label_drift(trained, _labels(champion, day, current, lake))
        verdict = (rule or ReferenceDaysRule()).judge(reference, current, monitor)
        stale = staleness(current.errors, monitor)
        if stale.stale:
            verdict = replace(verdict, status=Status.DECAY)
        intake = _intake(day, lake, ledger)
        evidence = Evidence(day=day.isoformat(), reference=reference, current=current, verdict=verdict, intake=intake)
        diagnosis = triage(evidence)
    payload: Payload = {
        "version": champion,
        "summary": _in_words(stale, diagnosis, verdict),
        "staleness": staleness_json.dump_python(stale, mode="json"),
        "triage": triage_json.dump_python(diagnosis, mode="json"),
        "labels": labels.summary if labels else None,
        "findings": finding_json.dump_python(_recorded(verdict.findings), mode="json"),
    }
    draft = Draft(stream="verdict", subject=day.isoformat(), kind=verdict.status.value, as_of=day, payload=payload)
    record(ledger, draft, notes=("labels",))  # which change when labels come late, and decide nothing
    return verdict


def _in_words(stale: Staleness, diagnosis: Triage, verdict: Verdict) -> str:
    """A stale model errs in one direction, which need not make its errors larger than they ordinarily are."""
    grown = any(finding.kind == "error" for finding in verdict.flagged)
    age = f"Stale{'' if grown else ', though no error is beyond its limit'}: {stale.summary}." if stale.stale else ""
    return " ".join(part for part in (age, diagnosis.summary, verdict.summary) if part)


def staleness_of(entry: Entry) -> Staleness:
    """What a verdict said about the model's age; unknown in one of an older version."""
    said = entry.payload.get("staleness")
    return staleness_json.validate_python(said) if said else UNKNOWN


def _recorded(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """What the ledger keeps of some hundred findings: those about all errors, beyond a limit, and nearest to it."""
    whole = [one for one in findings if one.flagged or (one.kind == "error" and not one.column)]
    other = [one for one in findings if one not in whole and one.value is not None and one.limit]
    nearest = sorted(other, key=lambda one: (one.value or 0) / (one.limit or 1), reverse=True)[:NEAREST_RECORDED]
    return tuple(one for one in findings if one in whole or one in nearest)


def current_of(champion: str, day: date, lake: Lake, ledger: Ledger) -> Current:
    """What has been seen of a champion up to a day, without the days whose data are broken."""
    broken = {found.isoformat() for found in broken_days(ledger)} - {day.isoformat()}
    return Current(
        profiles=_without(broken, _profiles("profiles", champion, day, lake)),
        errors=_without(broken, _errors(champion, day, ledger)),
        rows=_without(broken, _rows(day, ledger)),
    )


def triage_of(entry: Entry) -> Triage:
    """What triage said in a verdict; nothing in one of an older version."""
    said = entry.payload.get("triage")
    return triage_json.validate_python(said) if said else Triage(kind=Kind.NOTHING)


def broken_days(ledger: Ledger) -> Sequence[date]:
    """Days whose data triage calls broken: nothing is learnt from them, and nothing compared with them."""
    latest = latest_by_subject(ledger.entries("verdict")).values()
    return sorted(entry.as_of for entry in latest if triage_of(entry).kind is Kind.DATA_BUG)


def _without(days: Set[str], values: Mapping[str, Value]) -> Mapping[str, Value]:
    return {day: value for day, value in values.items() if day not in days}


def _intake(day: date, lake: Lake, ledger: Ledger) -> Intake:
    """What ingest and validation have recorded about a day's batch."""
    entries = ledger.entries("batch", day.isoformat())
    if not entries:
        return Intake()
    accepted, failures = entries[-1].payload.get("rows_accepted"), entries[-1].payload.get("failures")
    aside = lake.read("quarantine", day, day, part=INGEST_PART)
    repeated = int(aside["reason"].str.startswith(REPEATED_KEY).sum()) if len(aside) else 0
    return Intake(
        blocked=entries[-1].kind == "blocked",
        failures=tuple(map(str, failures)) if isinstance(failures, list) else (),
        accepted=accepted if isinstance(accepted, int) else 0,
        repeated=repeated,
        unreadable=len(aside) - repeated,
    )


def _profiles(table: Table, champion: str, day: date, lake: Lake) -> Mapping[str, Profile]:
    """Profiles on a champion's bins, by ISO day."""
    columns = ["_day", "version", "profile"]
    rows = lake.read(table, day - timedelta(days=LOOK_BACK_DAYS), day, columns=columns)
    if not len(rows):
        return {}
    rows = rows[rows["version"] == champion]
    return {
        iso_day: profile_json.validate_json(content)
        for iso_day, content in zip(rows["_day"], rows["profile"], strict=True)
    }


def _labels(champion: str, day: date, current: Current, lake: Lake) -> Mapping[str, Profile]:
    """Profiles of the labels that had come by a day, without the days whose data are broken."""
    counted = _profiles("label_profiles", champion, day, lake)
    return {iso_day: one for iso_day, one in counted.items() if iso_day in current.errors}


def _rows(day: date, ledger: Ledger) -> Mapping[str, int]:
    """Rows that were taken in on each day, whichever version predicted them."""
    oldest = day - timedelta(days=LOOK_BACK_DAYS)
    known = [entry for entry in ledger.entries("batch") if oldest <= entry.as_of <= day and entry.kind == "accepted"]
    rows = {subject: entry.payload.get("rows_accepted") for subject, entry in latest_by_subject(known).items()}
    return {subject: count for subject, count in rows.items() if isinstance(count, int)}


def _errors(champion: str, day: date, ledger: Ledger) -> Mapping[str, DayErrors]:
    """Errors of the champion on days whose labels arrived of late; older ones say nothing about `day`."""
    oldest = day - timedelta(days=LOOK_BACK_DAYS)
    known = [entry for entry in ledger.entries("feedback") if oldest <= entry.as_of <= day]
    measured: dict[str, DayErrors] = {}
    for subject, entry in latest_by_subject(known).items():
        values = entry.payload.get(champion)
        if isinstance(values, dict):
            measured[subject] = _day_errors(values)
    return measured


def _day_errors(values: Mapping[str, object]) -> DayErrors:
    names = (one.name for one in fields(DayErrors))
    return day_errors_json.validate_python({name: values[name] for name in names if name in values})
