"""The loop on real data: a model decays as the world changes, is trained again, and what is better goes live."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from doubles import ROOT
from loops import Loop, days, load_folder, registry_content
from trimtab.domain.journal import Entry
from trimtab.domain.ports import ExpectationResult
from trimtab.domain.profiles import LABEL
from trimtab.domain.retraining import Action
from trimtab.domain.verdict import Status
from trimtab.stages.profile_batch import profile_json

pytestmark = pytest.mark.integration


class NoExpectations:
    """Accepts every batch, where validation is not what is tested."""

    def validate(self, batch: pd.DataFrame) -> Sequence[ExpectationResult]:
        return []


def load(loop: Loop, first: date, last: date) -> None:
    """Take in days of before the first training."""
    for day in days(first, last):
        loop.take_in(day)
        loop.label(day)


def release(loop: Loop, version: str, day: date, reason: str) -> None:
    loop.approve(version, day, reason)
    loop.go_live(version, day)


def payloads(entries: Sequence[Entry]) -> list[tuple[date, str, str]]:
    return [(entry.as_of, entry.kind, str(entry.payload["reason"])) for entry in entries]


def test_bikes_outgrow_their_model_until_it_is_trained_again(data_folder: Path, tmp_path: Path) -> None:
    """More bikes are rented every week of spring: a model of winter decays, and its successors win at the gate."""
    loop = Loop(load_folder(ROOT / "tests" / "models" / "bike_sharing"), tmp_path)
    first, start, end = date(2011, 1, 1), date(2011, 3, 6), date(2011, 5, 31)
    load(loop, first, start)
    version, decision = loop.train(start, "first training") or pytest.fail("too few labels")
    assert decision.promote, decision.summary
    release(loop, version, start, "first training")
    trained: list[tuple[date, str, bool]] = []
    for day in days(start + timedelta(days=1), end):
        outcome = loop.day(day)
        loop.bake(day)
        if outcome.decision.action is Action.RETRAIN:
            version, decision = loop.train(day, outcome.decision.reason) or pytest.fail("too few labels")
            trained.append((day, version, decision.promote))
            if decision.promote:
                release(loop, version, day, decision.summary)

    decays = [entry for entry in loop.ledger.entries("verdict") if entry.kind == Status.DECAY]
    assert decays
    assert trained
    promoted = [version for _, version, promote in trained if promote]
    assert promoted
    known = loop.releases
    assert {known[version].state for version in promoted[:-1]} <= {"done", "rolled_back"}
    assert len(loop.ledger.entries("gate")) == len(trained) + 1
    retrainings = [entry for entry in loop.ledger.entries("retraining") if entry.kind == Action.RETRAIN]
    assert [entry.as_of for entry in retrainings] == [day for day, _, _ in trained]
    triggers = {entry.as_of: entry.payload["trigger"] for entry in retrainings}
    assert "stale" in triggers.values()
    assert {day for day, trigger in triggers.items() if trigger in ("stale", "harder")} <= {
        entry.as_of for entry in decays
    }
    assert_later_versions_beat_the_first(loop, end)
    assert_labels_were_counted_as_they_came(loop, end)


def assert_labels_were_counted_as_they_came(loop: Loop, end: date) -> None:
    """The profiles of the last month are those of its labels, and the verdicts tell of them."""
    first = end - timedelta(days=20)
    rows, counted = loop.lake.read("labels", first, end), loop.lake.read("label_profiles", first, end)
    profiles = {
        day: profile_json.validate_json(text) for day, text in zip(counted["_day"], counted["profile"], strict=True)
    }
    means = {day: one.columns[LABEL].mean for day, one in profiles.items()}
    assert means == pytest.approx(rows.groupby("_day")["label"].mean().to_dict())
    assert len(means) > 15
    assert str(loop.ledger.entries("verdict")[-1].payload["labels"]).startswith("Labels (")


def assert_later_versions_beat_the_first(loop: Loop, end: date) -> None:
    """On the last month, with the labels that came, against the first version on the same rows."""
    last_month = end - timedelta(days=30)
    served = loop.lake.read("predictions", last_month, end, part="batch")
    served = served[served["served"]].merge(loop.lake.read("labels", last_month, end), on=["_day", "_key"])
    batches = loop.lake.read("batches", last_month, end)
    from trimtab.stages.frames import columns_of

    batches = batches.assign(first=loop.registry.load(version="1").predict(columns_of(batches, loop.spec.rows)))
    both = served.merge(batches[["_day", "_key", "first"]], on=["_day", "_key"])
    now = np.abs(both["prediction"] - both["label"]).mean()
    first = np.abs(both["first"] - both["label"]).mean()
    assert len(both) > 600
    assert now < 0.8 * first


def test_winter_model_of_flights_is_found_out_in_may_and_not_before(flights: None, tmp_path: Path) -> None:
    """In winter the jet stream is strong and westbound flights are long: from 29 April on the model is wrong."""
    loop = Loop(load_folder(ROOT / "include" / "models" / "flight_air_time"), tmp_path)
    loop.__dict__["validator"] = NoExpectations()
    first, start, end = date(2013, 1, 1), date(2013, 3, 31), date(2013, 5, 20)
    load(loop, first, start)
    version, decision = loop.train(start, "first training", window_days=83) or pytest.fail("too few labels")
    assert decision.promote, decision.summary
    release(loop, version, start, "first training")
    retrain_on = None
    for day in days(start + timedelta(days=1), end):
        outcome = loop.day(day)
        loop.bake(day)
        if outcome.decision.action is Action.RETRAIN:
            retrain_on = day
            break
    assert retrain_on is not None
    assert retrain_on >= date(2013, 4, 28)
    assert outcome.decision.reason.startswith("the model is stale: a shift by the errors of the week before saves")
    statuses = {entry.kind for entry in loop.ledger.entries("verdict") if entry.as_of < retrain_on}
    assert Status.DECAY not in statuses


def test_late_flights_are_a_classifier_from_the_first_label_to_the_gate(flights: None, tmp_path: Path) -> None:
    """Labels of 0 and 1, probabilities, log loss at the gate and in the ledger, each slice measured."""
    loop = Loop(load_folder(ROOT / "include" / "models" / "flight_late"), tmp_path)
    loop.__dict__["validator"] = NoExpectations()
    first, start, end = date(2013, 1, 1), date(2013, 3, 10), date(2013, 3, 15)
    load(loop, first, start)
    version, decision = loop.train(start, "first training", window_days=40) or pytest.fail("too few labels")
    assert decision.promote, decision.summary
    assert "beats a constant: log loss 0." in decision.summary
    release(loop, version, start, "first training")
    for day in days(start + timedelta(days=1), end):
        loop.day(day)

    labels = loop.lake.read("labels", first, end)["label"]
    assert set(labels) == {0.0, 1.0}
    assert 0.2 < labels.mean() < 0.3
    assert loop.lake.read("predictions", start, end, part="batch")["prediction"].between(0, 1).all()
    entries = [entry for entry in loop.ledger.entries("feedback") if version in entry.payload]
    assert len(entries) == (end - start).days - 1
    for entry in entries:
        measured = entry.payload[version]
        assert isinstance(measured, dict)
        assert isinstance(measured["slices"], dict)
        assert measured["loss_name"] == "log loss"
        assert {name.partition("=")[0] for name in measured["slices"]} == {"carrier", "departure"}
        assert isinstance(measured["metrics"], dict)
        assert 0.5 < float(str(measured["metrics"]["auc"])) < 0.85
    run = registry_content(tmp_path / "registry", "flight_late")["runs"]["run1"]
    assert 0.5 < run["metrics"]["holdout_log_loss"][0] < run["metrics"]["baseline_log_loss"][0]
    assert 0.6 < run["metrics"]["holdout_auc"][0] < 0.75
    assert set(loop.registry.load(version=version).reference.errors) >= {"2013-02-10", "2013-03-08"}
