"""Calls of a version, in which no row can take the others down."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.adapters.traffic_log import LoggedArm, PredictedRow
from trimtab.domain.automation import Level, Ruling
from trimtab.domain.columns import Columns
from trimtab.domain.feature_code import FeatureValue, feature_rows
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import Predictor
from trimtab.serving.rows import Rows

logger = logging.getLogger(__name__)

Positions: TypeAlias = NDArray[np.intp]
ERROR_LENGTH = 200
NOT_FINITE = "the prediction is not a finite number"
FULL = Ruling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one version made of some rows of a batch."""

    version: str
    arm: LoggedArm
    positions: Positions
    """Rows of the batch that it was asked about (k,), ascending."""
    predictions: FloatArray
    """(k,); nan where it failed."""
    errors: Sequence[str | None]
    """(k,); why it failed."""
    features: Sequence[Mapping[str, FeatureValue]]
    """(k,); as the version saw them, empty where they could not be computed."""
    latency_ms: float
    rulings: Sequence[Ruling] | None = None
    """(k,); who decides about each row. None: the model about all."""

    @property
    def failed(self) -> Positions:
        """Rows of the batch that it did not predict."""
        return self.positions[np.isnan(self.predictions)]

    @property
    def referred(self) -> Mapping[Level, int]:
        """Rows with a prediction about which a person decides, by level."""
        if self.rulings is None:
            return {}
        pairs = zip(self.rulings, self.errors, strict=True)
        return Counter(ruling.level for ruling, error in pairs if error is None and ruling.decided_by == "person")

    def followed_by(self, other: "Attempt") -> "Attempt":
        """Both attempts as one, with the latency of this one."""
        return replace(
            self,
            positions=np.concatenate([self.positions, other.positions]),
            predictions=np.concatenate([self.predictions, other.predictions]),
            errors=[*self.errors, *other.errors],
            features=[*self.features, *other.features],
        )


def attempt(
    predictor: Predictor,
    version: str,
    arm: LoggedArm,
    rows: Rows,
    positions: Positions,
    timer: Callable[[], float] = time.perf_counter,
) -> Attempt:
    """Ask a version about some rows of a batch, together; rows that make it raise are left alone with their error.

    Args:
        predictor: The version's model.
        version: Its name.
        arm: What it is asked as.
        rows: The batch.
        positions: Which rows of it (k,).
        timer: Seconds from any fixed moment on.
    """
    start = timer()
    with np.errstate(all="ignore"):  # a row out of all bounds is answered for, not warned about
        parts = _predict(predictor, rows.take(positions), len(positions))
    latency_ms = (timer() - start) * 1000
    errors = [error for part in parts for error in part.errors]
    raised = next((error for error in errors if error not in (None, NOT_FINITE)), None)
    if raised:
        failed = len(errors) - errors.count(None)
        logger.warning("version %s as %s failed on %d of %d rows: %s", version, arm, failed, len(errors), raised)
    return Attempt(
        version=version,
        arm=arm,
        positions=positions,
        predictions=np.concatenate([part.predictions for part in parts]),
        errors=errors,
        features=[row for part in parts for row in part.features()],
        latency_ms=latency_ms,
    )


def logged_rows(tried: Attempt, rows: Rows, route: int) -> list[PredictedRow]:
    """What the log keeps of an attempt; `route` is the ledger sequence of the routing that it followed."""
    latency_ms = round(tried.latency_ms, 3)
    return [
        PredictedRow(
            request_id=rows.names[position][0],
            row=rows.names[position][1],
            key=rows.keys[position],
            day=str(rows.days[position]),
            version=tried.version,
            arm=tried.arm,
            served=tried.arm != "shadow" and error is None,
            route=route,
            prediction=prediction if error is None else None,
            error=error,
            features=features,
            latency_ms=latency_ms,
            decided_by=ruling.decided_by,
            level=ruling.level,
            effects=ruling.effects,
        )
        for position, prediction, error, features, ruling in zip(
            tried.positions.tolist(),
            tried.predictions.tolist(),
            tried.errors,
            tried.features,
            rulings_of(tried),
            strict=True,
        )
    ]


def rulings_of(tried: Attempt) -> Sequence[Ruling]:
    """Who decides about each row of an attempt (k,)."""
    return [FULL] * len(tried.errors) if tried.rulings is None else tried.rulings


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows that were predicted together, or one that could not be."""

    predictions: FloatArray
    errors: Sequence[str | None]
    columns: Columns | None

    def features(self) -> Sequence[Mapping[str, FeatureValue]]:
        return [{}] * len(self.errors) if self.columns is None else feature_rows(self.columns)


def _predict(predictor: Predictor, columns: Columns, count: int) -> list[_Part]:
    """Predictions, nan where there is none, and why; after an exception each half is asked by itself."""
    features: Columns | None = None
    try:
        features = predictor.features(columns)
        found = np.asarray(predictor.predict_features(features), dtype=np.float64).reshape(count)
    except Exception as exc:  # noqa: BLE001  # feature code and estimator may raise anything
        if count == 1:
            return [_Part(np.array([np.nan]), [f"{type(exc).__name__}: {exc}"[:ERROR_LENGTH]], features)]
        halves = (slice(0, count // 2), slice(count // 2, count))
        return [
            part
            for half in halves
            for part in _predict(
                predictor, {name: values[half] for name, values in columns.items()}, half.stop - half.start
            )
        ]
    finite = np.isfinite(found)
    errors = [None if is_finite else NOT_FINITE for is_finite in finite.tolist()]
    return [_Part(np.where(finite, found, np.nan), errors, features)]
