"""How long to wait for labels: learnt from how those of earlier days have arrived.

A day whose labels are still coming is not judged, and nothing is learnt from it: those that come first are seldom like
the rest (Chapelle, "Modeling delayed feedback in display advertising", KDD 2014). Every eighth day is looked at again
after each of LAGS days, and the share of its labels that had come by then is that of all days, as the development
factors of claims reserving have it (Mack, ASTIN Bulletin 23 (1993)). Labels that never come make no day wait.
"""

from collections.abc import Mapping, Sequence
from datetime import date

LAGS = (0, 1, 3, 7, 14, 28)
"""Days after labels are due at which a sampled day is looked at. What comes later than the last counts as never."""
SAMPLED = 8
"""One day in so many is sampled: each weekday in its turn, and reading a source again costs little."""
LEAST = 3
"""Sampled days that have been looked at to the end, before anything is known."""
RECENT = 8
"""Those that count, of all: two months."""
COMPLETE = 0.95
"""Share of the labels that ever come, with which a day is complete: the rest moves a mean by a twentieth of its own
difference at most."""

Looks = Mapping[date, Mapping[int, int]]
"""Labels of sampled days (n), by day and lag."""


def lags_due(newest: date) -> Sequence[int]:
    """After how many days sampled days are to be looked at now; `newest` is the day whose labels are due now."""
    return [lag for lag in LAGS if (newest.toordinal() - lag) % SAMPLED == 0]


def wait_days(looks: Looks) -> int:
    """Days from when labels are due until a day is complete; 0 as long as too little is known."""
    whole = [looks[day] for day in sorted(looks) if set(LAGS) <= set(looks[day])][-RECENT:]
    if len(whole) < LEAST:
        return 0
    ever = sum(look[LAGS[-1]] for look in whole)
    return next(lag for lag in LAGS if sum(look[lag] for look in whole) >= COMPLETE * ever)
