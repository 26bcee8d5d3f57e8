"""Predict an accepted batch with every version that takes part in the routing of that day."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from trimtab.domain.columns import Columns
from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import BATCH, Lake, Registry
from trimtab.domain.release import Routing, routing
from trimtab.domain.spec import RowsSpec
from trimtab.errors import TrimtabError
from trimtab.stages.frames import columns_of

logger = logging.getLogger(__name__)


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
    predictions = {version: _predicted(version, columns, route, registry) for version in route.versions if len(batch)}
    lake.write("predictions", day, _frame(batch, route, predictions), part=BATCH)
    return ScoreResult(rows=len(batch), champion=route.champion, versions=route.versions)


def _predicted(version: str, columns: Columns, route: Routing, registry: Registry) -> FloatArray:
    """Predictions of a version, nan where there is none; one on trial that raises has failed on the whole batch."""
    try:
        return registry.load(version=version, expected_digest=route.digests[version]).predict(columns)
    except TrimtabError:
        raise
    except Exception as exc:  # feature code and estimator may raise anything
        if version != route.challenger:
            raise
        logger.warning("version %s cannot predict the batch: %s: %s", version, type(exc).__name__, exc)
        return np.full(len(next(iter(columns.values()))), np.nan)


def _frame(batch: pd.DataFrame, route: Routing, predictions: Mapping[str, FloatArray]) -> pd.DataFrame:
    """A line for each version and row; the version on trial has none where it failed, and the champion answers."""
    if not predictions:
        return pd.DataFrame()
    keys = batch["_key"].to_numpy(dtype=object)
    can = {version: np.isfinite(values) | (version != route.challenger) for version, values in predictions.items()}
    tries = np.array([route.arm(key) == "challenger" for key in keys], dtype=bool)
    answers = tries & can.get(route.challenger or "", np.zeros(len(keys), dtype=bool))
    arms = np.where(answers, "challenger", "champion").astype(object)
    answering = np.array([route.challenger if new else route.champion for new in answers], dtype=object)
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
        )[can[version]]
        for version, values in predictions.items()
    ]
    return pd.concat(frames, ignore_index=True)
