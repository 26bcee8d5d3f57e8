"""Take in the labels that have arrived, and measure what had been predicted for those rows.

A label of the source counts before what clients of the prediction service have said: it is there for every row, and
so does not depend on which answers somebody cared to correct. What they said labels the rows that it leaves out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import cached_property, partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import TypeAdapter

from trimtab.domain.columns import Columns, row_keys, slices_of
from trimtab.domain.interaction import FIELD
from trimtab.domain.journal import Draft, JsonValue, Ledger, Payload, latest_by_subject, record
from trimtab.domain.maturity import Looks, lags_due, wait_days
from trimtab.domain.metrics import LOSS_NAMES, DayErrors, Errors, day_errors, defined, losses, measures
from trimtab.domain.ports import BATCH, Lake, Registry, Source
from trimtab.domain.row_types import label_values, typed
from trimtab.domain.spec import LabelSpec, RowsSpec, SliceSpec
from trimtab.domain.staleness import LOOK_BACK_DAYS, shift, shifted
from trimtab.stages.collect import ONLINE
from trimtab.stages.frames import columns_of
from trimtab.stages.outcomes import completed, interactions, outcomes_of
from trimtab.stages.profile_labels import profile_labels

errors_json = TypeAdapter(Errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackResult:
    """Labels of one day, and the errors that they show."""

    day: date
    """The day whose labels are complete."""
    rows: int
    """Accepted rows of that day."""
    labelled: int
    """Rows that got a label; most of the others never get one."""
    metrics: Mapping[str, Mapping[str, float]]
    """The defined metrics of each version that predicted rows of that day."""


def feedback(
    as_of: date,
    *,
    source: Source,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    rows: RowsSpec,
    label: LabelSpec,
    slices: Sequence[SliceSpec],
    features: Callable[[Columns], Columns],
) -> FeedbackResult:
    """Write the labels of the day that is complete on `as_of`, and record the errors of what was predicted for it.

    The labels are also counted, on the bins of the champion of their day (`label_profiles`).

    That is the day whose labels are due, or an earlier one if labels have been late (`trimtab.domain.maturity`).
    Answers of the prediction service, and what clients said of them, count as far as `collect` has moved them.
    `features` computes the features of rows; it is only called if a slice is one of a feature.

    Raises:
        DataContractError: If the label's column is not what the spec says.
        RegistryUnavailableError: If the champion is not at hand and the registry does not answer; nothing is written.
    """
    newest = as_of - timedelta(days=label.delay_days)
    wait, due = wait_days(_looks(as_of, ledger)), lags_due(newest)
    found = {lag: _arrived(newest - timedelta(days=lag), source, lake, rows, label) for lag in {wait, *due}}
    for lag in due:
        _note_look(found[lag], lag, as_of, ledger)
    slicing = partial(_Slicing, rows=rows, slices=slices, features=features)
    late = [one for lag, one in found.items() if lag > wait and len(one.labels) > len(_known(one.day, lake))]
    take_in = partial(_take_in, as_of=as_of, lake=lake, ledger=ledger, registry=registry, label=label, slicing=slicing)
    for one in late:
        take_in(one)
    return take_in(found[wait])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrived:
    """What has come of a day so far."""

    day: date
    batch: pd.DataFrame
    predictions: pd.DataFrame
    said: pd.DataFrame
    labels: pd.DataFrame


def _arrived(day: date, source: Source, lake: Lake, rows: RowsSpec, label: LabelSpec) -> _Arrived:
    batch = lake.read("batches", day, day)
    if not len(batch):
        nothing = pd.DataFrame()
        return _Arrived(day=day, batch=nothing, predictions=nothing, said=nothing, labels=nothing)
    predictions = _predictions(day, lake)
    said = outcomes_of(predictions, lake)
    labels = completed(_labels(day, source, batch, rows, label), said, batch, label)
    return _Arrived(day=day, batch=batch, predictions=predictions, said=said, labels=labels)


def _take_in(
    arrived: _Arrived,
    *,
    as_of: date,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    label: LabelSpec,
    slicing: Callable[[pd.DataFrame], "_Slicing"],
) -> FeedbackResult:
    """Write the labels, and record what they say of the predictions; those of a batch that was blocked are deleted."""
    day, labels, sliced = arrived.day, arrived.labels, slicing(arrived.batch)
    # Before anything is written: once labels are there, a repetition no longer takes them for late ones.
    counted = profile_labels(day, labels, lambda: sliced.of(labels["_key"]), ledger=ledger, registry=registry)
    lake.write("labels", day, labels)
    lake.write("label_profiles", day, counted)
    if not len(arrived.batch):
        return FeedbackResult(day=day, rows=0, labelled=0, metrics={})
    biases = {version: shift(history) for version, history in _histories(day, as_of, ledger).items()}
    measured = _measure(arrived.predictions, labels, label, sliced, biases)
    if measured:
        used = interactions(arrived.predictions, arrived.said)
        payload = {version: _payload(one, label, used.get(version)) for version, one in measured.items()}
        draft = Draft(stream="feedback", subject=day.isoformat(), kind="measured", as_of=as_of, payload={**payload})
        record(ledger, draft)
    metrics = {version: one.metrics for version, one in measured.items()}
    return FeedbackResult(day=day, rows=len(arrived.batch), labelled=len(labels), metrics=metrics)


def _known(day: date, lake: Lake) -> pd.DataFrame:
    return lake.read("labels", day, day, columns=["_key"])


def _looks(as_of: date, ledger: Ledger) -> Looks:
    """What was seen before a day; of a look that was repeated, what it saw first: later, more have come."""
    looks: dict[date, dict[int, int]] = {}
    for entry in ledger.entries("labels"):
        lag, labelled = entry.payload.get("lag"), entry.payload.get("labelled")
        if entry.as_of < as_of and isinstance(lag, int) and isinstance(labelled, int):
            looks.setdefault(date.fromisoformat(entry.subject), {}).setdefault(lag, labelled)
    return looks


def _note_look(arrived: _Arrived, lag: int, as_of: date, ledger: Ledger) -> None:
    if not len(arrived.batch):
        return
    counts: Payload = {"lag": lag, "rows": len(arrived.batch), "labelled": len(arrived.labels)}
    words = f"{len(arrived.labels)} of {len(arrived.batch)} rows have a label {lag} days after it was due"
    payload: Payload = {**counts, "summary": words}
    record(ledger, Draft(stream="labels", subject=arrived.day.isoformat(), kind="seen", as_of=as_of, payload=payload))


def _labels(day: date, source: Source, batch: pd.DataFrame, rows: RowsSpec, label: LabelSpec) -> pd.DataFrame:
    """Labels of the accepted rows, in the order of the batch; one that is no number is no label.

    Rows are found by key, since a source may have been written anew. Of repeated keys the row that was accepted counts.
    """
    raw = source.read(day, [*rows.key, label.column]).rows
    columns = {name: typed(raw[name].to_numpy(dtype=object), rows.columns[name])[0] for name in rows.key}
    values = label_values(raw[label.column].to_numpy(dtype=object), label)
    found = pd.DataFrame({"_key": row_keys(columns, rows.key), "_row": raw["_row"].to_numpy(), "label": values})
    accepted = dict(zip(batch["_key"], batch["_row"], strict=True))
    found["moved"] = found["_key"].map(accepted) != found["_row"]
    found = found.sort_values("moved", kind="stable").drop_duplicates("_key")
    labelled = batch[["_key"]].merge(found, on="_key", how="inner")
    return labelled.dropna(subset="label")[["_key", "label"]].reset_index(drop=True)


def _predictions(day: date, lake: Lake) -> pd.DataFrame:
    found = lake.read("predictions", day, day)
    return found[found["_part"].isin([BATCH, ONLINE])] if len(found) else found


@dataclass(frozen=True, slots=True)
class _Measured:
    """One version on one day."""

    errors: DayErrors
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class _Slicing:
    """The slices of a batch's rows."""

    batch: pd.DataFrame
    rows: RowsSpec
    slices: Sequence[SliceSpec]
    features: Callable[[Columns], Columns]

    def of(self, keys: "pd.Series[str]") -> Mapping[str, NDArray[np.object_]]:
        """By name of the slicing, the slice of each of some rows (n,); none if the batch is older than a column."""
        position = pd.Index(self.batch["_key"]).get_indexer(keys)
        return {name: groups[position] for name, groups in self._of_all.items()}

    @cached_property
    def _of_all(self) -> Mapping[str, NDArray[np.object_]]:
        if not self.slices or not set(self.rows.columns) <= set(self.batch.columns):
            return {}
        columns = columns_of(self.batch, self.rows)
        if all(one.column in self.rows.columns for one in self.slices):
            return slices_of(columns, self.slices)
        return slices_of({**columns, **self.features(columns)}, self.slices)


def _histories(day: date, as_of: date, ledger: Ledger) -> Mapping[str, Sequence[Errors]]:
    """Errors of each version on the days before that were known on `as_of`, the oldest first."""
    oldest = (day - timedelta(days=LOOK_BACK_DAYS)).isoformat()
    known = [entry for entry in ledger.entries("feedback") if entry.as_of <= as_of]
    before = {subject: entry for subject, entry in latest_by_subject(known).items() if oldest <= subject < str(day)}
    histories: dict[str, list[Errors]] = {}
    for _, entry in sorted(before.items()):
        for version, values in entry.payload.items():
            if isinstance(values, dict):
                histories.setdefault(version, []).append(errors_of(values))
    return histories


def errors_of(values: Mapping[str, JsonValue]) -> Errors:
    """Errors of one version in a feedback entry, without those of its slices."""
    return errors_json.validate_python({name: values[name] for name in ("rows", "loss", "bias")})


def _measure(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    label: LabelSpec,
    slicing: _Slicing,
    biases: Mapping[str, float | None],
) -> Mapping[str, _Measured]:
    if not len(predictions):
        return {}
    joined = predictions.drop_duplicates(["_key", "version"]).merge(labels, on="_key")
    slices = slicing.of(joined["_key"])
    y_true, y_pred = (joined[name].to_numpy(dtype=np.float64) for name in ("label", "prediction"))
    versions = joined["version"].astype(str).to_numpy()
    found = {}
    for version in np.unique(versions):
        mask = versions == version
        own = {name: groups[mask] for name, groups in slices.items()}
        errors = day_errors(label.task, y_true[mask], y_pred[mask], own)
        bias = biases.get(str(version))
        if bias is not None:
            rival = losses(label.task, y_true[mask], shifted(label.task, y_pred[mask], bias))
            errors = replace(errors, shifted_loss=float(rival.mean()))
        found[str(version)] = _Measured(
            errors=errors,
            metrics=defined(measures(label, y_true[mask], y_pred[mask])),
        )
    return found


def _payload(measured: _Measured, label: LabelSpec, used: Mapping[str, int] | None) -> dict[str, JsonValue]:
    errors = asdict(measured.errors)
    interaction: dict[str, JsonValue] = {FIELD: {**used}} if used else {}
    return {**errors, "loss_name": LOSS_NAMES[label.task], "metrics": {**measured.metrics}, **interaction}
