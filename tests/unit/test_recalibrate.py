"""The champion with its level corrected: put to the gate where later rows show that it helps, and only there."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from doubles import FLIGHTS, tiny_rows, tiny_training
from loops import BlankPlotter
from trimtab.adapters.day_files import DayFiles
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.sklearn_trainer import SklearnTrainer
from trimtab.domain.columns import row_keys
from trimtab.domain.journal import Draft, Payload, record
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import Plotter, Table, Trainer
from trimtab.domain.profiles import PREDICTION
from trimtab.domain.recalibration import CALIBRATION_FILE, calibration_of
from trimtab.domain.retraining import Action, RetrainDecision, trained_on
from trimtab.domain.spec import GateSpec, LabelSpec
from trimtab.stages.recalibrate import Recalibration, recalibrate
from trimtab.stages.watch import watch

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

FOLDER = load_folder(FLIGHTS)
TODAY = date(2013, 10, 21)
DAYS, ROWS = 36, 40
LABEL = LabelSpec(column="air_time", delay_days=1)
Labels = Callable[[int, FloatArray, np.random.Generator], FloatArray]
"""Labels (n,) of a day, so many days before TODAY, of what the champion predicts."""


def off_by(minutes: float, spread: float = 4.0) -> Labels:
    return lambda number, predicted, random: predicted + minutes + random.normal(0, spread, len(predicted))


class QuickLake:
    """The lake of a replay, on which every table may be written."""

    def __init__(self, folder: Path) -> None:
        self._files = DayFiles(folder)

    def write(self, table: Table, day: date, frame: pd.DataFrame, part: str = "all") -> None:
        self._files.write(table, day, frame, part)

    def read(self, table: Table, first: date, last: date, **options: Any) -> pd.DataFrame:
        return self._files.read(table, first, last, columns=options.get("columns"), part=options.get("part"))

    def days(self, table: Table) -> Sequence[date]:
        return self._files.days(table)

    def version(self, table: Table) -> int:
        return len(self.days(table)) or -1


class World:
    """A champion that was trained on the day before the first of DAYS labelled days."""

    def __init__(self, ledger: "SqlLedger", folder: Path, labels: Labels) -> None:
        self.ledger, self.lake = ledger, QuickLake(folder / "lake")
        self.registry = FolderRegistry(folder / "registry", "flight_air_time")
        training = tiny_training(0)
        reference = json.loads(training.package["reference.json"])
        for day in reference["errors"].values():
            day["loss"] = 3.5  # that of a model that has learnt more than this one does in a moment
        package = {**training.package, "reference.json": json.dumps(reference).encode()}
        run = self.registry.log_training(dataclasses.replace(training, package=package))
        self.champion = self.registry.load(version=self.registry.register(run.run_id, {}))
        self.lived("1", TODAY - timedelta(days=DAYS + 1))
        for number in range(1, DAYS + 1):
            day, random = TODAY - timedelta(days=number), np.random.default_rng(number)
            columns, _ = tiny_rows(number, ROWS)
            columns = {**columns, "flight": np.arange(ROWS, dtype=np.float64)}
            keys = row_keys(columns, FOLDER.spec.rows.key)
            y_true = labels(number, self.champion.predict(columns), random)
            self.lake.write("batches", day, pd.DataFrame({"_row": np.arange(ROWS), "_key": keys, **columns}))
            self.lake.write("labels", day, pd.DataFrame({"_key": keys, "label": y_true}))

    def lived(self, version: str, day: date) -> None:
        for kind in ("requested", "approved", "live", "done"):
            draft = Draft(stream="release", subject=version, kind=kind, as_of=day, payload={})
            self.ledger.append(draft, after=self.ledger.head("release"))

    def decided(self, payload: Payload, day: date) -> None:
        draft = Draft(stream="retraining", subject=str(day), kind="recalibrate", as_of=day, payload=payload)
        self.ledger.append(draft, after=self.ledger.head("retraining"))

    def watch(self, day: date, **changes: Any) -> RetrainDecision:
        stale = {"days": 7, "share": 0.5, "p_value": 0.001, "stale": True}
        payload: Payload = {"summary": "numbers", "staleness": stale}  # type: ignore[dict-item]
        draft = Draft(stream="verdict", subject=str(day), kind="decay", as_of=day, payload=payload)
        record(self.ledger, draft)
        more = {"monitor": FOLDER.spec.monitor, "policy": FOLDER.spec.retrain}
        return watch(day, **(self.stores | more | changes))

    def recalibrate(self, day: date = TODAY, *, in_place_of_training: bool = True, **changes: Any) -> Recalibration:
        given = self.stores | changes
        return recalibrate(day, "the level is off", in_place_of_training=in_place_of_training, **given)

    @property
    def stores(self) -> dict[str, Any]:
        return {
            "lake": self.lake,
            "ledger": self.ledger,
            "registry": self.registry,
            "trainer": lambda: SklearnTrainer(FOLDER),
            "plotter": BlankPlotter,
            "rows": FOLDER.spec.rows,
            "slices": FOLDER.spec.slices,
            "label": LABEL,
            "train": FOLDER.spec.train,
            "gate": GateSpec(),
        }


@pytest.fixture
def world(ledger: "SqlLedger", tmp_path: Path) -> Callable[[Labels], World]:
    return lambda labels: World(ledger, tmp_path, labels)


def never(*_: object) -> Any:
    raise AssertionError("opened though nothing is judged")


def nothing_opened() -> dict[str, Callable[[], Trainer | Plotter]]:
    return {"trainer": never, "plotter": never}


def test_level_that_is_off_is_corrected_in_a_version_that_the_gate_lets_through(world: Callable[..., World]) -> None:
    here = world(off_by(9.0))
    found = here.recalibrate()
    assert (found.version, found.corrects) == ("2", "1"), found.reason
    assert found.reason.startswith("version 2 is version 1 with +8.886: corrected week by week by the 28 days before, ")
    package, before = here.registry.package("2"), here.registry.package("1")
    calibration = calibration_of(package)
    assert calibration is not None
    assert calibration.correction.shift == pytest.approx(9, abs=0.5)
    assert {name: content for name, content in package.items() if name != CALIBRATION_FILE} == before
    rows, _ = tiny_rows(77)
    corrected, reference = here.registry.load(version="2"), here.registry.describe("2").reference
    np.testing.assert_array_equal(corrected.predict(rows), calibration.correction.apply(here.champion.predict(rows)))
    assert len(reference.errors) == 28
    assert all(abs(day.bias) < 3 for day in reference.errors.values())
    assert any(name.startswith("carrier=") for name in reference.errors[str(TODAY - timedelta(days=1))].slices)
    assert reference.bins[PREDICTION].centre == pytest.approx(
        here.champion.reference.bins[PREDICTION].centre + calibration.correction.shift
    )
    tags = here.registry.state["versions"]["2"]["tags"]
    assert tags["trimtab.corrects"] == "1"
    assert tags["trimtab.calibration"] == calibration.correction.in_words
    assert tags["trimtab.gate"] == "promoted"


def test_correction_counts_as_no_training_and_repeating_it_changes_nothing(world: Callable[..., World]) -> None:
    here = world(off_by(9.0))
    first = here.recalibrate()
    state, answers = here.registry.state, here.ledger.entries("gate")
    assert here.recalibrate() == first
    assert (here.registry.state, here.ledger.entries("gate")) == (state, answers)
    assert [entry.subject[:14] for entry in answers] == ["recalibration-"]
    assert here.ledger.entries("training") == []


def test_kill_between_run_and_version_leaves_nothing_that_another_try_would_meet(world: Callable[..., World]) -> None:
    here = world(off_by(9.0))
    with pytest.raises(AssertionError, match="opened"):
        here.recalibrate(plotter=never)
    assert len(here.registry.state["runs"]) == 2
    assert here.ledger.entries("gate") == []
    assert here.recalibrate().version == "2"
    assert len(here.registry.state["runs"]) == 2


@pytest.mark.parametrize(
    "labels",
    [
        off_by(0.0),
        lambda number, predicted, random: predicted + 9.0 * (-1) ** (number // 7) + random.normal(0, 4, ROWS),
    ],
    ids=["level is right", "level comes and goes with the week"],
)
def test_where_a_correction_has_not_helped_nothing_is_written(world: Callable[..., World], labels: Labels) -> None:
    here = world(labels)
    found = here.recalibrate(**nothing_opened())
    assert found.version is None
    assert found.reason.startswith("corrected week by week by the 28 days before, version 1 has MAE ")
    assert len(here.registry.state["runs"]) == 1
    assert here.ledger.entries("gate") == []
    assert here.lake.version("predictions") == -1


def test_predictions_that_grow_too_little_get_a_slope(world: Callable[..., World]) -> None:
    here = world(lambda number, predicted, random: 1.6 * predicted - 40 + random.normal(0, 4, ROWS))
    found = here.recalibrate()
    assert found.version == "2", found.reason
    assert found.reason.startswith("version 2 is version 1 with times 1.601 -40.36: ")
    reference = here.registry.describe("2").reference.bins[PREDICTION]
    assert np.ptp(reference.edges) == pytest.approx(1.6 * np.ptp(here.champion.bins[PREDICTION].edges), rel=0.03)


def test_training_is_not_replaced_where_more_than_the_level_is_off(world: Callable[..., World]) -> None:
    here = world(off_by(9.0, spread=8.0))
    found = here.recalibrate(**nothing_opened())
    assert found.version is None
    assert "is not what the model leads to expect, 3.5" in found.reason
    assert here.recalibrate(in_place_of_training=False).version == "2"


def test_too_few_days_since_the_training_say_nothing(world: Callable[..., World]) -> None:
    here = world(off_by(9.0))
    found = here.recalibrate(TODAY - timedelta(days=DAYS - 13), **nothing_opened())
    assert found.reason == "13 labelled days since version 1 was trained, 14 are needed"
    assert here.recalibrate(TODAY - timedelta(days=DAYS - 14)).version == "2"


def test_watch_releases_the_corrected_champion_and_counts_its_age_from_the_training(
    world: Callable[..., World],
) -> None:
    here = world(off_by(9.0))
    decision = here.watch(TODAY)
    assert (decision.action, decision.version, decision.corrects) == (Action.RECALIBRATE, "2", "1")
    assert here.watch(TODAY, **nothing_opened()) == decision
    here.lived("2", TODAY)
    released, decided = here.ledger.entries("release"), here.ledger.entries("retraining")
    assert trained_on("2", released, decided) == trained_on("1", released, []) == TODAY - timedelta(days=DAYS + 1)
    later = here.watch(TODAY + timedelta(days=3), **nothing_opened())
    assert later.reason.startswith(f"recalibrated on {TODAY}, and the wait is 7 days (the model is stale")


def test_watch_that_compares_no_versions_corrects_none(world: Callable[..., World]) -> None:
    here = world(off_by(9.0))
    assert here.watch(TODAY, recalls=False, **nothing_opened()).action is Action.RETRAIN


def test_gate_that_refuses_leaves_a_refused_version(world: Callable[..., World]) -> None:
    """A person's rule without a model would do better."""
    here = world(lambda number, predicted, random: 100 + random.normal(0, 1, ROWS))
    found = here.recalibrate(in_place_of_training=False)
    assert found.version is None
    assert "Refuse: beats a constant: not shown" in found.reason
    assert here.registry.state["versions"]["2"]["tags"]["trimtab.gate"] == "refused"


def test_correction_of_a_corrected_version_takes_its_place(world: Callable[..., World]) -> None:
    """The level moves again after the first correction; the model, and the days since its training, are the same."""
    here = world(
        lambda number, predicted, random: predicted + (9.0 if number > 14 else 25.0) + random.normal(0, 4, ROWS)
    )
    earlier = TODAY - timedelta(days=15)
    first = here.recalibrate(earlier)
    assert first.version == "2", first.reason
    here.decided({"version": "2", "corrects": "1"}, earlier)
    here.lived("2", earlier)
    second = here.recalibrate(in_place_of_training=False)
    assert (second.version, second.corrects) == ("3", "2"), second.reason
    calibration = calibration_of(here.registry.package("3"))
    assert calibration is not None
    assert 12 < calibration.correction.shift < 25  # the median of half of each
    rows, _ = tiny_rows(77)
    alone = calibration.correction.apply(here.champion.predict(rows))
    np.testing.assert_array_equal(here.registry.load(version="3").predict(rows), alone)
    assert set(here.registry.package("3")) == set(here.registry.package("2"))
