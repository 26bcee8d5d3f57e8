"""What a policy came to: read off its lake and its ledger when its last day has been lived."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from trimtab.adapters.replay_stores import PolicyStores
from trimtab.adapters.whole_files import write_whole
from trimtab.cli.replay_folders import Plan
from trimtab.domain.journal import Entry, Ledger
from trimtab.domain.metrics import LOSS_NAMES, losses
from trimtab.domain.ports import BATCH
from trimtab.domain.replaying import DayLoss, Event, EventKind, Outcome, PolicySpec
from trimtab.domain.retraining import Action
from trimtab.domain.verdict import Status

OUTCOME_FILE = "outcome.json"
_outcome_json = TypeAdapter(Outcome)


def outcome_of(plan: Plan, policy: PolicySpec, stores: PolicyStores, seconds: float) -> Outcome:
    """What the days that were lived come to; `seconds` is what they took."""
    events = _events(plan, policy, stores.ledger)
    retrained = sum(event.kind == "retrain" for event in events)
    return Outcome(
        policy=policy.name,
        description=policy.description,
        loss_name=LOSS_NAMES[stores.folder.spec.label.task],
        days=tuple(_served_losses(plan, stores)),
        events=tuple(events),
        fits=retrained * len(stores.folder.spec.train.candidates),
        seconds=seconds,
    )


def _served_losses(plan: Plan, stores: PolicyStores) -> Iterator[DayLoss]:
    """Each day's served predictions against the labels that are known on the last day."""
    task = stores.folder.spec.label.task
    predictions = stores.lake.read("predictions", plan.first, plan.last, part=BATCH)
    if not len(predictions):
        return
    served = predictions.loc[predictions["served"], ["_day", "_key", "prediction"]]
    labels = stores.lake.read("labels", plan.first, plan.last, columns=["_day", "_key", "label"])
    joined = served.merge(labels, on=["_day", "_key"])
    for day, rows in joined.groupby("_day", sort=True):
        y_true, y_pred = (rows[name].to_numpy(dtype=np.float64) for name in ("label", "prediction"))
        yield DayLoss(day=date.fromisoformat(str(day)), rows=len(rows), loss=float(losses(task, y_true, y_pred).mean()))


def _events(plan: Plan, policy: PolicySpec, ledger: Ledger) -> Sequence[Event]:
    """What the ledger says happened on the days of the replay."""
    found = [
        *(_event("retrain", entry, "reason") for entry in ledger.entries("training")),
        *(
            _event("recalibration", entry, "reason")
            for entry in ledger.entries("retraining")
            if entry.kind == Action.RECALIBRATE
        ),
        *(_event("alarm", entry, "summary") for entry in ledger.entries("verdict") if entry.kind == Status.DECAY),
        *(_event("incident", entry, "reason") for entry in ledger.entries("incident")),
        *_release_events(ledger.entries("release")),
    ]
    if policy.ask_gate:
        found += [_event("refusal", entry, "summary") for entry in ledger.entries("gate") if entry.kind == "refused"]
    return sorted((event for event in found if plan.first <= event.day <= plan.last), key=lambda event: event.day)


def _release_events(entries: Sequence[Entry]) -> Iterator[Event]:
    requests: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == "requested":
            requests[entry.subject] = entry
        elif entry.kind == "live" and requests[entry.subject].payload.get("previous"):
            yield _event("promotion", replace(entry, payload=requests[entry.subject].payload), "reason")
        elif entry.kind == "rolled_back":
            yield _event("rollback", entry, "reason")


def _event(kind: EventKind, entry: Entry, key: str) -> Event:
    return Event(day=entry.as_of, kind=kind, reason=str(entry.payload.get(key, "")))


def store_outcome(root: Path, plan: Plan, outcome: Outcome) -> None:
    """Keep an outcome with the day that it reaches to."""
    content = {"last": plan.last.isoformat(), "outcome": _outcome_json.dump_python(outcome, mode="json")}
    write_whole(root / OUTCOME_FILE, json.dumps(content).encode())


def stored_outcome(root: Path, plan: Plan) -> Outcome | None:
    """The outcome that is kept, if it reaches to the last day."""
    try:
        stored = json.loads((root / OUTCOME_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if stored["last"] != plan.last.isoformat():
        return None
    return _outcome_json.validate_python(stored["outcome"], strict=False)
