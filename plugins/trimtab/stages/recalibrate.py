"""Put the champion with its level corrected to the gate: a candidate that costs no training.

Its trial is that of any recipe (ADR 5): each week of the hold-out is corrected by what the days before it have shown,
and the version that may be released by the last ones.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.domain.columns import slices_of
from trimtab.domain.gate import GateDecision, PairedTest, paired_test
from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import LOSS_NAMES, FloatArray, losses
from trimtab.domain.ports import Lake, Plotter, Registry, Trainer, Training, TrainingRun
from trimtab.domain.recalibration import (
    TRAINING,
    WINDOW_DAYS,
    Calibration,
    Correction,
    calibrated,
    calibration_of,
    entropy,
    fit,
)
from trimtab.domain.release import routing
from trimtab.domain.retraining import trained_on
from trimtab.domain.spec import CandidateSpec, GateSpec, LabelSpec, RowsSpec, SliceSpec, Task, TrainSpec
from trimtab.domain.staleness import DAYS
from trimtab.domain.training import Labelled, Snapshot, errors_of_days
from trimtab.stages import gate as gates
from trimtab.stages.evaluate import evaluate
from trimtab.stages.judge import broken_days
from trimtab.stages.register import register
from trimtab.stages.snapshot import read_labelled, rows_frame
from trimtab.stages.train import EXAMPLE_ROWS, write_trial

NAME = "recalibrated"
"""Of the candidate, beside those of the spec."""
Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalibration:
    """What has come of a correction."""

    version: str | None
    """The version that the gate lets through; None: there is none."""
    corrects: str | None
    """The champion."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Stores and sections of the spec."""

    lake: Lake
    ledger: Ledger
    registry: Registry
    trainer: Callable[[], Trainer]
    plotter: Callable[[], Plotter]
    rows: RowsSpec
    slices: Sequence[SliceSpec]
    label: LabelSpec
    train: TrainSpec
    gate: GateSpec

    @property
    def task(self) -> Task:
        return self.label.task


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """The champion's last labelled days (n rows), of none of which its model has learnt."""

    champion: str
    taken: Snapshot
    labelled: Labelled
    predicted: FloatArray
    """As the champion predicts them."""
    tried: FloatArray
    """As it would have, each week of the hold-out corrected by the days before it; others as they are."""
    slope: bool
    """Whether the correction of a number has a slope: it does better on the hold-out, by the gate's test."""

    @property
    def holdout(self) -> Mask:
        return _from(self.labelled, self.taken.holdout_first)

    def last(self, days: int) -> Mask:
        """Rows of the last calendar days."""
        return _from(self.labelled, self.taken.last_labelled - timedelta(days=days - 1))


def recalibrate(
    as_of: date,
    why: str,
    *,
    in_place_of_training: bool,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    trainer: Callable[[], Trainer],
    plotter: Callable[[], Plotter],
    rows: RowsSpec,
    slices: Sequence[SliceSpec],
    label: LabelSpec,
    train: TrainSpec,
    gate: GateSpec,
) -> Recalibration:
    """Correct the champion's level, if that has helped on rows later than those it was learnt from.

    Nothing is written where the hold-out does not show it. What it does show goes the way of a training: run,
    evaluation, gate, version. Repeating it gives the same version.

    Args:
        as_of: Day that it is decided on.
        why: What asks for it.
        in_place_of_training: A training would be the answer. Then the correction must leave no more loss than the model
            itself leads to expect: what is off beside the level only a training mends.
        lake: Labelled rows; gets the trial's predictions.
        ledger: Gets the gate's answer.
        registry: Gets the corrected package as a run and a version.
        trainer: Opens what names the model folder and computes its features; only where there is something to judge.
        plotter: Opens what draws the evaluation; the same.
        rows: Section of the spec, as the others.
        slices: Slices that the gate looks at.
        label: Task and delay.
        train: Seed.
        gate: What the correction must show.
    """
    model = _Model(
        lake=lake, ledger=ledger, registry=registry, trainer=trainer, plotter=plotter,
        rows=rows, slices=slices, label=label, train=train, gate=gate,
    )  # fmt: skip
    trial = _try_out(as_of, model)
    if isinstance(trial, str):
        return Recalibration(version=None, corrects=None, reason=trial)
    end = trial.taken.last_labelled + timedelta(days=1)
    correction = _learnt_before(end, trial.labelled, trial.predicted, model, slope=trial.slope)
    helped, words = _has_helped(trial, model)
    if helped and in_place_of_training and correction:
        helped, more = _is_level_only(trial, correction.factor, model)
        words = f"{words}; {more}"
    if not helped or correction is None:
        return Recalibration(version=None, corrects=trial.champion, reason=words)
    version, correction, answer = _submit(trial, correction, why, model)
    reason = f"version {version} is version {trial.champion} with {correction.in_words}: {words}"
    if not answer.promote:
        return Recalibration(version=None, corrects=trial.champion, reason=f"{reason}. {answer.summary}")
    return Recalibration(version=version, corrects=trial.champion, reason=reason)


def _try_out(as_of: date, model: _Model) -> _Trial | str:
    """The trial, or why there is none."""
    entries = [entry for entry in model.ledger.entries("release") if entry.as_of <= as_of]
    champion = routing(entries).champion
    trained = trained_on(champion, entries, model.ledger.entries("retraining"))
    if champion is None or trained is None:
        return "there is no champion"
    delay, broken = timedelta(days=model.label.delay_days), broken_days(model.ledger)
    known = [day for day in model.lake.days("labels") if trained - delay < day <= as_of - delay and day not in broken]
    days = known[-2 * WINDOW_DAYS :]
    if len(days) < 2 * DAYS:
        return f"{len(days)} labelled days since version {champion} was trained, {2 * DAYS} are needed"
    taken = Snapshot(
        as_of=as_of,
        last_labelled=days[-1],
        holdout_days=(days[-1] - days[len(days) // 2]).days + 1,
        batches_version=model.lake.version("batches"),
        labels_version=model.lake.version("labels"),
        window_days=WINDOW_DAYS,
        left_out=tuple(day for day in broken if days[0] <= day <= days[-1]),
    )
    labelled = read_labelled(taken, days[0], days[-1], model.lake, model.rows)
    predicted = model.registry.load(version=champion).predict(labelled.rows)
    tried = _week_by_week(taken, labelled, predicted, model, slope=False)
    slope = False
    if model.task == "regression":
        steeper = _week_by_week(taken, labelled, predicted, model, slope=True)
        holdout = _from(labelled, taken.holdout_first)
        slope = _test(steeper, tried, labelled, holdout, model).p_value <= model.gate.significance
        tried = steeper if slope else tried
    return _Trial(champion=champion, taken=taken, labelled=labelled, predicted=predicted, tried=tried, slope=slope)


def _week_by_week(
    taken: Snapshot, labelled: Labelled, predicted: FloatArray, model: _Model, *, slope: bool
) -> FloatArray:
    """Predictions (n,), each week of the hold-out corrected by what was known before it."""
    tried = predicted.copy()
    for start in range(0, taken.holdout_days, DAYS):
        first = taken.holdout_first + timedelta(days=start)
        if correction := _learnt_before(first, labelled, predicted, model, slope=slope):
            week = _from(labelled, first) & ~_from(labelled, first + timedelta(days=DAYS))
            tried[week] = correction.apply(predicted[week])
    return tried


def _learnt_before(
    end: date, labelled: Labelled, predicted: FloatArray, model: _Model, *, slope: bool
) -> Correction | None:
    """The correction by the WINDOW_DAYS before a day."""
    window = _from(labelled, end - timedelta(days=WINDOW_DAYS)) & ~_from(labelled, end)
    return fit(model.task, labelled.y_true[window], predicted[window], slope=slope)


def _test(first: FloatArray, second: FloatArray, labelled: Labelled, rows: Mask, model: _Model) -> PairedTest:
    """Whether the first predictions (n,) of some rows have the lower loss."""
    y_true = labelled.y_true[rows]
    mine, others = losses(model.task, y_true, first[rows]), losses(model.task, y_true, second[rows])
    return paired_test(mine, others, labelled.day[rows])


def _from(labelled: Labelled, first: date) -> Mask:
    """Mask (n,) of the rows of a day and later ones."""
    mask: Mask = labelled.day >= first.isoformat()
    return mask


def _has_helped(trial: _Trial, model: _Model) -> tuple[bool, str]:
    """The gate's first questions, asked before anything is written."""
    rows, labelled = trial.holdout, trial.labelled
    test = _test(trial.tried, trial.predicted, labelled, rows, model)
    before, after = (
        losses(model.task, labelled.y_true[rows], values[rows]) for values in (trial.predicted, trial.tried)
    )
    words = (
        f"corrected week by week by the {WINDOW_DAYS} days before, version {trial.champion} has "
        f"{LOSS_NAMES[model.task]} {after.mean():.3g} against {before.mean():.3g} on {len(after)} rows of {test.days} "
        f"days (p = {test.p_value:.2g})"
    )
    enough = test.days >= model.gate.min_days and len(after) >= model.gate.min_rows
    return enough and test.p_value <= model.gate.significance, words


def _is_level_only(trial: _Trial, factor: float, model: _Model) -> tuple[bool, str]:
    """Whether the last week's loss, corrected, is what the model itself leads to expect.

    That is the entropy of its probabilities, and of a number the loss of its reference, times the factor.
    """
    week = trial.last(DAYS)
    loss = float(losses(model.task, trial.labelled.y_true[week], trial.tried[week]).mean())
    if model.task == "binary":
        expected = float(entropy(trial.tried[week]).mean())
    else:
        known = model.registry.describe(trial.champion).reference.errors.values()
        expected = factor * sum(one.loss * one.rows for one in known) / max(sum(one.rows for one in known), 1)
    level_only = loss <= (1 + model.gate.margin) * expected
    verb = "is" if level_only else "is not"
    return level_only, f"that of the last week, {loss:.3g}, {verb} what the model leads to expect, {expected:.3g}"


def _submit(trial: _Trial, correction: Correction, why: str, model: _Model) -> tuple[str, Correction, GateDecision]:
    """Log, evaluate, judge and register it: its version, the correction of the model as trained, the gate's answer."""
    taken, trainer = trial.taken, model.trainer()
    run, whole = _log(trial, correction, why, trainer, model)
    known: dict[str, Any] = {
        "lake": model.lake, "ledger": model.ledger, "registry": model.registry, "trainer": trainer,
        "rows": model.rows, "slices": model.slices, "label": model.label,
    }  # fmt: skip
    candidate = CandidateSpec(name=NAME, estimator=model.train.candidates[0].estimator, window_days=WINDOW_DAYS)
    evaluate(taken, [run], **known, plotter=model.plotter(), candidates=[candidate], gate=model.gate)
    answer = gates.gate(taken, run.training_id, candidate, **known, gate_spec=model.gate, seed=model.train.seed)
    tags = {"trimtab.corrects": trial.champion, "trimtab.calibration": whole.in_words}
    version = register(run.run_id, run.training_id, ledger=model.ledger, registry=model.registry, tags=tags)
    return version, whole, answer


def _log(
    trial: _Trial, correction: Correction, why: str, trainer: Trainer, model: _Model
) -> tuple[TrainingRun, Correction]:
    """The corrected package as a run, with its trial; and the correction of the model as it was trained."""
    taken, package = trial.taken, model.registry.package(trial.champion)
    before = calibration_of(package)
    whole = correction.after(before.correction if before else None)
    named = json.dumps([taken.as_of.isoformat(), model.registry.digest(trial.champion), asdict(whole)])
    training_id = TRAINING + hashlib.sha256(named.encode()).hexdigest()[:16]
    holdout, learnt = trial.labelled.take(trial.holdout), trial.labelled.take(trial.last(WINDOW_DAYS))
    metrics = write_trial(training_id, holdout, trial.tried[trial.holdout], model.lake, model.label)
    days = sorted(set(learnt.day.tolist()))
    run = model.registry.log_training(
        Training(
            training_id=training_id,
            candidate=NAME,
            package=calibrated(package, _calibration(trial, correction, whole, trainer, model)),
            params={
                "candidate": NAME,
                "corrects": trial.champion,
                "calibration": whole.in_words,
                "first_day": days[0],
                "last_day": days[-1],
                "days": str(len(days)),
                "holdout": f"{taken.holdout_first} to {taken.last_labelled}",
                "batches_version": str(taken.batches_version),
                "labels_version": str(taken.labels_version),
            },
            metrics={**metrics, "rows": float(len(learnt.y_true))},
            tags={
                "as_of": taken.as_of.isoformat(),
                "trimtab.reason": why,
                "trimtab.fingerprint": trainer.fingerprint,
            },
            dataset=rows_frame(learnt),
            dataset_source=f"batches version {taken.batches_version}, labels version {taken.labels_version}",
            example=pd.DataFrame({name: values[:EXAMPLE_ROWS] for name, values in learnt.rows.items()}),
            figures={},
        )
    )
    return run, whole


def _calibration(
    trial: _Trial, correction: Correction, whole: Correction, trainer: Trainer, model: _Model
) -> Calibration:
    """The correction with the errors of the days that it was fitted on."""
    window = trial.last(WINDOW_DAYS)
    learnt, y_pred = trial.labelled.take(window), correction.apply(trial.predicted[window])
    slices = slices_of({**learnt.rows, **trainer.features(learnt.rows)}, model.slices)
    errors = errors_of_days(model.task, learnt.day, learnt.y_true, y_pred, slices)
    return Calibration(correction=whole, errors=dict(errors))
