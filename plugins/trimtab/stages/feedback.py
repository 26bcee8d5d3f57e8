"""Take in the labels that have arrived, and measure what had been predicted for those rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from trimtab.domain.columns import row_keys
from trimtab.domain.journal import Draft, Ledger, record
from trimtab.domain.metrics import Errors, errors
from trimtab.domain.ports import Lake, Source, TrafficLog
from trimtab.domain.row_types import typed
from trimtab.domain.spec import LabelSpec, RowsSpec
from trimtab.stages.score import PART as BATCH

ONLINE = "online"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackResult:
    """Labels of one day, and the errors that they show."""

    day: date
    """The day whose labels arrived."""
    rows: int
    """Accepted rows of that day."""
    labelled: int
    """Rows that got a label; the others never get one unless the source is corrected."""
    errors: Mapping[str, Errors]
    """Errors of each version that predicted rows of that day."""


def feedback(
    as_of: date, *, source: Source, lake: Lake, ledger: Ledger, traffic: TrafficLog, rows: RowsSpec, label: LabelSpec
) -> FeedbackResult:
    """Write labels and online predictions of the day whose labels arrive on `as_of`, and record the errors."""
    day = as_of - timedelta(days=label.delay_days)
    batch = lake.read("batches", day, day)
    if not len(batch):
        lake.write("labels", day, pd.DataFrame())  # those of a batch that has been blocked since
        return FeedbackResult(day=day, rows=0, labelled=0, errors={})
    online = traffic.predictions(day).rename(columns={"key": "_key"})
    if len(online):  # a log that has been cleared away since must not clear the lake
        lake.write("predictions", day, online, part=ONLINE)
    labels = _labels(day, source, batch, rows, label)
    lake.write("labels", day, labels)
    measured = _measure(day, lake, labels)
    if measured:
        payload = {version: asdict(values) for version, values in measured.items()}
        draft = Draft(stream="feedback", subject=day.isoformat(), kind="measured", as_of=as_of, payload={**payload})
        record(ledger, draft)
    return FeedbackResult(day=day, rows=len(batch), labelled=len(labels), errors=measured)


def _labels(day: date, source: Source, batch: pd.DataFrame, rows: RowsSpec, label: LabelSpec) -> pd.DataFrame:
    """Labels of the accepted rows, in the order of the batch; one that is no number is no label.

    Rows are found by key, since a source may have been written anew. Of repeated keys the row that was accepted counts.
    """
    raw = source.read(day, [*rows.key, label.column]).rows
    columns = {name: typed(raw[name].to_numpy(dtype=object), rows.columns[name])[0] for name in rows.key}
    values, _ = typed(raw[label.column].to_numpy(dtype=object), "number?")
    found = pd.DataFrame({"_key": row_keys(columns, rows.key), "_row": raw["_row"].to_numpy(), "label": values})
    accepted = dict(zip(batch["_key"], batch["_row"], strict=True))
    found["moved"] = found["_key"].map(accepted) != found["_row"]
    found = found.sort_values("moved", kind="stable").drop_duplicates("_key")
    labelled = batch[["_key"]].merge(found, on="_key", how="inner")
    return labelled.dropna(subset="label")[["_key", "label"]].reset_index(drop=True)


def _measure(day: date, lake: Lake, labels: pd.DataFrame) -> Mapping[str, Errors]:
    predictions = lake.read("predictions", day, day)
    if not len(predictions):
        return {}
    predictions = predictions[predictions["_part"].isin([BATCH, ONLINE])]
    joined = predictions.drop_duplicates(["_key", "version"]).merge(labels, on="_key")
    return {
        str(version): errors(group["label"].to_numpy(dtype=np.float64), group["prediction"].to_numpy(dtype=np.float64))
        for version, group in joined.groupby("version", sort=True)
    }
