"""A shift within a slice is found and named, and slices do not use up the budget of all rows."""

from dataclasses import replace
from datetime import date, timedelta
from functools import cache

import numpy as np
import pytest

from trimtab.domain.binning import bins_of
from trimtab.domain.counting import profile
from trimtab.domain.profiles import PREDICTION, ColumnBins, Profile, Reference
from trimtab.domain.reference_days import ReferenceDaysRule
from trimtab.domain.signals import input_signals
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.verdict import Current, Verdict

SPEC = MonitorSpec()
DAYS = [(date(2013, 1, 1) + timedelta(days=number)).isoformat() for number in range(70)]


@cache
def bins() -> dict[str, ColumnBins]:
    random = np.random.default_rng(0)
    return bins_of({name: random.normal(0, 1, 2000) for name in ("distance", "delay", PREDICTION)})


@cache
def day(seed: int, shift: float, rows: int = 200) -> Profile:
    """A thousand rows of one carrier, and some of another, whose distances differ and may shift."""
    random = np.random.default_rng(seed)
    carrier = np.array(["UA"] * 1000 + ["HA"] * rows, dtype=object)
    distance = random.normal(0, 1, len(carrier)) + np.where(carrier == "HA", 0.5 + shift, 0.0)
    columns = {"distance": distance, **{name: random.normal(0, 1, len(carrier)) for name in ("delay", PREDICTION)}}
    return profile(columns, bins(), {"carrier": carrier}).summarised


def verdict_after_a_week(shift: float, rows: int = 200) -> Verdict:
    days = {name: day(number, shift if number >= 63 else 0.0, rows) for number, name in enumerate(DAYS)}
    reference = Reference(bins=bins(), days={name: days[name] for name in DAYS[:28]}, errors={})
    return ReferenceDaysRule().judge(reference, Current(profiles=days, errors={}), SPEC)


def test_shift_in_one_slice_is_found_and_named_where_the_whole_hides_it() -> None:
    found = verdict_after_a_week(0.25)
    assert {finding.signal for finding in found.flagged} == {"mean of distance where carrier=HA"}
    assert {finding.kind for finding in found.flagged} == {"slice"}
    assert "mean of distance where carrier=HA" in found.summary


def test_slices_are_quiet_without_a_shift_and_judged_only_with_enough_rows() -> None:
    quiet = verdict_after_a_week(0.0)
    assert not quiet.flagged
    seen = {finding.column for finding in quiet.findings if finding.kind == "slice"}
    assert seen == {f"{name} where carrier={one}" for name in bins() for one in ("UA", "HA")}
    few = verdict_after_a_week(0.25, rows=99).findings
    assert {finding.column for finding in few if finding.kind == "slice"} == {
        f"{name} where carrier=UA" for name in bins()
    }


def test_slices_together_have_half_of_the_budget_at_most() -> None:
    means = {f"key={number}": {"distance": (200, 0.0)} for number in range(100)}
    days = {name: replace(day(number, 0.0), slice_means=means) for number, name in enumerate(DAYS)}
    reference = Reference(bins={"distance": bins()["distance"]}, days={}, errors={})
    groups = input_signals(reference, Current(profiles=days, errors={}), SPEC)
    budgets = {group.measure == "slice_mean": 0.0 for group in groups}
    for group in groups:
        budgets[group.measure == "slice_mean"] += float(group.weights.sum())
    assert budgets[True] == pytest.approx(budgets[False])


def test_means_of_slices_add_up_as_profiles_do() -> None:
    first, second = day(1, 0.0), day(2, 3.0)
    rows, mean = (first + second).slice_means["carrier=HA"]["distance"]
    parts = [one.slice_means["carrier=HA"]["distance"] for one in (first, second)]
    assert rows == sum(part[0] for part in parts)
    assert mean == pytest.approx(np.mean([part[1] for part in parts]))
    assert (first + replace(second, slice_means={})).slice_means == first.slice_means
