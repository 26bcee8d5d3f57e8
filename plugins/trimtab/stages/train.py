"""Fit a candidate: a trial that predicts the hold-out, and the final model that would be released.

The trial is what the gate judges; the final model is the same recipe on as many days up to the last labelled one, so
that a model is not a hold-out older than it need be (ADR 5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from trimtab.domain.binning import bins_of, number_bins
from trimtab.domain.columns import Encoder, slices_of
from trimtab.domain.counting import profile, profile_column
from trimtab.domain.metrics import LOSS_METRICS, FloatArray, defined, measures
from trimtab.domain.ports import Fitted, Lake, Package, Registry, Trainer, Training, TrainingRun
from trimtab.domain.profiles import PREDICTION, Reference
from trimtab.domain.spec import CandidateSpec, FeaturesSpec, LabelSpec, RowsSpec, SliceSpec
from trimtab.domain.training import Labelled, Snapshot, blocks_of_days, errors_of_days
from trimtab.stages.snapshot import read_labelled, rows_frame

EXAMPLE_ROWS = 3


def trial_part(training_id: str) -> str:
    """Part of the lake's predictions that holds the trial's predictions of the hold-out."""
    return f"trial_{training_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """All that a fit takes beside the rows."""

    trainer: Trainer
    features: FeaturesSpec
    label: LabelSpec
    slices: Sequence[SliceSpec]
    candidate: CandidateSpec
    seed: int

    def fit(self, labelled: Labelled) -> tuple[Fitted, Encoder]:
        """Fit to labelled rows."""
        features = self.trainer.features(labelled.rows)
        encoder = Encoder.fit(features, self.features)
        matrix = encoder.matrix(features)
        return self.trainer.fit(self.candidate, encoder, matrix, labelled.y_true, self.seed), encoder

    def predict(self, fitted: tuple[Fitted, Encoder], labelled: Labelled) -> FloatArray:
        """Predict labelled rows."""
        estimator, encoder = fitted
        return estimator.predict(encoder.matrix(self.trainer.features(labelled.rows)))


def train(
    taken: Snapshot,
    candidate: CandidateSpec,
    *,
    lake: Lake,
    registry: Registry,
    trainer: Trainer,
    rows: RowsSpec,
    features: FeaturesSpec,
    label: LabelSpec,
    slices: Sequence[SliceSpec],
    seed: int,
    reason: str,
) -> TrainingRun:
    """Train one candidate on a snapshot and log it as a run; a training that is there already is not repeated.

    Raises:
        RegistryUnavailableError: If the registry does not answer.
        SpecError: If the candidate's parameters are not the estimator's.
    """
    training_id = taken.training_id(trainer.fingerprint, candidate)
    known = registry.find_training(training_id)
    if known is not None:
        return known
    recipe = _Recipe(trainer=trainer, features=features, label=label, slices=slices, candidate=candidate, seed=seed)
    trial_metrics = _try_out(recipe, taken, training_id, lake, rows)
    final = read_labelled(taken, *taken.final_window(candidate), lake, rows)
    package, reference_metrics = _final(recipe, final)
    return registry.log_training(
        Training(
            training_id=training_id,
            candidate=candidate.name,
            package=package,
            params=_params(candidate, taken, final, seed),
            metrics={**trial_metrics, **reference_metrics},
            tags={
                "as_of": taken.as_of.isoformat(),
                "trimtab.reason": reason,
                "trimtab.fingerprint": trainer.fingerprint,
            },
            dataset=rows_frame(final),
            dataset_source=f"batches version {taken.batches_version}, labels version {taken.labels_version}",
            example=pd.DataFrame({name: values[:EXAMPLE_ROWS] for name, values in final.rows.items()}),
            figures={},
        )
    )


def _try_out(recipe: _Recipe, taken: Snapshot, training_id: str, lake: Lake, rows: RowsSpec) -> dict[str, float]:
    """Fit to the days before the hold-out, and write the predictions of the hold-out to the lake."""
    fitted = recipe.fit(read_labelled(taken, *taken.trial_window(recipe.candidate), lake, rows))
    holdout = read_labelled(taken, taken.holdout_first, taken.last_labelled, lake, rows)
    predictions = recipe.predict(fitted, holdout)
    return write_trial(training_id, holdout, predictions, lake, recipe.label)


def write_trial(
    training_id: str, holdout: Labelled, predictions: FloatArray, lake: Lake, label: LabelSpec
) -> dict[str, float]:
    """Write a trial's predictions (n,) of the hold-out to the lake; its metrics there."""
    for day in np.unique(holdout.day.astype(str)):
        mask = holdout.day == day
        lake.write(
            "predictions",
            date.fromisoformat(str(day)),
            trial_frame(holdout.key[mask], predictions[mask], "challenger"),
            part=trial_part(training_id),
        )
    measured = defined(measures(label, holdout.y_true, predictions))
    return {f"holdout_{name}": value for name, value in measured.items()}


def trial_frame(key: np.ndarray, prediction: FloatArray, version: str) -> pd.DataFrame:
    """Predictions of rows that were never served."""
    return pd.DataFrame(
        {
            "request_id": pd.Series([None] * len(key), dtype=object),
            "_key": key,
            "version": version,
            "arm": "trial",
            "served": False,
            "route": 0,
            "prediction": prediction,
        }
    )


def _final(recipe: _Recipe, final: Labelled) -> tuple[Package, dict[str, float]]:
    estimator, encoder = recipe.fit(final)
    out_of_sample = _out_of_sample(recipe, final)
    measured = measures(recipe.label, final.y_true, out_of_sample)
    package = recipe.trainer.pack(estimator, encoder, _reference(recipe, final, out_of_sample))
    kept = {f"reference_{name}": measured[name] for name in (LOSS_METRICS[recipe.label.task], "bias")}
    return package, {**kept, "rows": float(len(final.y_true))}


def _out_of_sample(recipe: _Recipe, labelled: Labelled) -> FloatArray:
    """Predictions (n,) of each block of days by a model fitted to the other blocks."""
    predictions = np.full(len(labelled.y_true), np.nan)
    for block in blocks_of_days(labelled.day):
        predictions[block] = recipe.predict(recipe.fit(labelled.take(~block)), labelled.take(block))
    return predictions


def _reference(recipe: _Recipe, labelled: Labelled, out_of_sample: FloatArray) -> Reference:
    features = recipe.trainer.features(labelled.rows)
    slices = slices_of({**labelled.rows, **features}, recipe.slices)
    columns = {**features, PREDICTION: out_of_sample}
    bins = bins_of(columns)
    days = {}
    for day in np.unique(labelled.day.astype(str)):
        mask = labelled.day == day
        rows = {name: values[mask] for name, values in columns.items()}
        days[str(day)] = profile(rows, bins)
    errors = errors_of_days(recipe.label.task, labelled.day, labelled.y_true, out_of_sample, slices)
    label_bins = number_bins(labelled.y_true)
    return Reference(
        bins=bins,
        days=days,
        errors=dict(errors),
        label_bins=label_bins,
        labels=profile_column(labelled.y_true, label_bins),
    )


def _params(candidate: CandidateSpec, taken: Snapshot, final: Labelled, seed: int) -> dict[str, str]:
    first, last = taken.final_window(candidate)
    return {
        "candidate": candidate.name,
        "estimator": candidate.estimator.kind,
        **{name: str(value) for name, value in candidate.estimator.params.items()},
        "seed": str(seed),
        "first_day": first.isoformat(),
        "last_day": last.isoformat(),
        "days": str(len(set(final.day.tolist()))),
        "holdout": f"{taken.holdout_first} to {taken.last_labelled}",
        "batches_version": str(taken.batches_version),
        "labels_version": str(taken.labels_version),
    }
