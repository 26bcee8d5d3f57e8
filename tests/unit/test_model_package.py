"""A model's package opens only as what was stored, and holds nothing that runs by itself."""

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import skops.io

from doubles import FLIGHTS, tiny_package, tiny_rows
from trimtab.adapters.model_folder import ModelFolder, load_folder
from trimtab.adapters.model_package import FILES, digest, open_package
from trimtab.adapters.sklearn_trainer import SklearnTrainer, new_estimator
from trimtab.domain.columns import Encoder
from trimtab.domain.metrics import auc
from trimtab.domain.spec import EstimatorSpec, LabelSpec
from trimtab.errors import ModelIntegrityError, SpecError


def test_opened_package_predicts_as_the_estimator_that_was_packed() -> None:
    package = tiny_package(0)
    opened = open_package(package, expected_digest=digest(package), name="run 1")
    rows, label = tiny_rows(0)
    predicted = opened.predict(rows)
    assert predicted.shape == label.shape
    assert np.abs(predicted - label).mean() < 60  # five iterations; a constant is 80 off
    again = open_package(package, expected_digest=digest(package), name="run 1")
    np.testing.assert_array_equal(predicted, again.predict(rows))
    assert opened.spec == load_folder(FLIGHTS).spec
    assert list(opened.features(rows)) == list(opened.spec.features.names)
    assert list(opened.reference.days) == ["2013-01-01"]


def test_same_training_gives_the_same_package_in_another_process() -> None:
    """The ledger names a version by its digest, so a training that is repeated must come to the same."""
    code = "import doubles, trimtab.adapters.model_package as p; print(p.digest(doubles.tiny_package(0)))"
    variables = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert printed.stdout.split()[-1] == digest(tiny_package(0))


def test_missing_planes_and_unknown_categories_are_predicted_too() -> None:
    package = tiny_package(0)
    rows, _ = tiny_rows(1)
    rows = {**rows, "carrier": np.array([None] * 300, dtype=object), "dest": np.array(["XXX"] * 300, dtype=object)}
    opened = open_package(package, expected_digest=digest(package), name="run 1")
    assert np.isfinite(opened.predict(rows)).all()


@pytest.mark.parametrize("name", FILES)
def test_package_of_which_one_byte_has_changed_is_not_opened(name: str) -> None:
    package = tiny_package(0)
    changed = {**package, name: package[name][:-1] + bytes([package[name][-1] ^ 1])}
    with pytest.raises(ModelIntegrityError) as told:
        open_package(changed, expected_digest=digest(package), name="run 1")
    assert str(told.value) == (
        "Package of run 1 has other content than when it was registered. It is not loaded; register the model anew."
    )


@pytest.mark.parametrize("name", FILES)
def test_package_that_lacks_a_file_is_not_opened(name: str) -> None:
    package = tiny_package(0)
    rest = {file: content for file, content in package.items() if file != name}
    with pytest.raises(ModelIntegrityError) as told:
        open_package(rest, expected_digest=digest(package), name="run 1")
    assert str(told.value) == f"Package of run 1 lacks {name}. It is not loaded; register the model anew."


def test_file_moved_to_another_name_changes_the_digest() -> None:
    package = tiny_package(0)
    swapped = {**package, "encoder.json": package["reference.json"], "reference.json": package["encoder.json"]}
    assert digest(swapped) != digest(package)


def test_type_that_is_not_allowed_is_refused_though_the_digest_fits() -> None:
    package = {**tiny_package(0), "estimator.skops": skops.io.dumps(Runs())}
    with pytest.raises(ModelIntegrityError, match="holds a type that is not allowed: .*Runs.* It is not loaded"):
        open_package(package, expected_digest=digest(package), name="run 1")


class Runs:
    """Would run on being unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("unpickled",)


def test_feature_code_that_reaches_for_what_is_not_there_is_named() -> None:
    package = {**tiny_package(0), "features.py": b"def distance_squared(distance): return distance ** 2"}
    with pytest.raises(SpecError, match=r"^features\.py: scheduled_minute: is neither a column"):
        open_package(package, expected_digest=digest(package), name="run 1")


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "gamma", "poisson", "quantile"])
def test_estimator_of_any_loss_can_be_opened_again(loss: str) -> None:
    params: dict[str, str | int | float] = {"loss": loss, "max_iter": 3}
    if loss == "quantile":
        params["quantile"] = 0.9
    estimator = new_estimator(
        EstimatorSpec(kind="hist_gradient_boosting", params=params), "regression", [6, 7, 8], seed=0
    )
    random = np.random.default_rng(0)
    matrix = random.integers(0, 3, (200, 9)).astype(np.float64)
    estimator.fit(matrix, 1 + random.random(200))
    package = {**tiny_package(0), "estimator.skops": skops.io.dumps(estimator)}
    opened = open_package(package, expected_digest=digest(package), name="run 1")
    rows, _ = tiny_rows(0)
    assert np.isfinite(opened.predict(rows)).all()


@pytest.mark.parametrize("share", [0.3, 0.0, 1.0])
def test_classifier_predicts_the_probability_of_a_one_also_where_it_saw_one_class_only(share: float) -> None:
    rows, label = tiny_rows(0)
    late = (label > np.quantile(label, 1 - share)).astype(np.float64) if share < 1 else np.ones(len(label))
    folder = load_folder(FLIGHTS)
    spec = folder.spec.model_copy(update={"label": LabelSpec(column="late", task="binary")})
    trainer = SklearnTrainer(ModelFolder(folder.path, spec))
    features = trainer.features(rows)
    encoder = Encoder.fit(features, spec.features)
    fitted = trainer.fit(spec.train.candidates[0], encoder, encoder.matrix(features), late, seed=0)
    inside = open_package(tiny_package(0), expected_digest=digest(tiny_package(0)), name="run 1")
    package = trainer.pack(fitted, encoder, inside.reference)
    opened = open_package(package, expected_digest=digest(package), name="run 2")
    probability = opened.predict(rows)
    np.testing.assert_array_equal(probability, fitted.predict(encoder.matrix(features)))
    assert ((probability >= 0) & (probability <= 1)).all()
    assert probability.mean() == pytest.approx(late.mean(), abs=0.01)
    if 0 < share < 1:
        assert auc(late, probability) > 0.95


def test_parameter_that_the_estimator_does_not_have_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^model\.yaml: estimator\.params\.n_trees: may be one of .*max_iter"):
        new_estimator(EstimatorSpec(kind="hist_gradient_boosting", params={"n_trees": 3}), "regression", [], seed=0)
    with pytest.raises(SpecError, match=r"estimator\.params\.random_state"):
        new_estimator(EstimatorSpec(kind="hist_gradient_boosting", params={"random_state": 3}), "binary", [], seed=0)


def test_same_data_and_seed_give_the_same_model() -> None:
    random = np.random.default_rng(0)
    matrix, label = random.random((300, 4)), random.random(300)
    spec = EstimatorSpec(kind="hist_gradient_boosting", params={"max_iter": 5, "max_features": 0.5})
    first, second, other = (
        new_estimator(spec, "regression", [], seed).fit(matrix, label).predict(matrix) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
