"""Fitting the estimators of scikit-learn that a spec may name."""

import inspect
from collections.abc import Sequence
from typing import TypeAlias

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from trimtab.adapters.model_folder import FEATURE_FILE, ModelFolder
from trimtab.adapters.model_package import as_fitted, load_feature_code, pack
from trimtab.domain.columns import Columns, Encoder
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import Fitted, Package
from trimtab.domain.profiles import Reference
from trimtab.domain.spec import CandidateSpec, EstimatorSpec, Task
from trimtab.errors import SpecError

Estimator: TypeAlias = HistGradientBoostingRegressor | HistGradientBoostingClassifier


def new_estimator(spec: EstimatorSpec, task: Task, categorical: Sequence[int], seed: int) -> Estimator:
    """An estimator that gives the same model for the same data and seed.

    Args:
        spec: Kind and parameters.
        task: Whether a regressor or a classifier is needed.
        categorical: Positions of the categorical columns in the matrix.
        seed: Random state.

    Raises:
        SpecError: If scikit-learn has no such parameter, or the bundle sets it itself.
    """
    kind = HistGradientBoostingClassifier if task == "binary" else HistGradientBoostingRegressor
    known = set(inspect.signature(kind).parameters)
    own = {"random_state", "categorical_features", "early_stopping"}
    unknown = sorted(set(spec.params) - (known - own))
    if unknown:
        raise SpecError(
            "model.yaml", f"estimator.params.{unknown[0]}", f"may be one of {', '.join(sorted(known - own))}."
        )
    return kind(random_state=seed, categorical_features=list(categorical), early_stopping=False, **spec.params)


class SklearnTrainer:
    """Trains the candidates of one model folder."""

    def __init__(self, folder: ModelFolder) -> None:
        """Bind to a folder, and run its feature code once.

        Raises:
            SpecError: If the feature code does not offer what the spec asks for.
        """
        self._folder = folder
        self._code = load_feature_code(folder.feature_code, folder.spec, str(folder.path / FEATURE_FILE))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of spec and feature code."""
        return self._folder.fingerprint

    def features(self, rows: Columns) -> Columns:
        """Features (n each) of rows (n each)."""
        return self._code.compute(rows)

    def fit(
        self, candidate: CandidateSpec, encoder: Encoder, matrix: FloatArray, y_true: FloatArray, seed: int
    ) -> Fitted:
        """Fit a candidate to a matrix (n, p) and labels (n,)."""
        task = self._folder.spec.label.task
        estimator = new_estimator(candidate.estimator, task, encoder.categorical_indices, seed).fit(matrix, y_true)
        return as_fitted(estimator, task)

    def pack(self, fitted: Fitted, encoder: Encoder, reference: Reference) -> Package:
        """The files of a fitted model."""
        return pack(
            estimator=fitted,
            encoder=encoder,
            reference=reference,
            feature_code=self._folder.feature_code,
            spec=self._folder.spec,
        )
