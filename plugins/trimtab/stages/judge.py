"""Judge whether the champion is still true, from profiles and from errors on labels that have arrived."""

from collections.abc import Mapping
from datetime import date, timedelta

from pydantic import TypeAdapter

from trimtab.domain.journal import Draft, Ledger, Payload, latest_by_subject, record
from trimtab.domain.ports import Lake, Registry
from trimtab.domain.profiles import DayErrors, Profile
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.verdict import HORIZONS, Current, DecisionRule, Finding, ReferenceDaysRule, Status, Verdict
from trimtab.stages.profile_batch import profile_json
from trimtab.stages.score import routing_of

finding_json = TypeAdapter(tuple[Finding, ...])
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
    champion = routing_of(day, ledger).champion
    if champion is None:
        verdict = Verdict(status=Status.NOT_ENOUGH_DATA, findings=())
    else:
        current = Current(
            profiles=_profiles(champion, day, lake),
            errors=_errors(champion, day, ledger),
        )
        verdict = (rule or ReferenceDaysRule()).judge(registry.describe(champion).reference, current, monitor)
    payload: Payload = {
        "version": champion,
        "summary": verdict.summary if champion else "The model has no champion yet.",
        "findings": finding_json.dump_python(verdict.findings, mode="json"),
    }
    draft = Draft(stream="verdict", subject=day.isoformat(), kind=verdict.status.value, as_of=day, payload=payload)
    record(ledger, draft)
    return verdict


def _profiles(champion: str, day: date, lake: Lake) -> Mapping[str, Profile]:
    rows = lake.read("profiles", day - timedelta(days=LOOK_BACK_DAYS), day)
    if not len(rows):
        return {}
    rows = rows[rows["version"] == champion]
    return {
        iso_day: profile_json.validate_json(content)
        for iso_day, content in zip(rows["_day"], rows["profile"], strict=True)
    }


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
    return TypeAdapter(DayErrors).validate_python({name: values[name] for name in ("rows", "mae", "bias")})
