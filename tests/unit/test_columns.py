"""Rows as columns: the matrix of a model, slices and keys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from trimtab.domain.columns import MAX_CATEGORIES, Columns, Encoder, row_keys, slice_names
from trimtab.domain.spec import FeaturesSpec, SliceSpec

SPEC = FeaturesSpec(numeric=("x",), categorical=("c",))
VALUES = st.lists(st.none() | st.text(max_size=3), min_size=1, max_size=40)


def objects(values: list[str | None]) -> np.ndarray:
    return np.array([*values, None], dtype=object)[:-1]


@given(VALUES)
def test_every_known_category_comes_back_from_its_code_and_missing_is_nan(values: list[str | None]) -> None:
    features: Columns = {"x": np.arange(len(values), dtype=np.float64), "c": objects(values)}
    encoder = Encoder.fit(features, SPEC)
    matrix = encoder.matrix(features)
    assert matrix[:, 0].tolist() == list(range(len(values)))
    decoded = [None if np.isnan(code) else encoder.categories["c"][int(code)] for code in matrix[:, 1]]
    assert decoded == values
    assert list(encoder.categories["c"]) == sorted({value for value in values if value is not None})


@given(VALUES)
def test_encoder_survives_json(values: list[str | None]) -> None:
    encoder = Encoder.fit({"x": np.zeros(len(values)), "c": objects(values)}, SPEC)
    adapter = TypeAdapter(Encoder)
    assert adapter.validate_json(adapter.dump_json(encoder)) == encoder


def test_category_never_seen_in_training_is_missing_in_the_matrix() -> None:
    encoder = Encoder.fit({"x": np.zeros(2), "c": objects(["a", "b"])}, SPEC)
    matrix = encoder.matrix({"x": np.array([1.0, np.nan]), "c": objects(["z", "b"])})
    np.testing.assert_array_equal(matrix, [[1.0, np.nan], [np.nan, 1.0]])


def test_number_may_be_a_category() -> None:
    features: Columns = {"x": np.zeros(4), "c": np.array([7.0, 1.5, np.nan, 7.0])}
    encoder = Encoder.fit(features, SPEC)
    assert encoder.categories["c"] == ("1.5", "7")
    np.testing.assert_array_equal(encoder.matrix(features)[:, 1], [1, 0, np.nan, 1])


def test_rarest_categories_beyond_the_limit_share_the_code_of_the_unknown() -> None:
    common = [f"common{number:03d}" for number in range(MAX_CATEGORIES)]
    values = objects([*common, *common, "rare"])
    encoder = Encoder.fit({"x": np.zeros(len(values)), "c": values}, SPEC)
    assert encoder.categories["c"] == tuple(common)
    assert np.isnan(encoder.matrix({"x": np.zeros(1), "c": objects(["rare"])})[0, 1])


def test_names_and_positions_of_the_matrix() -> None:
    encoder = Encoder(numeric=("x", "y"), categories={"c": ("a",), "d": ("b",)})
    assert encoder.names == ("x", "y", "c", "d")
    assert encoder.categorical_indices == [2, 3]


def test_slices_of_bands_name_their_edges_and_the_missing() -> None:
    spec = SliceSpec(name="distance", column="distance", edges=(500, 1000, 1500.5))
    rows: Columns = {"distance": np.array([499.9, 500, 999, 1000, 1500.5, np.nan])}
    assert slice_names(rows, spec).tolist() == [
        "below 500", "500 to 1000", "500 to 1000", "1000 to 1500.5", "1500.5 and more", "missing",
    ]  # fmt: skip


def test_slices_of_values_name_the_value() -> None:
    spec = SliceSpec(name="x", column="x")
    assert slice_names({"x": np.array([1.0, 2.5, np.nan])}, spec).tolist() == ["1", "2.5", "missing"]
    assert slice_names({"x": objects(["UA", None, ""])}, spec).tolist() == ["UA", "missing", ""]


def test_key_joins_its_parts_and_writes_integers_without_a_point() -> None:
    rows: Columns = {
        "carrier": objects(["UA", "AA"]),
        "flight": np.array([1545.0, 7.0]),
        "share": np.array([0.5, 1e15]),
    }
    assert row_keys(rows, ("carrier", "flight", "share")).tolist() == ["UA|1545|0.5", "AA|7|1000000000000000"]


@given(st.lists(st.tuples(st.text("a|\\", max_size=4), st.text("a|\\", max_size=4)), min_size=2, unique=True))
def test_two_keys_never_look_the_same(pairs: list[tuple[str, str]]) -> None:
    rows: Columns = {"a": objects([a for a, _ in pairs]), "b": objects([b for _, b in pairs])}
    keys = row_keys(rows, ("a", "b")).tolist()
    assert len(set(keys)) == len(pairs)


@pytest.mark.parametrize("name", ["plain", "with|bar", "with\\backslash"])
def test_key_of_one_text_is_that_text(name: str) -> None:
    assert row_keys({"a": objects([name])}, ("a",)).tolist() == [name]
