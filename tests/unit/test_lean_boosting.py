"""The short way to the trees gives what the long one gives, or is not taken."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from trimtab.adapters.lean_boosting import OrdinalColumns, make_lean
from trimtab.domain.metrics import FloatArray

VALUE = st.sampled_from([np.nan, -1.0, 0.0, 1.0, 2.0, 3.0, 7.0, 0.5, 1e300, -1e300])


def fitted(kind: Any, categorical: Sequence[int] | None) -> Any:  # an estimator
    random = np.random.default_rng(0)
    matrix = random.integers(0, 4, size=(300, 4)).astype(np.float64)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    label = np.nan_to_num(matrix[:, 1]) * 3 + (matrix[:, 3] == 2) > 3
    return kind(max_iter=10, categorical_features=categorical, random_state=0).fit(matrix, label.astype(np.float64))


LONG = fitted(HistGradientBoostingRegressor, [1, 3])
LEAN = fitted(HistGradientBoostingRegressor, [1, 3])
make_lean(LEAN)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(VALUE, VALUE, VALUE, VALUE), min_size=1, max_size=20))
def test_every_prediction_is_the_same_to_the_last_bit(rows: list[tuple[float, ...]]) -> None:
    matrix: FloatArray = np.array(rows)
    assert isinstance(LEAN._preprocessor, OrdinalColumns)
    assert np.array_equal(LEAN.predict(matrix), LONG.predict(matrix))


def test_probabilities_are_the_same() -> None:
    long, lean = (fitted(HistGradientBoostingClassifier, [0, 2]) for _ in range(2))
    make_lean(lean)
    matrix = np.random.default_rng(1).integers(-1, 6, size=(100, 4)).astype(np.float64)
    assert np.array_equal(lean.predict_proba(matrix), long.predict_proba(matrix))
    assert isinstance(lean._preprocessor, OrdinalColumns)


def test_estimator_without_categories_stays_as_it_is() -> None:
    estimator = fitted(HistGradientBoostingRegressor, None)
    make_lean(estimator)
    assert estimator._preprocessor is None


@pytest.mark.parametrize("broken", ["categories", "order", "gone"])
def test_what_gives_something_else_does_not_take_the_place(broken: str) -> None:
    estimator = fitted(HistGradientBoostingRegressor, [1, 3])
    checked = estimator._preprocessor
    if broken == "gone":
        del estimator._preprocessor
    elif broken == "categories":
        checked.transformers_[0][1].categories_[0] = checked.transformers_[0][1].categories_[0] + 1
        checked.transform = lambda matrix: matrix
    else:
        checked.transform = lambda matrix: matrix[:, ::-1]
    make_lean(estimator)
    assert getattr(estimator, "_preprocessor", checked) is checked
