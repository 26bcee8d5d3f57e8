"""Texts of a source become values, and what cannot is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.row_types import LARGEST_INTEGER, label_values, typed
from trimtab.domain.spec import ColumnType, LabelSpec
from trimtab.errors import DataContractError


def objects(values: list[str | None]) -> np.ndarray:
    return np.array([*values, None], dtype=object)[:-1]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_every_finite_number_comes_back_from_its_text(values: list[float]) -> None:
    column, problems = typed(objects([repr(value) for value in values]), "number")
    assert column.tolist() == values
    assert problems == {}


@given(st.lists(st.integers(-LARGEST_INTEGER, LARGEST_INTEGER), max_size=20))
def test_every_integer_that_a_float_can_tell_apart_comes_back(values: list[int]) -> None:
    column, problems = typed(objects([str(value) for value in values]), "integer")
    assert [int(value) for value in column.tolist()] == values
    assert problems == {}


@given(st.lists(st.none() | st.text(max_size=8), max_size=20), st.sampled_from(["number", "integer?", "text", "text?"]))
def test_problem_or_value_for_each_row_and_never_an_error(values: list[str | None], kind: ColumnType) -> None:
    column, problems = typed(objects(values), kind)
    assert len(column) == len(values)
    for position, value in enumerate(values):
        if value is None:
            assert (position in problems) is not kind.endswith("?")
        elif not kind.startswith("text"):
            assert (position in problems) is bool(np.isnan(column[position]))


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        ("twelve", "number", "must be a number, got 'twelve'"),
        ("1_5", "number", "must be a number, got '1_5'"),
        ("0x1F", "number", "must be a number, got '0x1F'"),
        ("1,5", "number", "must be a number, got '1,5'"),
        ("nan", "number", "must be a number, got 'nan'"),
        ("inf", "number?", "must be a number, got 'inf'"),
        ("1.5", "integer", "must be an integer, got '1.5'"),
        ("9007199254740994", "integer", "must be an integer, got '9007199254740994'"),
        ("x" * 100, "integer?", f"must be an integer, got '{'x' * 40}'"),
        (None, "number", "has no value"),
        (None, "text", "has no value"),
    ],
)
def test_bad_value_is_named(text: str | None, kind: ColumnType, problem: str) -> None:
    column, problems = typed(objects([text]), kind)
    assert problems == {0: problem}
    assert column[0] is None if kind == "text" else np.isnan(column[0])


@pytest.mark.parametrize(
    ("text", "value"), [("12", 12.0), ("12.0", 12.0), (" 12 ", 12.0), ("-1e3", -1000.0), ("+7", 7.0)]
)
def test_spellings_of_a_number_are_the_same_number(text: str, value: float) -> None:
    assert typed(objects([text]), "number")[0].tolist() == [value]


def test_missing_value_is_allowed_where_the_type_says_so() -> None:
    column, problems = typed(objects([None, "3"]), "integer?")
    np.testing.assert_array_equal(column, [np.nan, 3.0])
    assert problems == {}
    assert typed(objects([None, "x"]), "text?")[0].tolist() == [None, "x"]


def test_label_of_a_regression_is_the_number() -> None:
    found = label_values(objects(["7", "-1.5", None, "NA"]), LabelSpec(column="delay"))
    assert found.tolist() == pytest.approx([7, -1.5, np.nan, np.nan], nan_ok=True)


def test_label_of_a_classifier_tells_whether_the_number_is_above() -> None:
    late = LabelSpec(column="delay", task="binary", above=15)
    found = label_values(objects(["15", "15.1", "-3", None, "NA"]), late)
    assert found.tolist() == pytest.approx([0, 1, 0, np.nan, np.nan], nan_ok=True)
    assert late.title == "delay > 15"


def test_label_of_a_classifier_without_a_rule_is_0_or_1_or_missing() -> None:
    churned = LabelSpec(column="churned", task="binary")
    assert label_values(objects(["0", "1.0", None]), churned).tolist() == pytest.approx([0, 1, np.nan], nan_ok=True)
    with pytest.raises(DataContractError) as told:
        label_values(objects(["0", "1", "2"]), churned)
    assert str(told.value) == (
        "Label column 'churned' must hold 0 and 1. Got 2. Mend the source, or say with label.above in model.yaml "
        "which numbers count as 1."
    )
