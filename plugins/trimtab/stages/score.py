"""Predict an accepted batch with every version that takes part in the routing of that day."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import Lake, Registry
from trimtab.domain.release import Routing, routing
from trimtab.domain.spec import RowsSpec
from trimtab.stages.frames import columns_of

PART = "batch"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult:
    """What was predicted."""

    rows: int
    champion: str | None
    """None: the model has no champion yet, and nothing was predicted."""
    versions: tuple[str, ...]


def routing_of(day: date, ledger: Ledger) -> Routing:
    """The routing that a batch of that day is scored with: transitions of earlier days count.

    So a day that is scored again, years later, meets the versions that it met the first time.
    """
    return routing([entry for entry in ledger.entries("release") if entry.as_of < day])


def score(day: date, *, lake: Lake, ledger: Ledger, registry: Registry, rows: RowsSpec) -> ScoreResult:
    """Write the predictions of all versions for all rows of a day; `served` tells which one counts."""
    route = routing_of(day, ledger)
    batch = lake.read("batches", day, day)
    if route.champion is None:
        return ScoreResult(rows=0, champion=None, versions=())
    columns = columns_of(batch, rows) if len(batch) else {}
    predictions = {
        version: registry.load(version=version, expected_digest=route.digests[version]).predict(columns)
        for version in route.versions
        if len(batch)
    }
    lake.write("predictions", day, _frame(batch, route, predictions), part=PART)
    return ScoreResult(rows=len(batch), champion=route.champion, versions=route.versions)


def _frame(batch: pd.DataFrame, route: Routing, predictions: Mapping[str, FloatArray]) -> pd.DataFrame:
    if not predictions:
        return pd.DataFrame()
    keys = batch["_key"].to_numpy(dtype=object)
    arms = np.array([route.arm(key) for key in keys], dtype=object)
    version_of = {"champion": route.champion, "challenger": route.challenger}
    answering = np.array([version_of[arm] for arm in arms], dtype=object)
    frames = [
        pd.DataFrame(
            {
                "request_id": pd.Series([None] * len(keys), dtype=object),
                "_key": keys,
                "version": version,
                "arm": np.where(answering == version, arms, "shadow"),
                "served": answering == version,
                "route": route.sequence,
                "prediction": values,
            }
        )
        for version, values in predictions.items()
    ]
    return pd.concat(frames, ignore_index=True)
