from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.maturity import LAGS, LEAST, RECENT, SAMPLED, lags_due, wait_days

DAY = date(2024, 1, 1)


def looks(*days: tuple[int, ...]) -> dict[date, dict[int, int]]:
    """Labels of days by lag, the oldest day first; a day that is not at its end has fewer."""
    return {DAY + timedelta(days=SAMPLED * at): dict(zip(LAGS, day, strict=False)) for at, day in enumerate(days)}


def test_days_wait_until_nearly_all_labels_that_ever_come_are_there() -> None:
    assert wait_days(looks(*[(60, 70, 95, 96, 99, 100)] * LEAST)) == 3
    assert wait_days(looks(*[(0, 0, 0, 0, 0, 40)] * LEAST)) == 28


def test_labels_that_never_come_make_no_day_wait() -> None:
    assert wait_days(looks(*[(50, 50, 50, 50, 50, 50)] * LEAST)) == 0
    assert wait_days(looks(*[(0,) * len(LAGS)] * LEAST)) == 0


def test_too_little_is_known_before_some_days_have_been_followed_to_their_end() -> None:
    late = (10, 10, 10, 10, 10, 100)
    assert wait_days({}) == 0
    assert wait_days(looks(*[late] * (LEAST - 1), late[:5], late[:5])) == 0


def test_what_has_been_mended_is_forgotten() -> None:
    assert wait_days(looks(*[(10, 10, 10, 10, 10, 100)] * 20, *[(100,) * len(LAGS)] * RECENT)) == 0


@given(st.integers(min_value=100, max_value=date(9000, 1, 1).toordinal()))
def test_every_sampled_day_is_looked_at_once_after_each_lag(day: int) -> None:
    sampled = date.fromordinal(day - day % SAMPLED + SAMPLED)
    seen = [
        lag
        for after in range(LAGS[-1] + 1)
        for lag in lags_due(sampled + timedelta(days=after))
        if sampled + timedelta(days=after - lag) == sampled
    ]
    assert seen == list(LAGS)


@given(st.lists(st.lists(st.integers(0, 50), min_size=6, max_size=6).map(sorted).map(tuple), min_size=3, max_size=8))
def test_after_the_wait_at_least_95_percent_have_come(days: list[tuple[int, ...]]) -> None:
    place = LAGS.index(wait_days(looks(*days)))
    assert sum(day[place] for day in days) >= 0.95 * sum(day[-1] for day in days)
    assert place == 0 or sum(day[place - 1] for day in days) < 0.95 * sum(day[-1] for day in days)
