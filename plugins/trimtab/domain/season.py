"""Which days of a reference a day is compared with: those of its season, where the reference has a whole year."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import TypeVar

from trimtab.domain.profiles import Reference

YEAR = 365
HALF_SEASON = 30
"""Days before and after a day of the year that are its season: as few as have eight of each weekday, since what the
season itself changes in this time widens the limits."""

Value = TypeVar("Value")


def of_season(reference: Reference, day: date) -> Reference:
    """The reference without the days of other seasons than that of `day`; all of it, if it has no whole year.

    January is compared with January then, and that winter comes is no drift. Profiles and errors are looked at each by
    themselves, since an hour of labels may be missing where none of the inputs is.
    """
    return replace(reference, days=_near(reference.days, day), errors=_near(reference.errors, day))


def _near(values: Mapping[str, Value], day: date) -> dict[str, Value]:
    known = {iso: date.fromisoformat(iso) for iso in values}
    if not known or (max(known.values()) - min(known.values())).days < YEAR - 1:
        return dict(values)
    return {iso: values[iso] for iso, one in known.items() if _days_apart(one, day) <= HALF_SEASON}


def _days_apart(one: date, other: date) -> int:
    """Days between two days of the year, the shorter way round."""
    apart = abs(one.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(apart, YEAR - apart)
