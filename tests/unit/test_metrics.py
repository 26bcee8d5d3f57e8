"""Errors of predictions, overall and by slice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from trimtab.domain.metrics import errors, errors_by

PAIRS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from("ab")), min_size=1, max_size=30)


@given(PAIRS)
def test_errors_are_those_of_scikit_learn(pairs: list[tuple[float, float, str]]) -> None:
    y_true, y_pred = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    found = errors(y_true, y_pred)
    assert found.mae == pytest.approx(mean_absolute_error(y_true, y_pred))
    assert found.rmse == pytest.approx(root_mean_squared_error(y_true, y_pred))
    assert found.bias == pytest.approx((y_pred - y_true).mean(), abs=1e-6)
    assert found.rmse >= found.mae - 1e-6 >= abs(found.bias) - 2e-6


@given(PAIRS)
def test_errors_of_slices_add_up_to_those_of_all(pairs: list[tuple[float, float, str]]) -> None:
    y_true, y_pred = np.array([pair[0] for pair in pairs]), np.array([pair[1] for pair in pairs])
    groups = np.array([pair[2] for pair in pairs], dtype=object)
    found = errors_by(groups, y_true, y_pred)
    assert sum(one.rows for one in found.values()) == len(pairs)
    assert sum(one.rows * one.mae for one in found.values()) / len(pairs) == pytest.approx(errors(y_true, y_pred).mae)


def test_errors_of_no_row_are_nan() -> None:
    nothing = errors(np.array([]), np.array([]))
    assert nothing.rows == 0
    assert np.isnan([nothing.mae, nothing.rmse, nothing.bias]).all()
