"""Predict an accepted batch with every version that takes part in the routing of that day."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.domain.automation import Automation, automations, deciding, in_force, slicings
from trimtab.domain.columns import Columns
from trimtab.domain.explanation import feature_effects, typical_values
from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import BATCH, Lake, Predictor, Registry
from trimtab.domain.release import Routing, routing
from trimtab.domain.spec import RowsSpec, SliceSpec
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Predicted:
    """What a version made of a batch (n)."""

    values: FloatArray
    """(n,); nan where there is none."""
    decided_by: NDArray[np.object_]
    """(n,)."""
    levels: NDArray[np.object_]
    """Levels of automation (n,)."""
    effects: NDArray[np.object_]
    """As JSON, where a person decides on what the model proposes (n,)."""


def routing_of(day: date, ledger: Ledger) -> Routing:
    """The routing that a batch of that day is scored with: transitions of earlier days count.

    So a day that is scored again, years later, meets the versions that it met the first time.
    """
    return routing([entry for entry in ledger.entries("release") if entry.as_of < day])


def automation_of(day: date, ledger: Ledger) -> Mapping[str, Automation]:
    """The levels of automation that hold for a batch of that day, for the same reason those of earlier days."""
    return in_force(automations(entry for entry in ledger.entries("automation") if entry.as_of < day))


def score(
    day: date, *, lake: Lake, ledger: Ledger, registry: Registry, rows: RowsSpec, slices: Sequence[SliceSpec] = ()
) -> ScoreResult:
    """Write the predictions of all versions for all rows of a day.

    `served` tells which one counts, `decided_by` who decides, the model or a person, and `level` at which level of
    automation.
    """
    route = routing_of(day, ledger)
    batch = lake.read("batches", day, day)
    if route.champion is None:
        return ScoreResult(rows=0, champion=None, versions=())
    known = automation_of(day, ledger)
    columns = columns_of(batch, rows) if len(batch) else {}
    predictions = {
        version: _predicted(version, columns, route, registry, known, slices)
        for version in route.versions
        if len(batch)
    }
    lake.write("predictions", day, _frame(day, batch, route, predictions), part=BATCH)
    return ScoreResult(rows=len(batch), champion=route.champion, versions=route.versions)


def _predicted(
    version: str,
    columns: Columns,
    route: Routing,
    registry: Registry,
    known: Mapping[str, Automation],
    slices: Sequence[SliceSpec],
) -> _Predicted:
    """Predictions of a version; one on trial that raises has failed on the whole batch."""
    try:
        predictor = registry.load(version=version, expected_digest=route.digests[version])
        values = predictor.predict(columns)
        return _ruled(predictor, columns, values, known, slices) if known else _by_model(values)
    except TrimtabError:
        raise
    except Exception as exc:  # feature code and estimator may raise anything
        if version != route.challenger:
            raise
        logger.warning("version %s cannot predict the batch: %s: %s", version, type(exc).__name__, exc)
        return _by_model(np.full(len(next(iter(columns.values()))), np.nan))


def _by_model(values: FloatArray) -> _Predicted:
    model, full, nothing = (np.full(len(values), value, dtype=object) for value in ("model", "full", None))
    return _Predicted(values=values, decided_by=model, levels=full, effects=nothing)


def _ruled(
    predictor: Predictor,
    columns: Columns,
    values: FloatArray,
    known: Mapping[str, Automation],
    slices: Sequence[SliceSpec],
) -> _Predicted:
    used = {one.column for one in slicings(known, slices)}
    features = predictor.features(columns) if used - set(columns) else {}
    found = deciding(known, {**columns, **features}, slices, values, predictor.spec.label)
    effects = np.full(len(values), None, dtype=object)
    proposed = np.flatnonzero(found.proposed & np.isfinite(values))
    if len(proposed):
        effects[proposed] = _effects(predictor, columns, values, proposed)
    people = np.where(found.by_person, "person", "model").astype(object)
    return _Predicted(values=values, decided_by=people, levels=found.levels, effects=effects)


def _effects(predictor: Predictor, columns: Columns, values: FloatArray, places: NDArray[np.intp]) -> list[str | None]:
    """Of some rows, as JSON; a person decides without, if they cannot be had."""
    try:
        features = predictor.features({name: column[places] for name, column in columns.items()})
        typical = typical_values(predictor.reference)
        found = feature_effects(predictor.predict_features, features, values[places], typical)
    except Exception as exc:  # noqa: BLE001  # feature code and estimator may raise anything
        logger.warning("the batch cannot be explained: %s: %s", type(exc).__name__, exc)
        return [None] * len(places)
    return [json.dumps([asdict(one) for one in effects]) for effects in found]


def _frame(day: date, batch: pd.DataFrame, route: Routing, predictions: Mapping[str, _Predicted]) -> pd.DataFrame:
    """A line for each version and row; the version on trial has none where it failed, and the champion answers.

    A row has a request id, under which a person's decision about it can be told.
    """
    if not predictions:
        return pd.DataFrame()
    keys = batch["_key"].to_numpy(dtype=object)
    can = {version: np.isfinite(found.values) | (version != route.challenger) for version, found in predictions.items()}
    tries = np.array([route.arm(key) == "challenger" for key in keys], dtype=bool)
    answers = tries & can.get(route.challenger or "", np.zeros(len(keys), dtype=bool))
    arms = np.where(answers, "challenger", "champion").astype(object)
    answering = np.array([route.challenger if new else route.champion for new in answers], dtype=object)
    names = pd.Series([f"batch:{day}:{position}" for position in range(len(keys))], dtype=object)
    frames = [
        pd.DataFrame(
            {
                "request_id": names,
                "row": 0,
                "_key": keys,
                "version": version,
                "arm": np.where(answering == version, arms, "shadow"),
                "served": answering == version,
                "route": route.sequence,
                "prediction": found.values,
                "decided_by": found.decided_by,
                "level": found.levels,
                "effects": found.effects,
            }
        )[can[version]]
        for version, found in predictions.items()
    ]
    return pd.concat(frames, ignore_index=True)
