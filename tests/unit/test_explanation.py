"""Why a prediction is what it is, by one feature after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doubles import tiny_package, tiny_rows
from trimtab.adapters.model_package import digest, open_package
from trimtab.domain.binning import bins_of
from trimtab.domain.columns import Columns
from trimtab.domain.counting import profile
from trimtab.domain.explanation import SHOWN, FeatureEffect, feature_effects, typical_values
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import Reference


def reference(*days: Columns) -> Reference:
    bins = bins_of({name: np.concatenate([day[name] for day in days]) for name in days[0]})
    return Reference(bins=bins, days={str(number): profile(day, bins) for number, day in enumerate(days)}, errors={})


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.5, 7.0, 1000.0]), min_size=1, max_size=99).map(np.array))
def test_typical_number_of_few_values_is_their_median(values: FloatArray) -> None:
    found = typical_values(reference({"x": values}))["x"]
    assert found == pytest.approx(np.sort(values)[(len(values) - 1) // 2])


def test_typical_values_are_median_and_most_frequent_of_all_days() -> None:
    random = np.random.default_rng(1)
    days: list[Columns] = [
        {"x": random.lognormal(3, 1, 2000), "carrier": np.array(["UA"] * 1100 + ["AA"] * 900, dtype=object)}
        for _ in range(3)
    ]
    days[0]["x"][:100] = np.nan  # type: ignore[index]
    found = typical_values(reference(*days))
    assert found["carrier"] == "UA"
    assert found["x"] == pytest.approx(np.nanmedian(np.concatenate([day["x"] for day in days])), rel=0.02)


def test_typical_number_of_a_reference_without_days_is_its_mean() -> None:
    whole = reference({"x": np.array([1.0, 2.0, 6.0])})
    assert typical_values(Reference(bins=whole.bins, days={}, errors={})) == {"x": 3.0}


def test_effect_is_how_much_larger_the_prediction_is_than_with_the_typical_value() -> None:
    def predict(features: Columns) -> FloatArray:
        by_carrier = np.array([10.0 if value == "UA" else 0.0 for value in features["carrier"].tolist()])
        return 2 * np.asarray(features["x"], dtype=np.float64) + by_carrier + 0 * np.asarray(features["y"])

    features: Columns = {
        "x": np.array([1.0, 5.0, np.nan]),
        "y": np.array([1.0, 2.0, 3.0]),
        "carrier": np.array(["UA", "AA", None], dtype=object),
    }
    typical = {"x": 4.0, "y": 0.0, "carrier": "AA", "label": 1.0}
    first, second, third = feature_effects(predict, features, predict(features), typical)
    assert first == (
        FeatureEffect(feature="carrier", value="UA", typical="AA", effect=10.0),
        FeatureEffect(feature="x", value=1.0, typical=4.0, effect=-6.0),
    )
    assert second == (FeatureEffect(feature="x", value=5.0, typical=4.0, effect=2.0),)
    assert third == (), "of a row without a finite prediction nothing is said"
    assert feature_effects(predict, features, predict(features), {}) == [(), (), ()]


def test_each_row_of_many_has_its_own_few_largest_effects() -> None:
    files = tiny_package()
    model = open_package(files, expected_digest=digest(files), name="tiny")
    rows, _ = tiny_rows(7, rows=1500)
    features = model.features(rows)
    predictions = model.predict_features(features)
    typical = typical_values(model.reference)
    found = feature_effects(model.predict_features, features, predictions, typical)
    assert len(found) == 1500
    assert max(map(len, found)) <= SHOWN
    for place in (0, 999, 1000, 1499):
        own = {name: values[place : place + 1] for name, values in features.items()}
        (alone,) = feature_effects(model.predict_features, own, predictions[place : place + 1], typical)
        assert found[place] == alone
        sizes = [abs(one.effect) for one in alone]
        assert sizes == sorted(sizes, reverse=True)
