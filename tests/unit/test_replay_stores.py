"""The stores of a replay know what was known on the present day, and nothing else."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from trimtab.adapters.day_files import DayFiles
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.recorded_past import RecordedPast, record_tables
from trimtab.adapters.replay_stores import BatchTraffic, LakeOfToday, LedgerOfToday, Today
from trimtab.domain.guards import ArmTraffic
from trimtab.domain.journal import Draft
from trimtab.domain.release import Routing

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

FIRST = date(2013, 1, 30)
DAYS = [FIRST + timedelta(days=number) for number in range(4)]
DELAY = 2


def batch(day: date) -> pd.DataFrame:
    rows = day.day % 3 + 1
    return pd.DataFrame(
        {
            "_row": np.arange(rows),
            "_key": [f"{day} {row}" for row in range(rows)],
            "text": [None] * rows if day == FIRST else ["a", *[None] * (rows - 1)],
            "number": np.linspace(0, 1, rows),
        }
    )


@pytest.fixture(scope="module")
def source_lake(tmp_path_factory: pytest.TempPathFactory) -> DeltaLake:
    lake = DeltaLake(str(tmp_path_factory.mktemp("source")), "m")
    for day in DAYS:
        lake.write("batches", day, batch(day))
        lake.write("labels", day, batch(day)[["_key"]].assign(label=1.5))
    return lake


@pytest.fixture(scope="module")
def past(source_lake: DeltaLake, tmp_path_factory: pytest.TempPathFactory) -> RecordedPast:
    """As months are: the first two days and the others in files of their own."""
    root = tmp_path_factory.mktemp("past")
    record_tables(source_lake, root / "one", DAYS[0], DAYS[1])
    record_tables(source_lake, root / "two", DAYS[2], DAYS[3])
    return RecordedPast([root / "one", root / "two"])


@pytest.fixture
def today() -> Today:
    return Today(DAYS[-1])


@pytest.fixture
def lake(past: RecordedPast, today: Today, tmp_path: Path) -> LakeOfToday:
    return LakeOfToday(past, DayFiles(tmp_path), today, DELAY)


@pytest.mark.parametrize("span", [(0, 3), (0, 0), (1, 2), (3, 3)])
@pytest.mark.parametrize("columns", [None, ["_key", "number"]])
def test_recorded_rows_are_those_of_the_lake(
    source_lake: DeltaLake, past: RecordedPast, span: tuple[int, int], columns: list[str] | None
) -> None:
    first, last = DAYS[span[0]], DAYS[span[1]]
    found = past.tables["batches"].read(first, last, columns)
    pd.testing.assert_frame_equal(found, source_lake.read("batches", first, last, columns=columns))


def test_parts_are_told_apart_and_a_table_that_begins_late_is_empty_before(tmp_path: Path) -> None:
    lake = DeltaLake(str(tmp_path), "m")
    for part in ("ingest", "validate"):
        lake.write("quarantine", DAYS[1], pd.DataFrame({"_row": [0], "reason": [f"of {part}"]}), part=part)
    record_tables(lake, tmp_path / "one", DAYS[0], DAYS[0])
    record_tables(lake, tmp_path / "two", DAYS[1], DAYS[1])
    table = RecordedPast([tmp_path / "one", tmp_path / "two"]).tables["quarantine"]
    assert table.read(DAYS[0], DAYS[1], part="validate")["reason"].tolist() == ["of validate"]
    assert len(table.read(DAYS[0], DAYS[1])) == 2
    assert len(table.read(DAYS[0], DAYS[0], part="ingest")) == 0


def test_a_past_without_a_row_can_be_recorded_and_read(tmp_path: Path) -> None:
    record_tables(DeltaLake(str(tmp_path), "m"), tmp_path / "empty", DAYS[0], DAYS[1])
    empty = RecordedPast([tmp_path / "empty"])
    assert (len(empty.tables["labels"].read(DAYS[0], DAYS[1], None)), empty.tables["labels"].days) == (0, [])


@pytest.mark.parametrize("number", range(4))
def test_no_batch_of_a_later_day_and_no_label_before_its_time_can_be_seen(
    lake: LakeOfToday, today: Today, number: int
) -> None:
    today.day = DAYS[number]
    labelled = DAYS[: max(0, number + 1 - DELAY)]
    assert lake.days("batches") == DAYS[: number + 1]
    assert lake.days("labels") == labelled
    seen = lake.read("batches", date.min, date.max)
    assert seen["_day"].unique().tolist() == [day.isoformat() for day in DAYS[: number + 1]]
    labels = lake.read("labels", date.min, date.max)
    assert sorted(set(labels["_day"])) == [day.isoformat() for day in labelled]


def test_a_version_means_the_same_on_every_later_day(lake: LakeOfToday, today: Today) -> None:
    today.day = DAYS[1]
    version = lake.version("batches")
    then = lake.read("batches", date.min, date.max)
    today.day = DAYS[3]
    assert lake.version("batches") > version
    pd.testing.assert_frame_equal(lake.read("batches", date.min, date.max, version=version), then)


def test_what_is_shared_is_not_written_and_what_is_not_is_kept_apart(lake: LakeOfToday) -> None:
    lake.write("batches", DAYS[0], pd.DataFrame())
    assert len(lake.read("batches", DAYS[0], DAYS[0])) == len(batch(DAYS[0]))
    lake.write("predictions", DAYS[0], pd.DataFrame({"_key": ["a"], "prediction": [1.0]}), part="batch")
    assert lake.read("predictions", DAYS[0], DAYS[0], part="batch")["prediction"].tolist() == [1.0]


def test_files_of_days_hold_what_a_lake_would(tmp_path: Path) -> None:
    files, lake = DayFiles(tmp_path / "files"), DeltaLake(str(tmp_path / "lake"), "m")
    more = pd.DataFrame({"_key": ["z"], "number": [5.0], "late": ["only here"]})
    for store in (files, lake):
        store.write("predictions", DAYS[1], batch(DAYS[1]), part="batch")
        store.write("predictions", DAYS[0], batch(DAYS[0]), part="batch")
        store.write("predictions", DAYS[0], more, part="another")
        store.write("predictions", DAYS[1], batch(DAYS[2]), part="batch")  # takes the place of the first
        store.write("predictions", DAYS[2], batch(DAYS[2]), part="batch")
        store.write("predictions", DAYS[2], pd.DataFrame(), part="batch")
    assert files.days("predictions") == lake.days("predictions") == DAYS[:2]
    for chosen in ({"part": None}, {"part": "batch"}, {"part": "another"}):
        found = files.read("predictions", DAYS[0], DAYS[3], columns=["_day", "_part", "_key", "number"], **chosen)
        expected = lake.read("predictions", DAYS[0], DAYS[3], columns=["_day", "_part", "_key", "number"], **chosen)
        pd.testing.assert_frame_equal(found, expected)


def test_files_are_read_again_after_they_were_written_again(tmp_path: Path) -> None:
    files = DayFiles(tmp_path)
    for value in (1.0, 2.0):
        files.write("profiles", DAYS[0], pd.DataFrame({"value": [value]}), part="all")
        assert files.read("profiles", DAYS[0], DAYS[0], columns=["value"], part=None)["value"].tolist() == [value]
    assert len(files.read("profiles", DAYS[1], DAYS[1], columns=None, part=None)) == 0


def test_the_ledger_remembers_what_it_wrote_and_reads_what_was_there(ledger: "SqlLedger", today: Today) -> None:
    before = draft("gate", DAYS[0])
    ledger.append(before, after=0)
    kept = LedgerOfToday(ledger, [], today)
    kept.append(draft("gate", DAYS[1]), after=1)
    assert [entry.as_of for entry in kept.entries("gate")] == DAYS[:2]
    assert kept.head("gate") == 2
    assert [(one.sequence, one.payload) for one in ledger.entries("gate")] == [
        (one.sequence, one.payload) for one in kept.entries("gate")
    ]
    assert [entry.as_of for entry in kept.entries("gate", DAYS[1].isoformat())] == [DAYS[1]]


def test_a_batch_is_in_the_ledger_from_its_day_on(ledger: "SqlLedger", today: Today) -> None:
    entries = [ledger.append(draft("batch", day), after=number) for number, day in enumerate(DAYS)]
    kept = LedgerOfToday(ledger, entries, today)
    today.day = DAYS[1]
    assert [entry.as_of for entry in kept.entries("batch")] == DAYS[:2]


def draft(stream: Any, day: date) -> Draft:
    return Draft(stream=stream, subject=day.isoformat(), kind="made", as_of=day, payload={"list": [1, "a", None]})


class Constant:
    """A registry whose models predict one number; version 2 has no answer for the number 0."""

    def load(self, *, version: str) -> "Constant":
        self.version = version
        return self

    def predict(self, rows: Mapping[str, Any]) -> np.ndarray:
        broken = (rows["number"] == 0) & (self.version == "2")
        return np.where(broken, np.nan, 1.0)


def arms(lake: LakeOfToday, today: Today, share: float) -> Mapping[str, ArmTraffic]:
    def columns_of(frame: pd.DataFrame) -> dict[str, Any]:
        return {"number": frame["number"].to_numpy()}

    registry: Any = Constant()
    routing = Routing(sequence=1, champion="1", challenger="2", share=share)
    return BatchTraffic(lake, registry, columns_of, today).arms(routing)


def test_a_shadow_predicts_every_row_of_the_day_and_what_it_cannot_is_a_failure(
    lake: LakeOfToday, today: Today
) -> None:
    found = arms(lake, today, 0.0)
    rows = len(batch(DAYS[-1]))
    assert (found["1"].requests, found["1"].failures) == (rows, 0)
    assert (found["2"].requests, found["2"].failures) == (rows, 1)


def test_a_canary_gets_the_rows_whose_keys_fall_into_its_share(lake: LakeOfToday, today: Today) -> None:
    found = arms(lake, today, 0.5)
    assert found["1"].requests + found["2"].requests == len(batch(DAYS[-1]))


def test_a_day_without_rows_is_no_traffic(lake: LakeOfToday, today: Today) -> None:
    today.day = DAYS[-1] + timedelta(days=1)
    assert arms(lake, today, 0.0) == {}
