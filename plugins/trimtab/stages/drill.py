"""Fire drills: what the verdict and triage would say if a recorded day had been broken. Nothing is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from trimtab.domain.columns import Columns
from trimtab.domain.counting import profile
from trimtab.domain.diagnosis import Evidence, Intake, Triage
from trimtab.domain.drills import Batch, Drill, Target
from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import day_errors
from trimtab.domain.ports import Lake, Predictor, Registry
from trimtab.domain.profiles import PREDICTION
from trimtab.domain.reference_days import ReferenceDaysRule
from trimtab.domain.row_types import is_text
from trimtab.domain.spec import FeaturesSpec, LabelSpec, MonitorSpec, RowsSpec
from trimtab.domain.triage import triage
from trimtab.domain.verdict import Current, Verdict
from trimtab.errors import NotFoundError
from trimtab.stages.frames import columns_of
from trimtab.stages.judge import current_of
from trimtab.stages.score import routing_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """One drill, and what would have been said."""

    drill: Drill
    verdict: Verdict
    triage: Triage

    @property
    def is_right(self) -> bool:
        """Whether triage calls it what it is."""
        return (self.triage.kind, self.triage.bug) == (self.drill.kind, self.drill.bug)


def drill(
    day: date,
    drills: Sequence[Drill],
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    rows: RowsSpec,
    features: FeaturesSpec,
    label: LabelSpec,
    monitor: MonitorSpec,
    seed: int,
) -> Sequence[DrillResult]:
    """Inject each drill into the recorded batch of a day, and judge it as if its labels had come.

    Raises:
        NotFoundError: If the day, or the day before it, has no batch, or no version was live.
    """
    champion = routing_of(day, ledger).champion
    if champion is None:
        raise NotFoundError(f"No version was live on {day}. Choose a day after the first release.")
    today, before = (_batch(one, lake, rows) for one in (day, day - timedelta(days=1)))
    model = registry.load(version=champion)
    current = current_of(champion, day, lake, ledger)
    target = target_of(rows, features)
    found = []
    for one in drills:
        batch = one.inject(today, before, target, np.random.default_rng(seed))
        seen = _with_batch(day, batch, current, model, label)
        verdict = ReferenceDaysRule().judge(model.reference, seen, monitor)
        intake = Intake(accepted=len(batch.y_true), repeated=batch.repeated)
        evidence = Evidence(
            day=day.isoformat(), reference=model.reference, current=seen, verdict=verdict, intake=intake
        )
        found.append(DrillResult(drill=one, verdict=verdict, triage=triage(evidence)))
    return found


def target_of(rows: RowsSpec, features: FeaturesSpec) -> Target:
    """Columns of a row that a drill may touch: features, or, if none is a plain column, all but key and day."""
    fixed = {*rows.key, *rows.day_columns}
    plain = [name for name in features.names if name in rows.columns] or [n for n in rows.columns if n not in fixed]
    numeric = tuple(name for name in plain if not is_text(rows.columns[name]))
    categorical = tuple(name for name in plain if is_text(rows.columns[name]))
    return Target(numeric=numeric, categorical=categorical, day_columns=rows.day_columns)


def _batch(day: date, lake: Lake, rows: RowsSpec) -> Batch:
    frame = lake.read("batches", day, day)
    if not len(frame):
        raise NotFoundError(f"{day} has no batch in the lake. Choose a day that has been taken in, as the one before.")
    labels = lake.read("labels", day, day, columns=["_key", "label"])
    known = dict(zip(labels["_key"], labels["label"], strict=True)) if len(labels) else {}
    y_true = np.array([known.get(key, np.nan) for key in frame["_key"]], dtype=np.float64)
    return Batch(rows=columns_of(frame, rows), y_true=y_true)


def _with_batch(day: date, batch: Batch, current: Current, model: Predictor, label: LabelSpec) -> Current:
    """What would have been seen with this batch in the place of the day's own."""
    spread = float(np.nan_to_num(np.nanstd(batch.y_true))) if np.isfinite(batch.y_true).any() else 0.0
    prediction = model.predict(batch.rows) + batch.prediction_shift * spread
    if label.task == "binary":
        prediction = np.clip(prediction, 0, 1)
    columns: Columns = {**model.features(batch.rows), PREDICTION: prediction}
    name, labelled = day.isoformat(), np.isfinite(batch.y_true)
    errors = {one: errors for one, errors in current.errors.items() if one < name}
    if labelled.any():
        errors[name] = day_errors(label.task, batch.y_true[labelled], prediction[labelled], {})
    return replace(
        current,
        profiles={**current.profiles, name: profile(columns, model.bins)},
        errors=errors,
        rows={**current.rows, name: len(batch.y_true)},
    )
