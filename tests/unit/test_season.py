from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.binning import bins_of
from trimtab.domain.counting import profile
from trimtab.domain.metrics import DayErrors
from trimtab.domain.profiles import Profile, Reference
from trimtab.domain.reference_days import ReferenceDaysRule
from trimtab.domain.season import HALF_SEASON, of_season
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.verdict import Current

FIRST = date(2023, 1, 1)
SPEC = MonitorSpec()


def days(count: int, first: date = FIRST) -> list[date]:
    return [first + timedelta(days=number) for number in range(count)]


def temperatures(day: date) -> dict[str, np.ndarray]:
    """Two hundred of a day; as far apart in summer and winter as no day is in itself."""
    random = np.random.default_rng(day.toordinal())
    middle = -10 * np.cos(2 * np.pi * day.timetuple().tm_yday / 365)
    return {"temperature": random.normal(middle + random.normal(0, 0.3), 3, size=200)}


def weather(of: list[date]) -> Reference:
    rows = {day: temperatures(day) for day in of}
    bins = bins_of({"temperature": np.concatenate([one["temperature"] for one in rows.values()])})
    errors = {day.isoformat(): DayErrors(rows=200, loss=1.0, bias=0.0) for day in of}
    return Reference(bins=bins, days={day.isoformat(): profile(rows[day], bins) for day in of}, errors=errors)


def test_reference_without_a_whole_year_is_taken_as_it_is() -> None:
    reference = weather(days(300))
    assert of_season(reference, date(2024, 1, 10)) == reference


@given(st.integers(0, 2000))
def test_days_of_the_season_are_those_around_the_day_of_the_year(number: int) -> None:
    day = FIRST + timedelta(days=number)
    errors = {one.isoformat(): DayErrors(rows=1, loss=1.0, bias=0.0) for one in days(365)}
    kept = sorted(of_season(Reference(bins={}, days={}, errors=errors), day).errors)
    assert 2 * HALF_SEASON <= len(kept) <= 2 * HALF_SEASON + 2
    assert all(
        kept_day[5:] in {(day + timedelta(days=n)).isoformat()[5:] for n in range(-HALF_SEASON - 1, HALF_SEASON + 2)}
        for kept_day in kept
    )


def test_winter_that_comes_again_is_no_drift_and_a_summer_in_winter_is_one() -> None:
    """Four weeks of the year after, against the whole year and against its season."""
    reference, january = weather(days(365)), days(28, date(2024, 1, 5))
    bins = reference.bins
    same = {day.isoformat(): profile(temperatures(day), bins) for day in january}
    warm = {day.isoformat(): profile(temperatures(day + timedelta(days=182)), bins) for day in january}

    def drifts(against: Reference, profiles: Mapping[str, Profile]) -> bool:
        current = Current(profiles=profiles, errors={}, rows={})
        return any(one.column == "temperature" for one in ReferenceDaysRule().judge(against, current, SPEC).flagged)

    season = of_season(reference, january[-1])
    assert not drifts(season, same)
    assert drifts(season, warm)
    assert not drifts(reference, warm)
