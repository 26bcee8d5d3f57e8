"""Look whether a former champion fits the present better than the champion: some drifts come back."""

from dataclasses import dataclass
from datetime import date, timedelta

from trimtab.domain.gate import paired_test
from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import LOSS_NAMES, FloatArray, losses
from trimtab.domain.ports import Lake, Registry
from trimtab.domain.release import champions
from trimtab.domain.spec import GateSpec, LabelSpec, MonitorSpec, RowsSpec
from trimtab.domain.staleness import DAYS, LOOK_BACK_DAYS
from trimtab.domain.training import Labelled, Snapshot
from trimtab.stages.judge import broken_days, staleness_of
from trimtab.stages.snapshot import read_labelled

FORMER_CHAMPIONS = 12
"""The newest ones that are asked: each costs a prediction of the last labelled days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """A former champion that was better."""

    version: str
    reason: str


def recall(
    as_of: date,
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    rows: RowsSpec,
    label: LabelSpec,
    gate: GateSpec,
    monitor: MonitorSpec,
    in_place_of_training: bool,
) -> Recall | None:
    """The best former champion that beats the present one on the last labelled days.

    In place of a training it must also save more of the loss than a shift does, since that is what a training can count
    on: a model of last year may be nearer than the present one and yet far off. A version that had seen one of these
    days is not asked. The gate's significance is spread over those that are.
    """
    entries = [entry for entry in ledger.entries("release") if entry.as_of <= as_of]
    lived = champions(entries)
    if len(set(lived)) < 2:  # noqa: PLR2004  # a champion and one before
        return None
    evidence = _last_labelled(as_of, lake, ledger, rows, label)
    if evidence is None:
        return None
    first = min(evidence.day)
    requested = {entry.subject: entry.as_of for entry in reversed(entries) if entry.kind == "requested"}
    former = [one for one in dict.fromkeys(reversed(lived)) if one != lived[-1] and str(requested[one]) <= first]
    former = former[:FORMER_CHAMPIONS]
    present = _losses(lived[-1], evidence, registry, label)
    saving = monitor.smallest_saving
    if in_place_of_training:
        saving = max(saving, _saving_of_a_shift(as_of, ledger))
    found = []
    for version in former:
        own = _losses(version, evidence, registry, label)
        test = paired_test(own, present, evidence.day)
        matters = own.mean() <= (1 - saving) * present.mean()
        if matters and test.p_value <= gate.significance / len(former):
            reason = (
                f"version {version} had {LOSS_NAMES[label.task]} {own.mean():.3g} against {present.mean():.3g} of "
                f"version {lived[-1]} on {len(own)} rows of {test.days} days (p = {test.p_value:.2g})"
            )
            found.append((float(own.mean()), Recall(version=version, reason=reason)))
    return min(found, key=lambda one: one[0])[1] if found else None


def _saving_of_a_shift(as_of: date, ledger: Ledger) -> float:
    verdicts = ledger.entries("verdict", as_of.isoformat())
    return (staleness_of(verdicts[-1]).share or 0.0) if verdicts else 0.0


def _last_labelled(as_of: date, lake: Lake, ledger: Ledger, rows: RowsSpec, label: LabelSpec) -> Labelled | None:
    last = as_of - timedelta(days=label.delay_days)
    broken = tuple(broken_days(ledger))
    recent = [day for day in lake.days("labels") if last - timedelta(days=LOOK_BACK_DAYS) < day <= last]
    days = [day for day in recent if day not in broken][-DAYS:]
    if len(days) < DAYS:
        return None
    newest = Snapshot(
        as_of=as_of,
        last_labelled=days[-1],
        holdout_days=DAYS,
        batches_version=lake.version("batches"),
        labels_version=lake.version("labels"),
        left_out=broken,
    )
    return read_labelled(newest, days[0], days[-1], lake, rows)


def _losses(version: str, evidence: Labelled, registry: Registry, label: LabelSpec) -> FloatArray:
    predicted = registry.load(version=version).predict(evidence.rows)
    return losses(label.task, evidence.y_true, predicted)
