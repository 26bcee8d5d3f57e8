"""Policies, and what they come to."""

import math
import re
from datetime import date, timedelta

import pytest

from doubles import FLIGHTS, ROOT
from trimtab.adapters.model_folder import checked, load_folder, read_mapping
from trimtab.cli.replay_policies import policy_folder
from trimtab.domain.replaying import (
    COMPARED,
    POLICIES,
    DayLoss,
    Event,
    Outcome,
    PolicySpec,
    Schedule,
    is_due,
    mean_loss,
    trailing_means,
)
from trimtab.errors import SpecError

MARCH = date(2013, 3, 1)


def losses(*values: float, rows: int = 10) -> tuple[DayLoss, ...]:
    return tuple(DayLoss(day=MARCH + timedelta(days=n), rows=rows, loss=value) for n, value in enumerate(values))


def policy(**document: object) -> PolicySpec:
    return checked(PolicySpec, {"name": "mine", **document}, "mine.yaml")


def test_a_mean_weighs_days_by_their_rows() -> None:
    assert mean_loss([*losses(1.0, rows=30), *losses(5.0, rows=10)]) == 2.0


def test_a_mean_of_no_rows_is_undefined() -> None:
    assert math.isnan(mean_loss([]))


def test_a_trailing_mean_looks_at_days_of_the_calendar_and_not_at_entries() -> None:
    gap = DayLoss(day=MARCH + timedelta(days=9), rows=10, loss=9.0)
    found = trailing_means([*losses(1.0, 3.0), gap], window_days=7)
    assert [loss for _, loss in found] == [1.0, 2.0, 9.0]


def test_months_are_those_of_the_days() -> None:
    later = DayLoss(day=date(2013, 4, 2), rows=5, loss=7.0)
    outcome = Outcome(
        policy="p", description="", loss_name="MAE", days=(*losses(1.0, 2.0), later), events=(), fits=0, seconds=0.0
    )
    assert outcome.loss_by_month == {"2013-03": 1.5, "2013-04": 7.0}


def test_events_are_counted_by_kind() -> None:
    alarm, retrain = (Event(day=MARCH, kind=kind, reason="") for kind in ("alarm", "retrain"))
    outcome = Outcome(
        policy="p", description="", loss_name="MAE", days=(), events=(alarm, retrain, alarm), fits=1, seconds=0.0
    )
    assert (outcome.count("alarm"), outcome.count("retrain"), outcome.count("rollback")) == (2, 1, 0)


@pytest.mark.parametrize(("days_since", "due"), [(6, False), (7, True), (8, True)])
def test_a_schedule_counts_from_the_last_training(days_since: int, due: bool) -> None:
    weekly = Schedule(kind="schedule", days=7)
    trained = [MARCH - timedelta(days=30), MARCH]
    assert is_due(MARCH + timedelta(days=days_since), trained, weekly) is due


def test_the_policies_that_are_compared_are_there_and_bear_their_names() -> None:
    assert set(COMPARED) <= set(POLICIES)
    assert all(POLICIES[name].name == name for name in POLICIES)


def test_the_guarded_policy_is_the_model_folder_itself() -> None:
    folder = load_folder(FLIGHTS)
    assert policy_folder(folder, POLICIES["guarded"], "guarded").fingerprint == folder.fingerprint


def test_a_policy_changes_the_keys_that_it_names_and_no_others() -> None:
    folder = load_folder(FLIGHTS)
    changed = policy_folder(folder, policy(sections={"retrain": {"cooldown_days": 21}}), "mine.yaml").spec
    assert changed.retrain.cooldown_days == 21
    assert changed.retrain.max_per_month == folder.spec.retrain.max_per_month
    assert changed.gate == folder.spec.gate
    assert changed.train == folder.spec.train


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"sections": {"retrain": {"cooldown": 3}}},
            "mine.yaml: retrain.cooldown: there is no such key. Did you mean 'cooldown_days'?",
        ),
        (
            {"sections": {"gate": {"significance": 3}}},
            "mine.yaml: gate.significance: Input should be less than 0.5. Got 3.",
        ),
    ],
)
def test_a_policy_that_the_spec_does_not_allow_is_refused_by_key(document: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        policy_folder(load_folder(FLIGHTS), policy(**document), "mine.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"rollback": True}, "mine.yaml: rollback: there is no such key. Did you mean 'roll_back'?"),
        ({"act": {"kind": "schedule"}}, "mine.yaml: act.days: is missing. Add it."),
        (
            {"act": {"kind": "schedule", "days": 0}},
            "mine.yaml: act.days: Input should be greater than or equal to 1. Got 0.",
        ),
    ],
)
def test_a_policy_file_that_is_wrong_is_refused_by_key(document: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        policy(**document)
    assert str(caught.value) == message


def test_a_section_that_no_policy_may_change_is_refused() -> None:
    with pytest.raises(SpecError, match="mine.yaml: sections.source.*: Input should be 'train', 'gate'"):
        policy(sections={"source": {"path": "elsewhere.csv"}})


def test_policy_of_the_guide_is_a_policy() -> None:
    guide = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")
    text = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)[0]
    found = checked(PolicySpec, read_mapping(text, "guide"), "guide")
    changed = policy_folder(load_folder(FLIGHTS), found, "guide").spec
    assert (changed.monitor.smallest_change, changed.retrain.cooldown_days) == (0.05, 21)
