"""A former champion is recalled when the last labelled days show that it is better, and only then."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from doubles import FLIGHTS, tiny_rows
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.model_folder import load_folder
from trimtab.domain.columns import Columns, row_keys
from trimtab.domain.journal import Draft
from trimtab.domain.metrics import FloatArray
from trimtab.domain.spec import GateSpec, LabelSpec, MonitorSpec
from trimtab.stages.recall import Recall, recall

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

ROWS = load_folder(FLIGHTS).spec.rows
TODAY = date(2013, 10, 21)
LABEL = LabelSpec(column="air_time", delay_days=1)


@dataclass(frozen=True)
class Bent:
    """Predicts the distance's share of an air time, and some minutes more."""

    minutes: float

    def predict(self, rows: Columns) -> FloatArray:
        distance: FloatArray = rows["distance"]  # type: ignore[assignment]
        return 20 + distance / 7.5 + self.minutes


class Shelf:
    """A registry of such models."""

    def __init__(self, minutes: dict[str, float]) -> None:
        self._minutes = minutes
        self.opened: list[str] = []

    def load(self, *, version: str) -> Bent:
        self.opened.append(version)
        return Bent(self._minutes[version])


class Past:
    """Two labelled weeks, and versions that were champions one after the other."""

    def __init__(self, ledger: "SqlLedger", folder: Path) -> None:
        self.ledger, self.lake = ledger, DeltaLake(str(folder), "flight_air_time")
        for number in range(1, 15):
            day = TODAY - timedelta(days=number)
            columns, minutes = tiny_rows(number, 100)
            columns = {**columns, "flight": np.arange(100, dtype=np.float64)}
            keys = row_keys(columns, ROWS.key)
            self.lake.write("batches", day, pd.DataFrame({"_row": np.arange(100), "_key": keys, **columns}))
            self.lake.write("labels", day, pd.DataFrame({"_key": keys, "label": minutes}))

    def lived(self, version: str, day: date, *kinds: str) -> None:
        for kind in ("requested", "approved", "live", *kinds):
            draft = Draft(stream="release", subject=version, kind=kind, as_of=day, payload={})
            self.ledger.append(draft, after=self.ledger.head("release"))

    def recall(self, shelf: Shelf, *, in_place_of_training: bool = True) -> Recall | None:
        sections: dict[str, Any] = {"rows": ROWS, "label": LABEL, "gate": GateSpec(), "monitor": MonitorSpec()}
        sections["in_place_of_training"] = in_place_of_training
        return recall(TODAY, lake=self.lake, ledger=self.ledger, registry=shelf, **sections)  # type: ignore[arg-type]


@pytest.fixture
def past(ledger: "SqlLedger", tmp_path: Path) -> Past:
    return Past(ledger, tmp_path)


def test_former_champion_that_fits_again_is_recalled(past: Past) -> None:
    for version, day in (("1", date(2013, 3, 31)), ("2", date(2013, 5, 7)), ("3", date(2013, 7, 1))):
        past.lived(version, day, "done")
    found = past.recall(Shelf({"1": 0.0, "2": 3.0, "3": 9.0}))
    assert found is not None
    assert found.version == "1"
    assert found.reason.startswith("version 1 had MAE 3.95 ")
    assert "against 9." in found.reason
    assert "on 700 rows of 7 days" in found.reason


@pytest.mark.parametrize("minutes", [{"1": 9.0, "2": 9.0}, {"1": -9.1, "2": 9.0}, {"1": 4.2, "2": 4.5}])
def test_former_champion_that_is_no_better_stays_in_the_archive(past: Past, minutes: dict[str, float]) -> None:
    past.lived("1", date(2013, 3, 31), "done")
    past.lived("2", date(2013, 5, 7), "done")
    assert past.recall(Shelf(minutes)) is None


def test_version_that_was_rolled_back_or_has_seen_the_days_is_not_asked(past: Past) -> None:
    past.lived("1", date(2013, 3, 31), "done")
    past.lived("2", date(2013, 5, 7), "rolled_back")
    past.lived("3", TODAY - timedelta(days=3), "done")
    past.lived("4", TODAY, "done")
    shelf = Shelf({"1": 9.0, "2": 0.0, "3": 0.0, "4": 9.0})
    assert past.recall(shelf) is None
    assert set(shelf.opened) == {"1", "4"}


def test_former_champion_that_is_no_better_than_a_training_would_be_stays_in_the_archive(past: Past) -> None:
    """It errs 6 minutes against 9, and the verdict says that a shift saves half of the 9."""
    past.lived("1", date(2013, 3, 31), "done")
    past.lived("2", date(2013, 5, 7), "done")
    shelf = Shelf({"1": 5.0, "2": 9.0})
    assert past.recall(shelf) is not None
    staleness = {"days": 7, "share": 0.5, "p_value": 0.001, "stale": True}
    draft = Draft(
        stream="verdict", subject=TODAY.isoformat(), kind="decay", as_of=TODAY, payload={"staleness": staleness}
    )
    past.ledger.append(draft, after=past.ledger.head("verdict"))
    assert past.recall(shelf) is None
    assert past.recall(shelf, in_place_of_training=False) is not None


def test_first_champion_has_none_before_it(past: Past) -> None:
    past.lived("1", date(2013, 3, 31), "done")
    assert past.recall(Shelf({"1": 9.0})) is None
