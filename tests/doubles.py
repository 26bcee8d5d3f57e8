"""Quick stand-ins for ports, and small real things to put into them."""

from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.model_package import as_fitted, load_feature_code, pack
from trimtab.adapters.sklearn_trainer import new_estimator
from trimtab.domain.binning import bins_of, number_bins
from trimtab.domain.columns import Columns, Encoder
from trimtab.domain.counting import profile, profile_column
from trimtab.domain.metrics import FloatArray, day_errors
from trimtab.domain.ports import Package, Training
from trimtab.domain.profiles import PREDICTION, Reference
from trimtab.domain.spec import EstimatorSpec, LabelSpec, Task

ROOT = Path(__file__).parents[1]
FLIGHTS = ROOT / "include" / "models" / "flight_air_time"
THREE_HOURS = 180.0


def tiny_rows(seed: int, rows: int = 300) -> tuple[Columns, FloatArray]:
    """Flights as the spec of flight_air_time has them, with missing planes and seats, and their minutes in the air."""
    random = np.random.default_rng(seed)
    distance = random.integers(100, 2500, rows).astype(np.float64)
    known = random.random(rows) > 0.2  # a fifth without a plane
    columns: Columns = {
        "year": np.full(rows, 2013.0),
        "month": random.integers(1, 13, rows).astype(np.float64),
        "day": random.integers(1, 29, rows).astype(np.float64),
        "carrier": random.choice(np.array(["AA", "B6", "DL", "UA"], dtype=object), rows),
        "flight": random.integers(1, 6000, rows).astype(np.float64),
        "origin": random.choice(np.array(["EWR", "JFK", "LGA"], dtype=object), rows),
        "dest": random.choice(np.array(["ATL", "BOS", "ORD", "SFO"], dtype=object), rows),
        "tailnum": np.array(["N14228" if there else None for there in known], dtype=object),
        "sched_dep_time": (random.integers(5, 23, rows) * 100).astype(np.float64),
        "sched_arr_time": (random.integers(5, 23, rows) * 100).astype(np.float64),
        "distance": distance,
        "plane_year": np.where(known, 1999.0, np.nan),
        "seats": np.where(known, 150.0, np.nan),
    }
    return columns, 20 + distance / 7.5 + random.normal(0, 5, rows)


@cache
def tiny_package(seed: int = 0, task: Task = "regression") -> Package:
    """A model of flight_air_time that is trained in a moment; another seed, another model.

    A binary one predicts whether the flight takes more than three hours.
    """
    folder = load_folder(FLIGHTS)
    spec = folder.spec
    rows, label = tiny_rows(seed)
    if task == "binary":
        label = (label > THREE_HOURS).astype(np.float64)
        above = LabelSpec(column="air_time", task="binary", above=THREE_HOURS)
        spec = spec.model_copy(update={"label": above})
    features = load_feature_code(folder.feature_code, spec).compute(rows)
    encoder = Encoder.fit(features, spec.features)
    matrix = encoder.matrix(features)
    learner = EstimatorSpec(kind="hist_gradient_boosting", params={"max_iter": 5})
    estimator = new_estimator(learner, task, encoder.categorical_indices, seed).fit(matrix, label)
    fitted = as_fitted(estimator, task)
    predicted = fitted.predict(matrix)
    watched = {**features, PREDICTION: predicted}
    bins = bins_of(watched)
    day = day_errors(task, label, predicted, {"carrier": rows["carrier"]})
    label_bins = number_bins(label)
    reference = Reference(
        bins=bins,
        days={"2013-01-01": profile(watched, bins)},
        errors={"2013-01-01": day},
        label_bins=label_bins,
        labels=profile_column(label, label_bins),
    )
    return pack(estimator=fitted, encoder=encoder, reference=reference, feature_code=folder.feature_code, spec=spec)


def tiny_training(
    seed: int = 0, *, training_id: str = "", as_of: date = date(2013, 3, 1), task: Task = "regression"
) -> Training:
    """A training of that package."""
    rows, label = tiny_rows(seed)
    frame = pd.DataFrame(dict(rows))
    return Training(
        training_id=training_id or f"training-{seed}",
        candidate="boosting_28_days",
        package=tiny_package(seed, task),
        params={"window_days": "28", "max_iter": "5", "rows": str(len(frame))},
        metrics={"train_mae": 5.0 + seed},
        tags={"as_of": as_of.isoformat()},
        dataset=frame.assign(air_time=label),
        dataset_source="file:///lake/flight_air_time/batches",
        example=frame.head(3),
        figures={"residuals.png": b"\x89PNG\r\n\x1a\n"},
    )
