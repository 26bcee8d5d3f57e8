"""Pin down what a training will see, so that a retry and a later reader see the same."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from trimtab.domain.journal import Draft, Ledger, Payload, record
from trimtab.domain.ports import Lake
from trimtab.domain.spec import LabelSpec, RowsSpec, TrainSpec
from trimtab.domain.training import Labelled, Snapshot
from trimtab.stages.frames import columns_of
from trimtab.stages.judge import broken_days


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotResult:
    """A snapshot, or why there is none."""

    snapshot: Snapshot | None
    rows: int
    """Labelled rows that the largest window would learn from."""
    reason: str


def snapshot(
    as_of: date,
    *,
    lake: Lake,
    ledger: Ledger,
    train: TrainSpec,
    label: LabelSpec,
    reason: str,
    window_days: int | None = None,
) -> SnapshotResult:
    """Take the newest versions of batches and labels known on `as_of`, and record that a training begins.

    Args:
        as_of: Day whose batch was the last to arrive.
        lake: Batches and labels.
        ledger: Gets a `training` entry; one that is there for the same day and reason is used again.
        train: Windows, hold-out and the least number of rows.
        label: Delay of the labels.
        reason: Why a training was asked for.
        window_days: Overrides the windows of all candidates.
    """
    begun = _begun(ledger, as_of, reason)
    if begun is not None:
        return begun
    last = as_of - timedelta(days=label.delay_days)
    longest = window_days or max(candidate.window_days for candidate in train.candidates)
    first = last - timedelta(days=train.holdout_days + longest - 1)
    labels = lake.read("labels", first, last, columns=["_key", "_day"])
    if len(labels):
        labels = labels[~labels["_day"].isin([day.isoformat() for day in broken_days(ledger)])]
    if not len(labels):
        return SnapshotResult(snapshot=None, rows=0, reason=f"there is no label of {first} to {last}")
    taken = Snapshot(
        as_of=as_of,
        last_labelled=date.fromisoformat(str(labels["_day"].max())),
        holdout_days=train.holdout_days,
        batches_version=lake.version("batches"),
        labels_version=lake.version("labels"),
        window_days=window_days,
        left_out=tuple(day for day in broken_days(ledger) if first <= day <= last),
    )
    before = int((labels["_day"] < taken.holdout_first.isoformat()).sum())
    if before < train.min_rows:
        text = f"{before} labelled rows before the hold-out, {train.min_rows} are needed"
        return SnapshotResult(snapshot=None, rows=before, reason=text)
    result = SnapshotResult(snapshot=taken, rows=before, reason=reason)
    record(ledger, _draft(result))
    return result


def read_labelled(taken: Snapshot, first: date, last: date, lake: Lake, rows: RowsSpec) -> Labelled:
    """The labelled rows of days of a snapshot."""
    batches = lake.read("batches", first, last, version=taken.batches_version)
    labels = lake.read("labels", first, last, columns=["_key", "_day", "label"], version=taken.labels_version)
    joined = batches.merge(labels, on=["_day", "_key"], how="inner")
    joined = joined[~joined["_day"].isin([day.isoformat() for day in taken.left_out])]
    return Labelled(
        day=joined["_day"].to_numpy(dtype=object),
        key=joined["_key"].to_numpy(dtype=object),
        rows=columns_of(joined, rows),
        y_true=joined["label"].to_numpy(dtype=np.float64),
    )


def rows_frame(labelled: Labelled) -> pd.DataFrame:
    """Labelled rows as a frame with the label last."""
    return pd.DataFrame({**labelled.rows, "label": labelled.y_true})


def snapshot_payload(taken: Snapshot) -> Payload:
    """A snapshot as JSON, for the ledger and for XCom."""
    return {
        "as_of": taken.as_of.isoformat(),
        "last_labelled": taken.last_labelled.isoformat(),
        "holdout_days": taken.holdout_days,
        "batches_version": taken.batches_version,
        "labels_version": taken.labels_version,
        "window_days": taken.window_days,
        "left_out": [day.isoformat() for day in taken.left_out],
    }


def snapshot_from(payload: Payload) -> Snapshot:
    """The snapshot that `snapshot_payload` wrote."""
    left_out = payload.get("left_out")
    return Snapshot(
        as_of=date.fromisoformat(str(payload["as_of"])),
        last_labelled=date.fromisoformat(str(payload["last_labelled"])),
        holdout_days=_integer(payload["holdout_days"]),
        batches_version=_integer(payload["batches_version"]),
        labels_version=_integer(payload["labels_version"]),
        window_days=None if payload["window_days"] is None else _integer(payload["window_days"]),
        left_out=tuple(date.fromisoformat(str(day)) for day in left_out) if isinstance(left_out, list) else (),
    )


def _integer(value: object) -> int:
    return int(str(value))


def _begun(ledger: Ledger, as_of: date, reason: str) -> SnapshotResult | None:
    for entry in reversed(ledger.entries("training", as_of.isoformat())):
        if entry.payload["reason"] == reason:
            taken = entry.payload["snapshot"]
            assert isinstance(taken, dict)  # noqa: S101  # written by _draft
            return SnapshotResult(snapshot=snapshot_from(taken), rows=_integer(entry.payload["rows"]), reason=reason)
    return None


def _draft(result: SnapshotResult) -> Draft:
    assert result.snapshot is not None  # noqa: S101  # only called with one
    as_of = result.snapshot.as_of
    payload: Payload = {
        "reason": result.reason,
        "rows": result.rows,
        "snapshot": snapshot_payload(result.snapshot),
    }
    return Draft(stream="training", subject=as_of.isoformat(), kind="begun", as_of=as_of, payload=payload)
