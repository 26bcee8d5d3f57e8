"""What clients said of the answers of the prediction service, brought together with the rows that were answered."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import date, timedelta

import numpy as np
import pandas as pd

from trimtab.domain.interaction import INTERACTION_KINDS, Interaction
from trimtab.domain.ports import Lake
from trimtab.domain.row_types import label_values, typed
from trimtab.domain.spec import LabelSpec
from trimtab.stages.collect import ONLINE

SAID_LABELS = ("override", "label", "correction")
"""Kinds of outcome that say what a label is. Of several about a row the last kind counts, of one kind the latest."""
ROW = ["request_id", "row"]
SAID = [*ROW, "_key", "version", "kind", "value"]


def outcomes_of(predictions: pd.DataFrame, lake: Lake) -> pd.DataFrame:
    """What was said of answered rows: `request_id`, `row`, `_key`, `version`, `kind` and `value`, the earliest first.

    An outcome of a whole request is one of each of its rows.
    """
    answered = answered_rows(predictions)
    said = _arrived(answered, lake) if len(answered) else pd.DataFrame()
    if not len(said):
        return pd.DataFrame(columns=SAID)
    of_rows = said.dropna(subset="row").merge(answered, on=ROW)
    of_requests = said[said["row"].isna()].drop(columns="row").merge(answered, on="request_id")
    found = pd.concat([of_rows, of_requests]).sort_values("at", kind="stable")
    return found[SAID].reset_index(drop=True)


def answered_rows(predictions: pd.DataFrame) -> pd.DataFrame:
    """The rows that the service has answered: `request_id`, `row`, `_key`, `version` and `answered_at`.

    A row that a client asked about again, because it got no answer, counts once.
    """
    names = {name: name for name in (*ROW, "_key", "version")} | {"at": "answered_at"}
    if not set(names) <= set(predictions.columns):  # no row of the service, or of one before it wrote them down
        return pd.DataFrame(columns=[*names.values()])
    mine = predictions[(predictions["_part"] == ONLINE) & predictions["served"]].dropna(subset="at")
    mine = mine[[*names]].drop_duplicates([*ROW, "_key"], keep="last")
    return mine.astype({"row": "Int64"}).rename(columns=names)


def _arrived(answered: pd.DataFrame, lake: Lake) -> pd.DataFrame:
    """Outcomes of these requests, each once, the earliest first."""
    # Nothing is said of an answer before it is given, but for clocks that differ.
    first = date.fromisoformat(answered["answered_at"].min()[:10]) - timedelta(days=1)
    columns = [*ROW, "kind", "value", "feedback_id", "at"]
    said = lake.read("outcomes", first, date.max, columns=columns, part=ONLINE)
    if not len(said):
        return said
    said = said[said["request_id"].isin(answered["request_id"])].astype({"row": "Int64"})
    return said.sort_values("at", kind="stable").drop_duplicates([*ROW, "kind", "feedback_id"], keep="last")


def completed(labels: pd.DataFrame, said: pd.DataFrame, batch: pd.DataFrame, label: LabelSpec) -> pd.DataFrame:
    """Labels (`_key`, `label`) of the accepted rows in their order: of the source, or else of what was said."""
    if not len(said):
        return labels
    missing = said[said["_key"].isin(batch["_key"]) & ~said["_key"].isin(labels["_key"])]
    whole = pd.concat([labels, _said_labels(missing, label)])
    order = pd.Index(batch["_key"]).get_indexer(whole["_key"])
    return whole.iloc[np.argsort(order)].reset_index(drop=True)


def _said_labels(said: pd.DataFrame, label: LabelSpec) -> pd.DataFrame:
    """The label that counts of each key; a value that is none is passed over, whatever a client has sent."""
    said = said[said["kind"].isin(SAID_LABELS)]
    texts = said["value"].astype(object).where(said["value"].notna(), None).to_numpy(copy=True)
    if label.task == "binary" and label.above is None:
        texts[~np.isin(typed(texts, "number?")[0], (0, 1))] = None
    rank = said["kind"].map({kind: place for place, kind in enumerate(SAID_LABELS)})
    found = said[["_key"]].assign(label=label_values(texts, label), rank=rank).dropna(subset="label")
    found = found.sort_values("rank", kind="stable").drop_duplicates("_key", keep="last")
    return found[["_key", "label"]]


def interactions(predictions: pd.DataFrame, said: pd.DataFrame) -> Mapping[str, Mapping[str, int]]:
    """By version, the answered rows and those with an outcome of each kind, as the feedback entry has them."""
    answered = answered_rows(predictions)
    if not len(answered):
        return {}
    each = said[said["kind"].isin(INTERACTION_KINDS)].drop_duplicates([*ROW, "kind"])
    counts = pd.crosstab(each["version"], each["kind"])
    used = {str(version): {str(kind): int(count) for kind, count in row.items()} for version, row in counts.iterrows()}
    return {
        str(version): asdict(Interaction(rows=int(count), **used.get(str(version), {})))
        for version, count in answered.groupby("version").size().items()
    }
