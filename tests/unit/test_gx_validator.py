"""Great Expectations behind the port: severities, rows, and suites that are wrong."""

from pathlib import Path

import pandas as pd
import pytest

from trimtab.adapters.gx_validator import GxValidator
from trimtab.errors import SpecError

BATCH = pd.DataFrame({"_row": [10, 11, 12, 13], "a": [1.0, 2.0, 3.0, None], "b": [0.0, 5.0, 0.0, 1.0]})


def suite(tmp_path: Path, text: str) -> GxValidator:
    file = tmp_path / "suite.yaml"
    file.write_text(text, encoding="utf-8")
    return GxValidator(file)


def test_rows_that_break_an_expectation_are_named_also_where_enough_others_keep_it(tmp_path: Path) -> None:
    validator = suite(
        tmp_path,
        """
- type: expect_column_values_to_be_between
  kwargs: {column: b, max_value: 4, mostly: 0.5}
  severity: critical
- type: expect_column_pair_values_a_to_be_greater_than_b
  kwargs: {column_A: a, column_B: b, mostly: 0.5, ignore_row_if: either_value_is_missing}
  severity: critical
- {type: expect_column_values_to_not_be_null, kwargs: {column: a}, severity: warning}
- {type: expect_table_row_count_to_be_between, kwargs: {min_value: 5}, severity: critical}
- {type: expect_column_mean_to_be_between, kwargs: {column: a, min_value: 1, max_value: 3}, severity: info}
""",
    )
    found = {result.expectation: result for result in validator.validate(BATCH)}
    between = found["expect_column_values_to_be_between(b)"]
    assert (between.severity, between.success, between.per_row) == ("critical", True, True)
    assert between.unexpected_rows == (11,)
    assert between.observed == "1 of 4 rows (such as 5.0)"
    pair = found["expect_column_pair_values_a_to_be_greater_than_b(a, b)"]
    assert (pair.success, pair.per_row, pair.unexpected_rows) == (True, True, (11,))
    null = found["expect_column_values_to_not_be_null(a)"]
    assert (null.severity, null.success, null.unexpected_rows) == ("warning", False, (13,))
    count = found["expect_table_row_count_to_be_between()"]
    assert (count.success, count.per_row, count.observed, count.unexpected_rows) == (False, False, "4", ())
    mean = found["expect_column_mean_to_be_between(a)"]
    assert (mean.severity, mean.success, mean.observed) == ("info", True, "2.0")
    assert len(found) == 5


def test_expectation_that_cannot_be_evaluated_is_a_critical_failure(tmp_path: Path) -> None:
    validator = suite(tmp_path, "- {type: expect_column_values_to_not_be_null, kwargs: {column: gone}, severity: info}")
    (result,) = validator.validate(BATCH)
    assert (result.severity, result.success) == ("critical", False)
    assert result.observed == 'could not be evaluated: Error: The column "gone" in BatchData does not exist.'


def test_same_validator_judges_one_batch_after_another(tmp_path: Path) -> None:
    validator = suite(
        tmp_path, "- {type: expect_column_values_to_be_between, kwargs: {column: b, max_value: 4}, severity: critical}"
    )
    assert [validator.validate(BATCH)[0].success, validator.validate(BATCH.iloc[:1])[0].success] == [False, True]


def test_suite_without_an_expectation_has_no_result(tmp_path: Path) -> None:
    assert list(suite(tmp_path, "[]").validate(BATCH)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML: "),
        ("a: 1", "must be a list of expectations, each with type, kwargs and severity."),
        ("- {kwargs: {}}", "entry 1: must have the keys type, kwargs and severity, and no others."),
        (
            "- {type: expect_column_values_to_not_be_null, kwarg: {}, severity: info}",
            "entry 1: must have the keys type, kwargs and severity, and no others.",
        ),
        (
            "- {type: expect_column_values_to_not_be_null, kwargs: {column: a}, severity: fatal}",
            "entry 1.severity: must be one of 'critical', 'warning', 'info'. Got 'fatal'.",
        ),
        (
            "- {type: expect_column_values_to_not_be_null, kwargs: {column: a}}",
            "entry 1.severity: must be one of 'critical', 'warning', 'info'. Got None.",
        ),
        (
            "- {type: expect_good_weather, kwargs: {}, severity: info}",
            "entry 1.type: Great Expectations has no expectation 'expect_good_weather'. Mend the name.",
        ),
        (
            "- {type: expect_column_values_to_be_between, kwargs: {column: a, min_valu: 1}, severity: info}",
            "entry 1.kwargs: expect_column_values_to_be_between refuses them: ",
        ),
    ],
)
def test_mistake_in_a_suite_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as told:
        suite(tmp_path, text)
    assert str(told.value).startswith(f"{tmp_path}/suite.yaml: {message}")
