"""Trees that are joined give what scikit-learn's loop over them gives, or are not used."""

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import Ridge

from trimtab.adapters.joined_trees import LARGEST_MATRIX, PIECE, JoinedTrees, join_trees
from trimtab.domain.metrics import FloatArray

VALUE = st.sampled_from([np.nan, -1.0, 0.0, 1.0, 2.0, 3.0, 7.0, 0.5, 1e300, -1e300])


def fitted(kind: Any, categorical: Sequence[int] | None, trees: int = 23, **options: Any) -> Any:  # an estimator
    random = np.random.default_rng(0)
    matrix = random.integers(0, 4, size=(300, 4)).astype(np.float64)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    label = np.nan_to_num(matrix[:, 1]) * 3 + (matrix[:, 3] == 2) + 0.1 * np.nan_to_num(matrix[:, 0])
    label = (label > 3).astype(np.float64) if kind is HistGradientBoostingClassifier else label
    return kind(max_iter=trees, categorical_features=categorical, random_state=0, **options).fit(matrix, label)


def is_joined(estimator: Any) -> bool:
    return "_predict_iterations" in vars(estimator)


LOOP = fitted(HistGradientBoostingRegressor, [1, 3])
JOINED = fitted(HistGradientBoostingRegressor, [1, 3])
join_trees(JOINED)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(VALUE, VALUE, VALUE, VALUE), min_size=1, max_size=20))
def test_every_prediction_is_the_same_to_the_last_bit(rows: list[tuple[float, ...]]) -> None:
    matrix: FloatArray = np.array(rows)
    assert is_joined(JOINED)
    assert np.array_equal(JOINED.predict(matrix), LOOP.predict(matrix))


@pytest.mark.parametrize("trees", [1, 2, 3, 64, 65])
@pytest.mark.parametrize("categorical", [None, [0, 1, 2, 3]])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
def test_any_number_of_trees_and_categories_gives_the_same(
    trees: int, categorical: Sequence[int] | None, loss: str
) -> None:
    matrix = np.random.default_rng(1).integers(-1, 6, size=(50, 4)).astype(np.float64)
    loop, at_once = (fitted(HistGradientBoostingRegressor, categorical, trees, loss=loss) for _ in range(2))
    join_trees(at_once)
    assert is_joined(at_once)
    assert np.array_equal(at_once.predict(matrix), loop.predict(matrix))


def test_rows_of_several_pieces_give_the_same() -> None:
    loop, at_once = (fitted(HistGradientBoostingRegressor, [1, 3], 64) for _ in range(2))
    join_trees(at_once)
    matrix = np.random.default_rng(1).integers(-1, 6, size=(400, 4)).astype(np.float64)
    assert is_joined(at_once)
    assert PIECE < matrix.size * 64 < LARGEST_MATRIX
    assert np.array_equal(at_once.predict(matrix), loop.predict(matrix))


def test_an_estimator_that_nobody_needs_is_gone_without_a_collection() -> None:
    """The service freezes what it has loaded, and a collection never looks at that again."""
    gc.collect()
    gc.disable()
    try:
        estimator = fitted(HistGradientBoostingRegressor, [1, 3])
        join_trees(estimator)
        assert is_joined(estimator)
        remains = weakref.ref(estimator)
        del estimator
        assert remains() is None
    finally:
        gc.enable()


def test_probabilities_are_the_same() -> None:
    loop, at_once = (fitted(HistGradientBoostingClassifier, [0, 2]) for _ in range(2))
    join_trees(at_once)
    matrix = np.random.default_rng(1).integers(-1, 6, size=(100, 4)).astype(np.float64)
    assert is_joined(at_once)
    assert np.array_equal(at_once.predict_proba(matrix), loop.predict_proba(matrix))


def test_many_rows_and_stages_go_through_the_loop_and_give_the_same() -> None:
    matrix = np.random.default_rng(1).integers(-1, 6, size=(LARGEST_MATRIX // 23, 4)).astype(np.float64)
    assert np.array_equal(JOINED.predict(matrix), LOOP.predict(matrix))
    for one, other in zip(JOINED.staged_predict(matrix[:5]), LOOP.staged_predict(matrix[:5]), strict=True):
        assert np.array_equal(one, other)


def test_no_row_is_no_prediction() -> None:
    raw = np.zeros((0, 1), order="F")
    JoinedTrees(LOOP).add(np.zeros((0, 4)), LOOP._predictors, raw, is_binned=False, n_threads=1)
    assert raw.shape == (0, 1)


def test_other_estimators_stay_as_they_are() -> None:
    matrix = np.random.default_rng(0).normal(size=(60, 2))
    several = HistGradientBoostingClassifier(max_iter=3).fit(matrix, np.arange(60) % 3)
    for estimator in (several, Ridge().fit(matrix, matrix[:, 0])):
        join_trees(estimator)
        assert not is_joined(estimator)


@pytest.mark.parametrize("large", [LARGEST_MATRIX, 1])
@pytest.mark.parametrize("broken", ["leaves", "missing values", "gone"])
def test_what_gives_something_else_does_not_take_the_place(
    broken: str, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where every row is so large that the loop would answer for it."""
    monkeypatch.setattr("trimtab.adapters.joined_trees.LARGEST_MATRIX", large)
    estimator = fitted(HistGradientBoostingRegressor, [1, 3])
    if broken == "gone":
        del estimator._bin_mapper
    else:
        join = JoinedTrees.__init__

        def broken_join(self: JoinedTrees, estimator: Any) -> None:
            join(self, estimator)
            nodes = self._joined.nodes
            if broken == "leaves":
                nodes["value"] += 1e-9
            else:
                nodes["missing_go_to_left"] ^= 1

        monkeypatch.setattr(JoinedTrees, "__init__", broken_join)
    join_trees(estimator)
    assert not is_joined(estimator)
