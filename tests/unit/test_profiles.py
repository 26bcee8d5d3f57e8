"""Profiles add up, lose no row, and tell known values from new ones."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.columns import Column, Columns
from trimtab.domain.profiles import BINS, ColumnBins, ColumnProfile, bins_of, profile, total

NUMBERS = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=0, max_size=60)
TEXTS = st.lists(st.none() | st.sampled_from(["a", "b", "c", ""]), min_size=0, max_size=60)


def numbers(values: list[float]) -> Column:
    return np.array(values, dtype=np.float64)


def texts(values: list[str | None]) -> Column:
    return np.array([*values, None], dtype=object)[:-1]


@given(NUMBERS, NUMBERS, NUMBERS)
def test_sum_of_numeric_profiles_is_the_profile_of_all_rows(
    reference: list[float], first: list[float], second: list[float]
) -> None:
    bins = bins_of({"x": numbers(reference)})
    parts = [profile({"x": numbers(values)}, bins) for values in (first, second)]
    assert total(parts) == parts[0] + parts[1] == profile({"x": numbers(first + second)}, bins)


@given(TEXTS, TEXTS, TEXTS)
def test_sum_of_categorical_profiles_is_the_profile_of_all_rows(
    reference: list[str | None], first: list[str | None], second: list[str | None]
) -> None:
    bins = bins_of({"x": texts(reference)})
    parts = [profile({"x": texts(values)}, bins) for values in (first, second)]
    assert parts[0] + parts[1] == profile({"x": texts(first + second)}, bins)


@given(NUMBERS, NUMBERS)
def test_numeric_counts_and_missing_sum_to_the_rows(reference: list[float], values: list[float]) -> None:
    counted = profile({"x": numbers(values)}, bins_of({"x": numbers(reference)}))
    column = counted.columns["x"]
    assert sum(column.counts) + column.missing == counted.rows == len(values)
    assert column.missing == int(np.isnan(numbers(values)).sum())
    assert column.masses.sum() == len(values)


@given(TEXTS, TEXTS)
def test_categorical_counts_and_missing_sum_to_the_rows(reference: list[str | None], values: list[str | None]) -> None:
    counted = profile({"x": texts(values)}, bins_of({"x": texts(reference)}))
    column = counted.columns["x"]
    assert sum(column.counts) + column.missing == len(values)
    assert column.missing == values.count(None)
    assert column.counts[-1] == sum(value is not None and value not in reference for value in values)


def test_bins_of_a_number_hold_equal_shares_of_the_reference() -> None:
    columns: Columns = {"x": np.random.default_rng(0).normal(size=20_000)}
    counted = profile(columns, bins_of(columns)).columns["x"]
    assert len(counted.counts) == BINS
    assert min(counted.counts) >= 999
    assert max(counted.counts) <= 1001


def test_constant_number_has_one_edge_and_all_rows_on_one_side() -> None:
    columns: Columns = {"x": np.full(10, 3.0)}
    bins = bins_of(columns)
    assert bins == {"x": ColumnBins(edges=(3.0,))}
    assert profile(columns, bins).columns["x"] == ColumnProfile(counts=(0, 10), missing=0)


def test_column_without_a_value_is_counted_as_missing() -> None:
    columns: Columns = {"x": np.full(4, np.nan), "c": np.array([None] * 4, dtype=object)}
    counted = profile(columns, bins_of(columns))
    assert counted.columns["x"] == ColumnProfile(counts=(0, 0), missing=4)
    assert counted.columns["c"] == ColumnProfile(counts=(0,), missing=4)


def test_profile_of_no_rows_is_empty() -> None:
    assert profile({"x": np.array([])}, {"x": ColumnBins(edges=(1.0,))}).columns["x"].counts == (0, 0)
