"""A trained model as a handful of files, and the predictor that they make. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from pydantic import TypeAdapter

from trimtab.adapters.joined_trees import join_trees
from trimtab.adapters.lean_boosting import make_lean
from trimtab.adapters.model_folder import FEATURE_FILE, SPEC_FILE, parse_spec
from trimtab.adapters.reproducible_skops import reproducible
from trimtab.domain.columns import Columns, Encoder
from trimtab.domain.feature_code import FeatureCode
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import Fitted, Package
from trimtab.domain.profiles import ColumnBins, Reference
from trimtab.domain.recalibration import Calibration, calibration_of, corrected_bins, corrected_reference
from trimtab.domain.spec import ModelSpec, Task
from trimtab.errors import ModelIntegrityError, SpecError

ESTIMATOR_FILE = "estimator.skops"
ENCODER_FILE = "encoder.json"
REFERENCE_FILE = "reference.json"
FILES = (ESTIMATOR_FILE, ENCODER_FILE, REFERENCE_FILE, FEATURE_FILE, SPEC_FILE)
"""Of every package; one whose level has been corrected has CALIBRATION_FILE too."""

TRUSTED_TYPES: Sequence[str] = (
    "functools.partial",
    "sklearn.utils.validation.check_array",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss.loss.AbsoluteError",
    "sklearn._loss._loss.CyHalfSquaredError",
    "sklearn._loss._loss.CyAbsoluteError",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
)
"""What a HistGradientBoostingRegressor or -Classifier holds beside the types that skops trusts by itself."""


class Classifier(Protocol):
    """A fitted classifier of scikit-learn."""

    classes_: FloatArray
    """The labels (k,) that it saw, ascending."""

    def predict_proba(self, matrix: FloatArray) -> FloatArray:
        """Probability of each label (n, k) for a matrix (n, p)."""
        ...


class ProbabilityOfOne:
    """A classifier of 0 and 1 whose prediction is the probability of a 1."""

    def __init__(self, classifier: Classifier) -> None:
        """Wrap a fitted classifier."""
        self.classifier = classifier

    def predict(self, matrix: FloatArray) -> FloatArray:
        """Probabilities (n,) for a matrix (n, p)."""
        known = self.classifier.classes_
        if len(known) == 1:  # scikit-learn has a second column even then, of which nothing was learnt
            return np.full(len(matrix), float(known[0]))
        probability: FloatArray = self.classifier.predict_proba(matrix)[:, 1]
        return probability


def as_fitted(estimator: Any, task: Task) -> Fitted:
    """An estimator of scikit-learn whose prediction is what the task asks for."""
    fitted: Fitted = ProbabilityOfOne(estimator) if task == "binary" else estimator
    return fitted


_encoder_json = TypeAdapter(Encoder)
_reference_json = TypeAdapter(Reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bins:
    """The one part of a reference that counting a batch needs."""

    bins: dict[str, ColumnBins]
    label_bins: ColumnBins | None = None


_bins_json = TypeAdapter(_Bins)


class PackagedModel:
    """A model opened from its package, but for its estimator."""

    def __init__(self, spec: ModelSpec, code: FeatureCode, reference: bytes, calibration: Calibration | None) -> None:
        """Put the parts together; `describe_package` is the usual way.

        The reference, a profile for each day of training, is parsed when it is asked for: serving never does.
        """
        self._spec, self._code, self._reference_content, self._calibration = spec, code, reference, calibration

    @property
    def spec(self) -> ModelSpec:
        """The spec that it was trained with."""
        return self._spec

    @cached_property
    def reference(self) -> Reference:
        """Its frozen drift reference; predictions and errors are those after the correction, if it has one."""
        trained = _reference_json.validate_json(self._reference_content)
        return corrected_reference(trained, self._calibration) if self._calibration else trained

    @cached_property
    def bins(self) -> Mapping[str, ColumnBins]:
        """How the reference counts each column."""
        trained = self._bins.bins
        return corrected_bins(trained, self._calibration.correction) if self._calibration else trained

    @property
    def label_bins(self) -> ColumnBins | None:
        """How the reference counts labels, which no correction moves."""
        return self._bins.label_bins

    @cached_property
    def _bins(self) -> _Bins:
        return _bins_json.validate_json(self._reference_content)

    def features(self, rows: Columns) -> Columns:
        """Features (n each) of rows (n each)."""
        return self._code.compute(rows)


class PackagedPredictor(PackagedModel):
    """A model opened from its package."""

    def __init__(self, model: PackagedModel, encoder: Encoder, estimator: Fitted) -> None:
        """Put the parts together; `open_package` is the usual way."""
        super().__init__(model.spec, model._code, model._reference_content, model._calibration)  # noqa: SLF001  # its own
        self._encoder, self._estimator = encoder, estimator

    def predict(self, rows: Columns) -> FloatArray:
        """Predictions (n,) for rows (n each)."""
        return self.predict_features(self.features(rows))

    def predict_features(self, features: Columns) -> FloatArray:
        """Predictions (n,) for features (n each) that `features` has computed."""
        prediction: FloatArray = self._estimator.predict(self._encoder.matrix(features))
        return self._calibration.correction.apply(prediction) if self._calibration else prediction


def _bare(estimator: Fitted) -> Any:
    """What scikit-learn has fitted."""
    return estimator.classifier if isinstance(estimator, ProbabilityOfOne) else estimator


def load_feature_code(code: bytes, spec: ModelSpec, name: str = FEATURE_FILE) -> FeatureCode:
    """Run feature code as a module of its own, on nobody's import path.

    Raises:
        SpecError: If it cannot be run, or does not offer what the spec asks for.
    """
    module = ModuleType(f"features_{hashlib.sha256(code).hexdigest()[:12]}")
    try:
        exec(compile(code, name, "exec"), vars(module))  # noqa: S102  # the model owner's own code; see ADR 4
    except SyntaxError as exc:
        raise SpecError(name, f"line {exc.lineno}", f"is not Python: {exc.msg}. Mend the syntax.") from exc
    except Exception as exc:
        raise SpecError(name, "", f"cannot be run: {type(exc).__name__}: {exc}. Mend it.") from exc
    return FeatureCode(module, spec.features, spec.rows)


def pack(
    *,
    estimator: Fitted,
    encoder: Encoder,
    reference: Reference,
    feature_code: bytes,
    spec: ModelSpec,
) -> Package:
    """The files of a trained model."""
    import skops.io  # noqa: PLC0415  # pulls in scikit-learn
    import yaml  # noqa: PLC0415

    document = spec.model_dump(mode="json", by_alias=True)
    return {
        ESTIMATOR_FILE: reproducible(skops.io.dumps(_bare(estimator))),
        ENCODER_FILE: _encoder_json.dump_json(encoder),
        REFERENCE_FILE: _reference_json.dump_json(reference),
        FEATURE_FILE: feature_code,
        SPEC_FILE: yaml.safe_dump(document, sort_keys=False).encode(),
    }


def digest(package: Package) -> str:
    """SHA-256 over the names and contents of all files."""
    each = {name: hashlib.sha256(content).hexdigest() for name, content in package.items()}
    return hashlib.sha256(json.dumps(each, sort_keys=True).encode()).hexdigest()


def checked_package(package: Package, *, expected_digest: str, name: str) -> Package:
    """The package, after checking that it is the one that was stored; `name` is for messages.

    Raises:
        ModelIntegrityError: If a file is missing or changed.
    """
    missing = sorted(set(FILES) - set(package))
    if missing or digest(package) != expected_digest:
        problem = f"lacks {', '.join(missing)}" if missing else "has other content than when it was registered"
        raise ModelIntegrityError(f"Package of {name} {problem}. It is not loaded; register the model anew.")
    return package


def describe_package(package: Package, *, expected_digest: str, name: str) -> PackagedModel:
    """Open all but the estimator, after checking that the package is the one that was stored; `name` is for messages.

    Raises:
        ModelIntegrityError: If a file is missing or changed.
    """
    checked_package(package, expected_digest=expected_digest, name=name)
    spec = parse_spec(package[SPEC_FILE].decode(), f"{SPEC_FILE} of {name}")
    return PackagedModel(
        spec,
        load_feature_code(package[FEATURE_FILE], spec, f"{FEATURE_FILE} of {name}"),
        package[REFERENCE_FILE],
        calibration_of(package),
    )


def open_package(package: Package, *, expected_digest: str, name: str) -> PackagedPredictor:
    """Open a model after checking that it is the one that was stored; `name` is for messages.

    Raises:
        ModelIntegrityError: If a file is missing or changed, or the estimator holds a type that is not allowed.
    """
    import skops.io  # noqa: PLC0415  # pulls in scikit-learn
    from skops.io.exceptions import UntrustedTypesFoundException  # noqa: PLC0415

    model = describe_package(package, expected_digest=expected_digest, name=name)
    try:
        estimator = skops.io.loads(package[ESTIMATOR_FILE], trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as exc:
        raise ModelIntegrityError(
            f"Package of {name} holds a type that is not allowed: {exc}. It is not loaded."
        ) from exc
    make_lean(estimator)
    join_trees(estimator)
    encoder = _encoder_json.validate_json(package[ENCODER_FILE])
    return PackagedPredictor(model, encoder, as_fitted(estimator, model.spec.label.task))
