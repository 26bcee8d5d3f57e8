"""Predict the hold-out with the champion and the trivial baseline, and compare the candidates' trials with them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.columns import slices_of
from trimtab.domain.journal import Ledger, Payload
from trimtab.domain.metrics import LOSS_METRICS, LOSS_NAMES, Errors, FloatArray, defined, errors_by, measures
from trimtab.domain.ports import Lake, Plotter, Registry, Trainer, TrainingRun
from trimtab.domain.release import routing
from trimtab.domain.spec import CandidateSpec, GateSpec, LabelSpec, RowsSpec, SliceSpec
from trimtab.domain.training import Labelled, Snapshot, errors_of_days, trivial_baseline
from trimtab.stages.snapshot import read_labelled, snapshot_payload
from trimtab.stages.train import trial_part

SHOWN_SLICES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Predictions of the same hold-out rows."""

    holdout: Labelled
    challenger: FloatArray
    constant: FloatArray
    baseline: FloatArray
    champion: FloatArray | None
    champion_version: str | None
    slices: Mapping[str, NDArray[np.object_]]
    """Name of the slicing: the slice of each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateResult:
    """The best candidate and how it did."""

    run_id: str
    training_id: str
    candidate: str
    metrics: Mapping[str, float]


def evaluate(
    taken: Snapshot,
    runs: Sequence[TrainingRun],
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    trainer: Trainer,
    plotter: Plotter,
    candidates: Sequence[CandidateSpec],
    rows: RowsSpec,
    slices: Sequence[SliceSpec],
    label: LabelSpec,
    gate: GateSpec,
) -> EvaluateResult:
    """Log metrics, slices and figures with each run, and choose the candidate with the lowest hold-out loss."""
    by_name = {candidate.name: candidate for candidate in candidates}
    results = []
    for run in runs:
        comparison = compare(
            taken, run.training_id, by_name[run.candidate],
            lake=lake, ledger=ledger, registry=registry, trainer=trainer, rows=rows, slices=slices, label=label,
            gate=gate,
        )  # fmt: skip
        metrics = _metrics(comparison, label)
        champion = {"trimtab.champion": comparison.champion_version or "none"}
        registry.log_evaluation(run.run_id, metrics, champion, _figures(comparison, plotter, label))
        results.append(
            EvaluateResult(run_id=run.run_id, training_id=run.training_id, candidate=run.candidate, metrics=metrics)
        )
    loss = f"holdout_{LOSS_METRICS[label.task]}"
    return min(results, key=lambda result: (result.metrics.get(loss, math.inf), result.candidate))


def compare(
    taken: Snapshot,
    training_id: str,
    candidate: CandidateSpec,
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    trainer: Trainer,
    rows: RowsSpec,
    slices: Sequence[SliceSpec],
    label: LabelSpec,
    gate: GateSpec,
) -> Comparison:
    """Predictions of trial, champion and trivial baseline for all labelled rows of the hold-out."""
    holdout = read_labelled(taken, taken.holdout_first, taken.last_labelled, lake, rows)
    trial = lake.read("predictions", taken.holdout_first, taken.last_labelled, part=trial_part(training_id))
    predicted = {
        (day, key): value for day, key, value in zip(trial["_day"], trial["_key"], trial["prediction"], strict=True)
    }
    train_rows = read_labelled(taken, *taken.trial_window(candidate), lake, rows)
    champion = _champion(taken, trainer, ledger)
    known = {**holdout.rows, **trainer.features(holdout.rows)}
    return Comparison(
        holdout=holdout,
        challenger=np.array([predicted[pair] for pair in zip(holdout.day, holdout.key, strict=True)], dtype=np.float64),
        constant=trivial_baseline(label.task, train_rows, holdout.rows, ()),
        baseline=trivial_baseline(label.task, train_rows, holdout.rows, gate.baseline_by),
        champion=None if champion is None else registry.load(version=champion).predict(holdout.rows),
        champion_version=champion,
        slices=slices_of(known, slices),
    )


def judged(taken: Snapshot, trainer: Trainer) -> Payload:
    """What the gate decides on: the snapshot, and what the model folder said."""
    return {"snapshot": snapshot_payload(taken), "fingerprint": trainer.fingerprint}


def _champion(taken: Snapshot, trainer: Trainer, ledger: Ledger) -> str | None:
    """The champion that the gate met, so that a repetition after the release does not meet the challenger itself."""
    for entry in reversed(ledger.entries("gate")):
        if entry.payload.get("judged") == judged(taken, trainer):
            met = entry.payload["champion"]
            return None if met is None else str(met)
    return routing([entry for entry in ledger.entries("release") if entry.as_of <= taken.as_of]).champion


def _metrics(comparison: Comparison, label: LabelSpec) -> dict[str, float]:
    """The metrics that are defined."""
    y_true, loss = comparison.holdout.y_true, LOSS_METRICS[label.task]
    metrics = {f"holdout_{name}": value for name, value in measures(label, y_true, comparison.challenger).items()}
    metrics[f"baseline_{loss}"] = measures(label, y_true, comparison.baseline)[loss]
    if comparison.champion is not None:
        metrics[f"champion_{loss}"] = measures(label, y_true, comparison.champion)[loss]
    return dict(defined(metrics))


def _figures(comparison: Comparison, plotter: Plotter, label: LabelSpec) -> dict[str, bytes]:
    y_true, mine, loss = comparison.holdout.y_true, comparison.challenger, f"{LOSS_NAMES[label.task]} of {label.title}"
    predictions = {"challenger": comparison.challenger, "trivial baseline": comparison.baseline}
    if comparison.champion is not None:
        predictions["champion"] = comparison.champion
    days = {
        name: {
            date.fromisoformat(day): one.loss
            for day, one in errors_of_days(label.task, comparison.holdout.day, y_true, values).items()
        }
        for name, values in predictions.items()
    }
    figures = {"error_by_day.png": plotter.daily_errors(days, loss=loss)}
    if label.task == "binary":
        figures["calibration.png"] = plotter.calibration(y_true, mine, label=label.title)
        figures["probabilities.png"] = plotter.probabilities(y_true, mine, label=label.title)
    else:
        figures["predicted_against_actual.png"] = plotter.predicted_against_actual(y_true, mine, label=label.title)
        figures["residuals.png"] = plotter.residuals(y_true, mine, label=label.title)
    for slicing, names in comparison.slices.items():
        slices = {name: _largest(errors_by(label.task, names, y_true, values)) for name, values in predictions.items()}
        figures[f"error_by_{slicing}.png"] = plotter.slice_errors(slicing, slices, loss=loss)
    return figures


def _largest(found: Mapping[str, Errors]) -> dict[str, Errors]:
    """The slices with the most rows."""
    names = sorted(found, key=lambda name: -found[name].rows)[:SHOWN_SLICES]
    return {name: found[name] for name in sorted(names)}
