"""The distance between two profiles is the one of the literature."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from trimtab.domain.drift import jensen_shannon_distance

COUNTS = st.integers(2, 30).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 1000), min_size=size, max_size=size)] * 2)
)


@given(COUNTS)
def test_distance_is_that_of_scipy_to_base_two(counts: tuple[list[int], list[int]]) -> None:
    first, second = (np.array(values, dtype=np.float64) for values in counts)
    if not first.sum() or not second.sum():
        return
    expected = float(jensenshannon(first, second, base=2))
    # scipy takes the root of a divergence that rounding may have made slightly negative
    assert jensen_shannon_distance(first, second) == pytest.approx(0.0 if np.isnan(expected) else expected, abs=1e-7)


@given(COUNTS)
def test_distance_is_symmetric_and_within_zero_and_one(counts: tuple[list[int], list[int]]) -> None:
    first, second = (np.array(values, dtype=np.float64) for values in counts)
    distance = jensen_shannon_distance(first, second)
    assert 0 <= distance <= 1
    assert distance == pytest.approx(jensen_shannon_distance(second, first), abs=1e-12)
    assert jensen_shannon_distance(first, 3 * first) == pytest.approx(0, abs=1e-7)


def test_disjoint_profiles_are_at_distance_one() -> None:
    assert jensen_shannon_distance(np.array([3.0, 0]), np.array([0, 5.0])) == 1.0


def test_profile_of_no_row_is_at_distance_one_from_any_other_and_zero_from_itself() -> None:
    nothing = np.zeros(3)
    assert jensen_shannon_distance(nothing, np.array([1.0, 2, 3])) == 1.0
    assert jensen_shannon_distance(nothing, nothing) == 0.0
