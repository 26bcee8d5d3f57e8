"""Quick stand-ins for ports, and small real things to put into them."""

import json
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pandas as pd

from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.model_package import digest, load_feature_code, open_package, pack
from trimtab.adapters.sklearn_trainer import new_estimator
from trimtab.domain.columns import Columns, Encoder
from trimtab.domain.metrics import FloatArray, errors
from trimtab.domain.ports import Alias, DescribedModel, Package, Predictor, Training, TrainingRun
from trimtab.domain.profiles import PREDICTION, DayErrors, Reference, bins_of, profile
from trimtab.domain.spec import EstimatorSpec
from trimtab.errors import NotFoundError

ROOT = Path(__file__).parents[1]
FLIGHTS = ROOT / "include" / "models" / "flight_air_time"


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
def tiny_package(seed: int = 0) -> Package:
    """A model of flight_air_time that is trained in a moment; another seed, another model."""
    folder = load_folder(FLIGHTS)
    spec = folder.spec
    rows, label = tiny_rows(seed)
    features = load_feature_code(folder.feature_code, spec).compute(rows)
    encoder = Encoder.fit(features, spec.features)
    matrix = encoder.matrix(features)
    learner = EstimatorSpec(kind="hist_gradient_boosting", params={"max_iter": 5})
    estimator = new_estimator(learner, encoder.categorical_indices, seed).fit(matrix, label)
    predicted = estimator.predict(matrix)
    watched = {**features, PREDICTION: predicted}
    bins = bins_of(watched)
    found = errors(label, predicted)
    day = DayErrors(rows=found.rows, mae=found.mae, bias=found.bias)
    reference = Reference(bins=bins, days={"2013-01-01": profile(watched, bins)}, errors={"2013-01-01": day})
    return pack(estimator=estimator, encoder=encoder, reference=reference, feature_code=folder.feature_code, spec=spec)


def tiny_training(seed: int = 0, *, training_id: str = "", as_of: date = date(2013, 3, 1)) -> Training:
    """A training of that package."""
    rows, label = tiny_rows(seed)
    frame = pd.DataFrame(dict(rows))
    return Training(
        training_id=training_id or f"training-{seed}",
        candidate="boosting_28_days",
        package=tiny_package(seed),
        params={"window_days": "28", "max_iter": "5", "rows": str(len(frame))},
        metrics={"train_mae": 5.0 + seed},
        tags={"as_of": as_of.isoformat()},
        dataset=frame.assign(air_time=label),
        dataset_source="file:///lake/flight_air_time/batches",
        example=frame.head(3),
        figures={"residuals.png": b"\x89PNG\r\n\x1a\n"},
    )


class FolderRegistry:
    """A registry on a folder: what the port promises, without a server. For one process at a time."""

    def __init__(self, folder: Path, model: str) -> None:
        """Bind to a folder, which need not exist."""
        self._folder, self._lock = folder / model, RLock()

    def find_training(self, training_id: str) -> TrainingRun | None:
        """The run of that training, if there is one."""
        for run_id, run in self.state["runs"].items():
            if run["training_id"] == training_id:
                return TrainingRun(
                    run_id=run_id, **{name: run[name] for name in ("training_id", "candidate", "digest")}
                )
        return None

    def log_training(self, training: Training) -> TrainingRun:
        """Store files first and their name last, so that a killed try leaves nothing that counts."""
        with self._lock:
            found = self.find_training(training.training_id)
            if found:
                return found
            state = self.state
            run_id = f"run{len(state['runs']) + 1}"
            self._write(run_id, "package", training.package)
            self._write(run_id, "figures", training.figures)
            run = TrainingRun(
                run_id=run_id,
                training_id=training.training_id,
                candidate=training.candidate,
                digest=digest(training.package),
            )
            state["runs"][run_id] = {
                "training_id": run.training_id,
                "candidate": run.candidate,
                "digest": run.digest,
                "metrics": {name: [value] for name, value in training.metrics.items()},
                "tags": dict(training.tags),
                "params": dict(training.params),
            }
            self._save(state)
            return run

    def log_evaluation(
        self, run_id: str, metrics: Mapping[str, float], tags: Mapping[str, str], figures: Mapping[str, bytes]
    ) -> None:
        """Add to a run; a metric's history grows only when its value changes."""
        with self._lock:
            state = self.state
            run = _one(state["runs"], run_id, "Run")
            for name, value in metrics.items():
                history = run["metrics"].setdefault(name, [])
                if np.isfinite(value) and history[-1:] != [value]:
                    history.append(value)
            run["tags"].update(tags)
            self._write(run_id, "figures", figures)
            self._save(state)

    def register(self, run_id: str, tags: Mapping[str, str]) -> str:
        """The version of this run."""
        with self._lock:
            state = self.state
            _one(state["runs"], run_id, "Run")
            known = [version for version, one in state["versions"].items() if one["run_id"] == run_id]
            version = known[0] if known else str(len(state["versions"]) + 1)
            state["versions"].setdefault(version, {"run_id": run_id, "tags": {}})["tags"].update(tags)
            self._save(state)
            return version

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with self._lock:
            state = self.state
            _one(state["versions"], version, "Version")["tags"].update(tags)
            self._save(state)

    def mirror(self, aliases: Mapping[Alias, str | None]) -> None:
        """Set and remove aliases."""
        with self._lock:
            state = self.state
            for alias, version in aliases.items():
                if version is None:
                    state["aliases"].pop(alias, None)
                else:
                    _one(state["versions"], version, "Version")
                    state["aliases"][alias] = version
            self._save(state)

    def load(self, *, version: str | None = None, run_id: str | None = None) -> Predictor:
        """Open the package of a version or run."""
        if version is not None:
            run_id = _one(self.state["versions"], version, "Version")["run_id"]
        expected = _one(self.state["runs"], str(run_id), "Run")["digest"]
        files = {file.name: file.read_bytes() for file in (self._folder / str(run_id) / "package").iterdir()}
        return open_package(files, expected_digest=expected, name=f"run {run_id}")

    def describe(self, version: str) -> DescribedModel:
        """Open the package of a version."""
        return self.load(version=version)

    @property
    def state(self) -> dict[str, dict[str, Any]]:
        """Runs, versions and aliases as they are stored."""
        file = self._folder / "state.json"
        if not file.exists():
            return {"runs": {}, "versions": {}, "aliases": {}}
        state: dict[str, dict[str, Any]] = json.loads(file.read_text())
        return state

    def _save(self, state: Mapping[str, object]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        draft = self._folder / "state.draft"
        draft.write_text(json.dumps(state))
        draft.replace(self._folder / "state.json")

    def _write(self, run_id: str, kind: str, files: Mapping[str, bytes]) -> None:
        folder = self._folder / run_id / kind
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)


def _one(known: dict[str, Any], name: str, kind: str) -> Any:
    if name not in known:
        raise NotFoundError(f"{kind} {name!r} is not there. There are: {', '.join(sorted(known))}.")
    return known[name]
