"""Features of the example models against values computed by hand."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doubles import FLIGHTS
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.model_package import load_feature_code
from trimtab.domain.columns import Columns

FOLDER = load_folder(FLIGHTS)
CODE = load_feature_code(FOLDER.feature_code, FOLDER.spec)


def flight(**changes: float | str | None) -> Columns:
    """United 1545 from Newark to Houston on New Year's Day of 2013, as one row."""
    values: dict[str, float | str | None] = {
        "year": 2013, "month": 1, "day": 1, "carrier": "UA", "flight": 1545, "origin": "EWR", "dest": "IAH",
        "tailnum": "N14228", "sched_dep_time": 515, "sched_arr_time": 819, "distance": 1400, "plane_year": 1999,
        "seats": 149,
    }  # fmt: skip
    values |= changes
    return {
        name: np.array([value], dtype=object if value is None or isinstance(value, str) else np.float64)
        for name, value in values.items()
    }


def feature(name: str, **changes: float | str | None) -> float:
    return float(CODE.compute(flight(**changes))[name][0])  # type: ignore[arg-type]


@pytest.mark.parametrize(("clock", "minute"), [(515, 315), (0, 0), (2359, 1439), (5, 5), (1000, 600)])
def test_scheduled_minute_counts_from_midnight(clock: float, minute: float) -> None:
    assert feature("scheduled_minute", sched_dep_time=clock) == minute


@pytest.mark.parametrize(
    ("departs", "arrives", "minutes"), [(515, 819, 184), (2330, 45, 75), (1200, 1200, 0), (600, 559, 1439)]
)
def test_scheduled_block_is_the_difference_of_two_clocks_beyond_midnight_too(
    departs: float, arrives: float, minutes: float
) -> None:
    assert feature("scheduled_block", sched_dep_time=departs, sched_arr_time=arrives) == minutes


@given(st.dates(date(1971, 1, 1), date(2100, 1, 1)))
def test_weekday_is_that_of_the_calendar(day: date) -> None:
    assert feature("weekday", year=day.year, month=day.month, day=day.day) == day.weekday()


def test_plane_age_is_missing_where_the_plane_is_not_known() -> None:
    assert feature("plane_age") == 14
    assert np.isnan(feature("plane_age", plane_year=float("nan")))


def test_all_features_of_the_spec_are_given_in_its_order() -> None:
    found = CODE.compute(flight())
    assert tuple(found) == FOLDER.spec.features.names
    assert {name: values.tolist()[0] for name, values in found.items()} == {
        "distance": 1400, "scheduled_minute": 315, "scheduled_block": 184, "weekday": 1, "plane_age": 14, "seats": 149,
        "carrier": "UA", "origin": "EWR", "dest": "IAH",
    }  # fmt: skip


def test_a_year_of_days_begins_on_the_right_weekday() -> None:
    rows = [date(2013, 1, 1) + timedelta(days=number) for number in range(365)]
    columns = {
        name: np.array([getattr(day, name) for day in rows], dtype=np.float64) for name in ("year", "month", "day")
    }
    many = {name: np.repeat(values, 365) for name, values in flight().items()} | columns
    assert CODE.compute(many)["weekday"].tolist() == [float(day.weekday()) for day in rows]


def test_both_models_of_flights_compute_their_common_features_alike() -> None:
    late = load_folder(FLIGHTS.with_name("flight_late"))
    found = load_feature_code(late.feature_code, late.spec).compute(flight())
    assert set(found) == set(late.spec.features.names) < set(FOLDER.spec.features.names)
    for name, values in found.items():
        assert values.tolist() == CODE.compute(flight())[name].tolist()
