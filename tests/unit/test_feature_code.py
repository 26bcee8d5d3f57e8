"""Feature functions are found by name, and what cannot be computed is said before it is tried."""

import numpy as np
import pytest

from doubles import FLIGHTS
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.model_package import load_feature_code
from trimtab.domain.columns import Columns
from trimtab.domain.feature_code import FeatureCode
from trimtab.domain.spec import DayFromColumn, FeaturesSpec, RowsSpec
from trimtab.errors import SpecError

ROWS = RowsSpec(
    columns={"day": "text", "a": "number", "b": "number?", "place": "text"},
    key=("day",),
    event_day=DayFromColumn(kind="column", column="day"),
)
VALUES: Columns = {
    "day": np.array(["x", "y"], dtype=object),
    "a": np.array([1.0, 2.0]),
    "b": np.array([10.0, np.nan]),
    "place": np.array(["here", None], dtype=object),
}


def code(source: str, *, numeric: tuple[str, ...] = (), categorical: tuple[str, ...] = ()) -> FeatureCode:
    spec = load_folder(FLIGHTS).spec.model_copy(
        update={"rows": ROWS, "features": FeaturesSpec(numeric=numeric, categorical=categorical)}
    )
    return load_feature_code(source.encode(), spec)


def refusal(source: str, **features: tuple[str, ...]) -> str:
    with pytest.raises(SpecError) as told:
        code(source, **features)
    return str(told.value)


def test_function_takes_columns_and_other_functions_by_parameter_name() -> None:
    source = "def total(a, b): return a + b\ndef twice(total): return 2 * total\ndef unused(nothing): return nothing"
    found = code(source, numeric=("twice", "a", "total")).compute(VALUES)
    assert list(found) == ["twice", "a", "total"]
    np.testing.assert_array_equal(found["twice"], [22, np.nan])
    np.testing.assert_array_equal(found["a"], [1, 2])


def test_shared_feature_is_computed_once() -> None:
    source = "calls = []\ndef base(a): calls.append(1); return a\ndef x(base): return base + len(calls)\ndef y(base): return base + len(calls)"
    found = code(source, numeric=("x", "y", "base")).compute(VALUES)
    assert found["x"].tolist() == found["y"].tolist() == [2, 3]


def test_function_takes_the_place_of_a_column_of_its_name() -> None:
    assert code("def b(a): return a * 100", numeric=("b",)).compute(VALUES)["b"].tolist() == [100, 200]


def test_whole_numbers_and_truths_become_floats_and_texts_objects() -> None:
    source = (
        "import numpy as np\ndef whole(a): return a.astype(np.int64)\ndef truth(a): return a > 1\n"
        "def word(a): return np.where(a > 1, 'big', 'small')"
    )
    found = code(source, numeric=("whole", "truth"), categorical=("word",)).compute(VALUES)
    assert {name: values.dtype.kind for name, values in found.items()} == {"whole": "f", "truth": "f", "word": "O"}
    assert found["truth"].tolist() == [0, 1]
    assert found["word"].tolist() == ["small", "big"]


def test_circle_is_refused_with_its_path() -> None:
    source = "def x(y): return y\ndef y(z): return z\ndef z(x): return x"
    assert refusal(source, numeric=("x",)) == "features.py: x: needs itself: x -> y -> z -> x. Break the circle."


def test_missing_input_is_refused_with_who_needs_it() -> None:
    assert refusal("def x(wind): return wind", numeric=("x",)) == (
        "features.py: wind: is neither a column of rows.columns nor a function here (needed by 'x'). Add one of the two."
    )
    assert refusal("", numeric=("gone",)) == (
        "features.py: gone: is neither a column of rows.columns nor a function here. Add one of the two."
    )


def test_private_and_imported_functions_are_no_features() -> None:
    source = "from os.path import join\ndef _hidden(a): return a"
    assert "is neither a column" in refusal(source, numeric=("_hidden",))
    assert "is neither a column" in refusal(source, numeric=("join",))


def test_text_is_no_number() -> None:
    assert refusal("", numeric=("place",)) == (
        "features.py: place: is a text in rows.columns. List it under features.categorical."
    )


def test_function_must_give_one_value_for_each_row() -> None:
    with pytest.raises(SpecError) as told:
        code("def x(a): return a.sum()", numeric=("x",)).compute(VALUES)
    assert str(told.value) == ("features.py: x: gives an array of shape (). Return one value for each row: (2,).")


def test_code_that_cannot_be_run_is_refused_with_the_reason() -> None:
    assert refusal("def x(a) return a", numeric=("x",)) == (
        "features.py: line 1: is not Python: expected ':'. Mend the syntax."
    )
    assert refusal("import nothing_of_this_name", numeric=("x",)) == (
        "features.py: cannot be run: ModuleNotFoundError: No module named 'nothing_of_this_name'. Mend it."
    )


def test_code_is_on_nobodys_import_path() -> None:
    import sys

    before = set(sys.modules)
    code("def x(a): return a", numeric=("x",))
    assert {name for name in set(sys.modules) - before if name.startswith("features_")} == set()
