"""Input that is broken in every way that batches break: a named error or a reason for each, and no good row lost."""

import gzip
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.gx_validator import GxValidator
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.sources import open_source
from trimtab.adapters.sql_ledger import SqlLedger
from trimtab.errors import BatchMissingError, DataContractError, SourceUnreadableError
from trimtab.stages.ingest import IngestResult, ingest
from trimtab.stages.validate import ValidateResult, validate

pytestmark = pytest.mark.integration

DAY, NEXT = date(2013, 4, 23), date(2013, 4, 24)
HEADER = "shop,day,visits,area"
GOOD = [f"s{number},2013-04-23,{10 + number},{100.5 + number}" for number in range(20)]
SPEC = """
spec_version: 1
name: shops
description: Sales of a shop.
owner: sales
source: {{kind: csv, path: {path}}}
rows:
  columns: {{shop: text, day: text, visits: integer, area: number}}
  key: [shop]
  event_day: {{kind: column, column: day, format: "%Y-%m-%d"}}
label: {{column: sales, delay_days: 1}}
features: {{numeric: [visits, area]}}
train:
  candidates: [{{name: one, window_days: 10, estimator: {{kind: hist_gradient_boosting}}}}]
"""
SUITE = """
- {type: expect_table_row_count_to_be_between, kwargs: {min_value: 10}, severity: critical}
- type: expect_column_values_to_be_between
  kwargs: {column: visits, min_value: 0, max_value: 1000, mostly: 0.8}
  severity: critical
- {type: expect_column_values_to_be_between, kwargs: {column: area, max_value: 115}, severity: warning}
"""


@dataclass
class Shops:
    """A model on delivered files, and its stores."""

    folder: Path
    lake: DeltaLake
    ledger: SqlLedger
    suffix: str

    def deliver(self, text: str | bytes, day: date = DAY) -> Path:
        """Write the file of a day."""
        file = self.folder / f"{day}{self.suffix}"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def take_in(self, day: date = DAY) -> tuple[IngestResult, ValidateResult]:
        """Ingest and validate a day."""
        model = load_folder(self.folder)
        landed = ingest(day, source=open_source(model, str), lake=self.lake, rows=model.spec.rows)
        suite = GxValidator(self.folder / model.spec.validation.suite)
        return landed, validate(day, validator=suite, lake=self.lake, ledger=self.ledger)

    def rows(self, table: str) -> pd.DataFrame:
        """All rows of a table."""
        return self.lake.read(table, date(2013, 1, 1), date(2013, 12, 31))  # type: ignore[arg-type]

    def reasons(self) -> dict[int, str]:
        """Position and reason of each row in quarantine."""
        rows = self.rows("quarantine")
        return dict(zip(rows["_row"], rows["reason"], strict=True)) if len(rows) else {}


NewShops = Callable[[str], Shops]


@pytest.fixture
def new_shops(tmp_path: Path, ledger: SqlLedger) -> NewShops:
    """Makes the model, on files with a suffix, or on one file for all days."""

    def make(path: str) -> Shops:
        folder = tmp_path / "shops"
        folder.mkdir()
        (folder / "model.yaml").write_text(SPEC.format(path=path))
        (folder / "suite.yaml").write_text(SUITE)
        return Shops(folder, DeltaLake(str(tmp_path / "lake"), "shops"), ledger, path.removeprefix("{day}"))

    return make


@pytest.fixture
def shops(new_shops: NewShops) -> Shops:
    """The model on one CSV file a day."""
    return new_shops("'{day}.csv'")


@pytest.fixture(autouse=True)
def _plain_suffix(request: pytest.FixtureRequest) -> None:
    if "shops" in request.fixturenames:
        request.getfixturevalue("shops").suffix = ".csv"


def text_of(rows: list[str], header: str = HEADER) -> str:
    """A file's text."""
    return "\n".join([header, *rows]) + "\n"


def assert_nothing_written(shops: Shops) -> None:
    """Not a row in any table."""
    assert all(len(shops.rows(table)) == 0 for table in ("landing", "batches", "quarantine"))


def assert_mended_file_converges(shops: Shops) -> None:
    """When the file has been delivered again, the stores are as if it had been right at once."""
    shops.deliver(text_of(GOOD))
    _, validated = shops.take_in()
    assert validated.accepted
    assert shops.rows("batches")["shop"].tolist() == [f"s{number}" for number in range(20)]
    assert shops.reasons() == {}


def test_good_batch_goes_through(shops: Shops) -> None:
    shops.deliver(text_of(GOOD))
    landed, validated = shops.take_in()
    assert (landed.rows_read, landed.rows_landed, landed.rows_quarantined) == (20, 20, 0)
    assert validated.accepted
    assert validated.warnings == (
        "expect_column_values_to_be_between(area): 5 of 20 rows (such as 115.5, 116.5, 117.5)",
    )
    assert shops.rows("batches")["visits"].tolist() == [float(10 + number) for number in range(20)]


def test_missing_day_is_named_and_may_come_later(shops: Shops) -> None:
    with pytest.raises(BatchMissingError, match=r"2013-04-23\.csv is not there\. Run this day again") as raised:
        shops.take_in()
    assert raised.value.retryable
    assert_nothing_written(shops)
    assert_mended_file_converges(shops)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_empty_file_is_named(shops: Shops, content: str) -> None:
    shops.deliver(content)
    with pytest.raises(SourceUnreadableError, match="is empty: a header and rows were expected"):
        shops.take_in()
    assert_nothing_written(shops)
    assert_mended_file_converges(shops)


def test_header_alone_has_no_row_of_the_day(shops: Shops) -> None:
    shops.deliver(HEADER + "\n")
    with pytest.raises(BatchMissingError, match="has no row of 2013-04-23"):
        shops.take_in()
    assert_nothing_written(shops)
    assert_mended_file_converges(shops)


@pytest.mark.parametrize("header", ["shop,day,visits", "shop,day,visits,Area"])
def test_missing_or_renamed_column_is_named(shops: Shops, header: str) -> None:
    rows = GOOD if header.count(",") == 3 else [row.rpartition(",")[0] for row in GOOD]
    shops.deliver(text_of(rows, header))
    with pytest.raises(DataContractError, match=r"has no column 'area'\. It has .*change rows\.columns"):
        shops.take_in()
    assert_nothing_written(shops)
    assert_mended_file_converges(shops)


def test_text_in_a_number_costs_one_row(shops: Shops) -> None:
    shops.deliver(text_of([*GOOD[:3], "s3,2013-04-23,many,103.5", *GOOD[4:]]))
    _, validated = shops.take_in()
    assert validated.rows_accepted == 19
    assert shops.reasons() == {3: "'visits' must be an integer, got 'many'"}
    assert "many" in shops.rows("quarantine")["raw"].iloc[0]
    assert_mended_file_converges(shops)


def test_missing_value_and_fraction_cost_their_rows(shops: Shops) -> None:
    shops.deliver(text_of(["s0,2013-04-23,,100.5", "s1,2013-04-23,11.5,101.5", *GOOD[2:]]))
    _, validated = shops.take_in()
    assert validated.rows_accepted == 18
    assert shops.reasons() == {0: "'visits' has no value", 1: "'visits' must be an integer, got '11.5'"}


def test_repeated_key_keeps_the_first_row(shops: Shops) -> None:
    shops.deliver(text_of([*GOOD, GOOD[4], "s5,2013-04-23,99,1.0"]))
    _, validated = shops.take_in()
    assert validated.rows_accepted == 20
    assert shops.reasons() == {20: "its key is that of row 4", 21: "its key is that of row 5"}
    assert shops.rows("batches")["visits"].tolist() == [float(10 + number) for number in range(20)]


def test_wrong_form_of_all_dates_is_named(shops: Shops) -> None:
    shops.deliver(text_of([row.replace("2013-04-23", "23/04/2013") for row in GOOD]))
    with pytest.raises(DataContractError, match=r"no row has its day in the form '%Y-%m-%d'.*'23/04/2013'"):
        shops.take_in()
    assert_nothing_written(shops)
    assert_mended_file_converges(shops)


def test_wrong_form_of_one_date_costs_one_row(shops: Shops) -> None:
    shops.deliver(text_of([*GOOD[:3], "s3,23.4.13,13,103.5", *GOOD[4:]]))
    _, validated = shops.take_in()
    assert validated.rows_accepted == 19
    assert shops.reasons() == {3: "its day cannot be read"}


def test_row_of_another_day_is_set_aside(shops: Shops) -> None:
    shops.deliver(text_of([*GOOD, "s99,2013-04-24,1,1"]))
    _, validated = shops.take_in()
    assert validated.rows_accepted == 20
    assert shops.reasons() == {20: "it is of 2013-04-24 and stands in the batch of 2013-04-23"}


def test_file_cut_in_a_row_costs_that_row(shops: Shops) -> None:
    whole = text_of(GOOD)
    shops.deliver(whole[: whole.index("s15") + 7])
    landed, validated = shops.take_in()
    assert (landed.rows_read, validated.rows_accepted) == (16, 15)
    assert shops.reasons() == {15: "it has 2 values instead of 4"}
    assert_mended_file_converges(shops)


def test_too_few_rows_block_the_batch(shops: Shops) -> None:
    shops.deliver(text_of(GOOD[:5]))
    landed, validated = shops.take_in()
    assert landed.rows_landed == 5
    assert not validated.accepted
    assert validated.failures == ("expect_table_row_count_to_be_between(): 5",)
    assert len(shops.rows("batches")) == 0
    assert [entry.kind for entry in shops.ledger.entries("incident")] == ["opened"]
    assert_mended_file_converges(shops)
    assert [entry.kind for entry in shops.ledger.entries("batch")] == ["blocked", "accepted"]


def test_rows_that_break_a_critical_expectation_are_set_aside(shops: Shops) -> None:
    shops.deliver(text_of(["s0,2013-04-23,5000,100.5", *GOOD[1:]]))
    _, validated = shops.take_in()
    assert validated.accepted
    assert shops.reasons() == {0: "breaks expect_column_values_to_be_between(visits)"}
    assert len(shops.rows("batches")) == 19


def test_too_many_rows_that_break_one_block_the_batch(shops: Shops) -> None:
    shops.deliver(text_of([row.replace(",2013-04-23,", ",2013-04-23,90") for row in GOOD]))
    _, validated = shops.take_in()
    assert not validated.accepted
    assert len(shops.rows("batches")) == 0


def test_wrong_encoding_is_named(shops: Shops) -> None:
    shops.deliver(text_of([*GOOD, "caf\u00e9,2013-04-23,1,1"]).encode("cp1252"))
    with pytest.raises(SourceUnreadableError, match="encoding 'utf-8'"):
        shops.take_in()
    assert_nothing_written(shops)
    assert_mended_file_converges(shops)


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.zip"])
def test_cut_archive_is_named(new_shops: NewShops, suffix: str) -> None:
    shops = new_shops(f"'{{day}}{suffix}'")
    shops.suffix = suffix
    file = shops.folder / f"{DAY}{suffix}"
    if suffix.endswith("gz"):
        file.write_bytes(gzip.compress(text_of(GOOD).encode()))
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("batch.csv", text_of(GOOD))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceUnreadableError, match=r"cannot be unpacked .* cut off"):
        shops.take_in()
    assert_nothing_written(shops)
    file.write_bytes(whole)
    _, validated = shops.take_in()
    assert validated.rows_accepted == 20


def test_one_file_for_all_days_gives_each_day_its_own_broken_rows(new_shops: NewShops) -> None:
    shops = new_shops("all.csv")
    later = [row.replace("2013-04-23", "2013-04-24") for row in GOOD]
    broken = ["s50,?,1,1", "s51,2013-04-23,1"]
    (shops.folder / "all.csv").write_text(text_of([*GOOD, *broken, *later]))
    _, first = shops.take_in(DAY)
    _, second = shops.take_in(NEXT)
    assert (first.rows_accepted, second.rows_accepted) == (20, 20)
    assert shops.reasons() == {20: "its day cannot be read", 21: "it has 3 values instead of 4"}
    assert set(shops.rows("quarantine")["_day"]) == {DAY.isoformat()}


SEOUL = """
spec_version: 1
name: seoul
description: Bikes rented in an hour.
owner: bikes
source: {{kind: csv, path: "{path}", encoding: {encoding}, delimiter: "{delimiter}"}}
rows:
  columns: {{Date: text, Hour: integer, Seasons: text}}
  key: [Hour]
  event_day: {{kind: column, column: Date, format: "%d/%m/%Y"}}
label: {{column: Rented Bike Count}}
features: {{numeric: [Hour], categorical: [Seasons]}}
train:
  candidates: [{{name: one, window_days: 10, estimator: {{kind: hist_gradient_boosting}}}}]
"""


@pytest.mark.parametrize(
    ("name", "encoding", "delimiter", "error"),
    [
        ("SeoulBikeData.csv", "utf-8", ",", "has no column 'Date'.*It has 01/12/2017"),
        ("SeoulBikeData_AllanDavis.csv", "cp1252", ",", None),
        ("SeoulBikeData_AllanDavis.csv", "utf-8", ",", "its header is not 'utf-8'"),
        ("SeoulBikeData1.csv", "utf-8", ",", "has no row of 2018-11-30"),
        ("SeoulBikeData_Gmrkc.csv", "utf-8", ",", "has no column"),
        ("SeoulBikeData_Gmrkc.csv", "utf-8", ";", "no row has its day in the form"),
    ],
)
def test_four_differently_dirty_copies_of_one_table(
    data_folder: Path, tmp_path: Path, name: str, encoding: str, delimiter: str, error: str | None
) -> None:
    """The same table with another encoding, another form of dates, other headers, another delimiter."""
    folder = tmp_path / "seoul"
    folder.mkdir()
    path = data_folder / "dirty_seoulbike" / name
    (folder / "model.yaml").write_text(SEOUL.format(path=path, encoding=encoding, delimiter=delimiter))
    (folder / "suite.yaml").write_text("[]")
    model = load_folder(folder)
    lake = DeltaLake(str(tmp_path / "lake"), "seoul")

    def take_in() -> IngestResult:
        return ingest(date(2018, 11, 30), source=open_source(model, str), lake=lake, rows=model.spec.rows)

    if error is None:
        assert take_in().rows_landed in (23, 24)
    else:
        with pytest.raises((DataContractError, SourceUnreadableError, BatchMissingError), match=error):
            take_in()
        assert lake.days("landing") == []
