"""Readers give the same rows of a day from every kind of source, as text."""

import bz2
import gzip
import io
import zipfile
from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine

from trimtab.adapters.csv_reader import CsvReader
from trimtab.adapters.day_keys import day_keys
from trimtab.adapters.day_rows import DayRows
from trimtab.adapters.lookup_table import look_up
from trimtab.adapters.parquet_reader import DeltaReader, ParquetReader
from trimtab.adapters.sql_reader import SqlReader
from trimtab.adapters.text_table import TextReader
from trimtab.domain.spec import CsvSource, DayFromColumn, DayFromParts, Lookup, RowsSpec, SqlSource
from trimtab.errors import BatchMissingError, DataContractError, NotFoundError, SourceUnreadableError

DAY = date(2013, 1, 2)
COLUMNS = ["day", "key", "value"]
ROWS = RowsSpec(
    columns={"day": "text", "key": "integer", "value": "number?"},
    key=("key",),
    event_day=DayFromColumn(kind="column", column="day"),
)
TEXT = "day,key,value\n2013-01-01,1,0.5\n2013-01-02,2,\n2013-01-02,3,NA\n2013-01-03,4,7\n"
EXPECTED = [
    {"_row": 1, "day": "2013-01-02", "key": "2", "value": None},
    {"_row": 2, "day": "2013-01-02", "key": "3", "value": None},
]


def csv_source(file: Path, content: bytes, **spec: object) -> DayRows:
    file.write_bytes(content)
    source = CsvSource(kind="csv", path=str(file), **spec)  # type: ignore[arg-type]
    return DayRows(CsvReader(source, file), ROWS)


def records(source: DayRows, day: date = DAY) -> list[dict[str, object]]:
    return [
        {str(name): value for name, value in row.items()} for row in source.read(day, COLUMNS).rows.to_dict("records")
    ]


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.csv", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TEXT.encode()),
        ("windows.csv", TEXT.replace("\n", "\r\n").encode()),
        ("bom.csv", b"\xef\xbb\xbf" + TEXT.encode()),
        ("no_last_newline.csv", TEXT.encode()[:-1]),
        ("quoted.csv", TEXT.replace("2013-01-02", '"2013-01-02"').encode()),
        ("a.csv.gz", gzip.compress(TEXT.encode())),
        ("a.csv.bz2", bz2.compress(TEXT.encode())),
        ("a.zip", zipped(TEXT.encode())),
        ("more_columns.csv", TEXT.replace("\n", ",x\n").encode()),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_spellings_of_a_csv_file_give_the_same_rows(tmp_path: Path, name: str, content: bytes) -> None:
    assert records(csv_source(tmp_path / name, content)) == EXPECTED


def test_delimiter_encoding_and_missing_texts_are_those_of_the_spec(tmp_path: Path) -> None:
    text = "day;key;value\n2013-01-02;2;é\n2013-01-02;3;-\n"
    source = csv_source(tmp_path / "a.csv", text.encode("cp1252"), delimiter=";", encoding="cp1252", missing=("-",))
    assert [row["value"] for row in records(source)] == ["é", None]
    wide = csv_source(tmp_path / "b.csv", text.encode("utf-16"), delimiter=";", encoding="utf-16", missing=("-",))
    assert [row["value"] for row in records(wide)] == ["é", None]


def test_line_breaks_inside_quotes_belong_to_the_value_in_files_of_any_size(tmp_path: Path) -> None:
    text = "day,key,value\n" + "".join(f'2013-01-02,{number},"a\nb"\n' for number in range(100_000))
    found = records(csv_source(tmp_path / "a.csv", text.encode()))
    assert len(found) == 100_000
    assert {row["value"] for row in found} == {"a\nb"}


def test_file_a_day_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "2013-01-02.csv").write_text("day,key,value\n2013-01-02,1,2\n2013-01-01,9,9\n", encoding="utf-8")
    path = tmp_path / "{day}.csv"
    source = DayRows(CsvReader(CsvSource(kind="csv", path=str(path)), path), ROWS)
    assert (source.is_ready(DAY), source.is_ready(date(2013, 1, 3))) == (True, False)
    batch = source.read(DAY, COLUMNS)
    assert batch.rows["key"].tolist() == ["1"]
    assert [(row.row, row.reason) for row in batch.broken] == [
        (1, "it is of 2013-01-01 and stands in the batch of 2013-01-02")
    ]


def test_file_that_changes_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    source = csv_source(file, TEXT.encode())
    assert len(records(source)) == 2
    file.write_text(TEXT + "2013-01-02,5,5\n", encoding="utf-8")
    assert [row["key"] for row in records(source)] == ["2", "3", "5"]


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    table = pa.table(
        {
            "day": pa.array([date(2013, 1, 1), DAY, DAY, date(2013, 1, 3)]),
            "key": pa.array([1, 2, 3, 4]),
            "value": pa.array([0.5, None, float("nan"), 7]),
            "other": pa.array([True] * 4),
        }
    )
    file = tmp_path / "a.parquet"
    pq.write_table(table, file)
    assert records(DayRows(ParquetReader(file), ROWS)) == EXPECTED


def test_delta_table_gives_what_csv_gives(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "day": ["2013-01-01", "2013-01-02", "2013-01-02", "2013-01-03"],
            "key": [1, 2, 3, 4],
            "value": [0.5, None, None, 7],
        }
    )
    write_deltalake(str(tmp_path), frame)
    source = DayRows(DeltaReader(str(tmp_path)), ROWS)
    assert source.is_ready(DAY)
    assert records(source) == EXPECTED


def test_database_gives_what_csv_gives_by_position_in_the_query(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/source.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE feed (day TEXT, key INTEGER, value REAL)")
        connection.exec_driver_sql(
            "INSERT INTO feed VALUES ('2013-01-02', 2, NULL), ('2013-01-03', 4, 7), ('2013-01-02', 3, NULL)"
        )
    spec = SqlSource(kind="sql", connection="feed", query="SELECT * FROM feed WHERE day = :day ORDER BY key")
    source = DayRows(SqlReader(spec, engine), ROWS)
    assert source.is_ready(DAY)
    assert records(source) == [{**row, "_row": position} for position, row in enumerate(EXPECTED)]
    with pytest.raises(BatchMissingError, match=r"^Query of connection 'feed' has no row of 2013-01-09\. Run this day"):
        source.read(date(2013, 1, 9), COLUMNS)


def test_query_that_fails_is_named_with_the_words_of_the_database(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/source.db")
    spec = SqlSource(kind="sql", connection="feed", query="SELECT * FROM gone WHERE day = :day")
    with pytest.raises(SourceUnreadableError) as told:
        SqlReader(spec, engine).read(DAY, COLUMNS)
    assert str(told.value) == ("Query of connection 'feed' failed: no such table: gone. Try it for 2013-01-02.")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_file_that_is_not_there_may_still_come(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    reader: TextReader = (
        CsvReader(CsvSource(kind="csv", path=str(file)), file) if kind == "csv" else ParquetReader(file)
    )
    assert not reader.is_ready(DAY)
    with pytest.raises(BatchMissingError, match=r"is not there\. Run .*again when its batch has arrived\.$"):
        reader.read(DAY, COLUMNS)


def test_parquet_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"day": ["2013-01-02"]}), file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SourceUnreadableError, match=r"a\.parquet cannot be read as Parquet \(.*Deliver it again\.$"):
        ParquetReader(file).read(DAY, COLUMNS)


def test_delta_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    reader = DeltaReader(str(tmp_path / "nothing"))
    assert not reader.is_ready(DAY)
    with pytest.raises(BatchMissingError, match=r"nothing is not there\. Create it, or mend source\.uri\.$"):
        reader.read(DAY, COLUMNS)


@pytest.mark.parametrize(
    ("kind", "content"),
    [("csv", b"when,key,amount\n2013-01-02,1,2\n"), ("parquet", b"")],
)
def test_renamed_column_is_named_beside_what_the_source_has(tmp_path: Path, kind: str, content: bytes) -> None:
    file = tmp_path / f"a.{kind}"
    if kind == "csv":
        source = csv_source(file, content)
    else:
        pq.write_table(pa.table({"when": ["2013-01-02"], "key": [1], "amount": [2]}), file)
        source = DayRows(ParquetReader(file), ROWS)
    with pytest.raises(DataContractError) as told:
        source.read(DAY, COLUMNS)
    assert str(told.value) == (
        f"{file} has no column 'day', 'value'. It has when, key, amount. "
        "If the source has renamed it, change rows.columns or label.column in model.yaml."
    )


def test_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadableError, match=r"has more than one column 'key'\. Name each column once\.$"):
        csv_source(tmp_path / "a.csv", b"day,key,key,value\n2013-01-02,1,2,3\n").read(DAY, COLUMNS)


@given(st.dates(date(1970, 1, 1), date(2100, 1, 1)), st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%Y%m%d", "%d.%m.%y"]))
def test_day_is_read_in_the_form_of_the_spec(day: date, form: str) -> None:
    spec = ROWS.model_copy(update={"event_day": DayFromColumn(kind="column", column="day", format=form)})
    if form.endswith("y") and not 1969 <= day.year <= 2068:
        return
    keys = day_keys(pa.table({"day": [day.strftime(form)]}), spec.event_day)
    assert keys.tolist() == [day.year * 10_000 + day.month * 100 + day.day]


@pytest.mark.parametrize(
    "text",
    [
        "2013-02-29",
        "2013-02-30",
        "2013-02-31",
        "2013-04-31",
        "2013-13-01",
        "2013-00-01",
        "2013-01-00",
        "13-01-01",
        "2013-01-01T00:00",
        "2013/01/01",
        "",
        "today",
    ],
)
def test_text_that_is_no_day_is_not_read_as_another_day(text: str) -> None:
    assert day_keys(pa.table({"day": [text, "2012-02-29"]}), ROWS.event_day).tolist() == [-1, 20120229]


def test_day_of_three_parts_may_be_padded_or_not_and_must_be_in_the_calendar() -> None:
    spec = RowsSpec(
        columns={"y": "integer", "m": "integer", "d": "integer"},
        key=("y",),
        event_day=DayFromParts(kind="parts", year="y", month="m", day="d"),
    )
    table = pa.table(
        {
            "y": ["2013", "2013", "2012", "2013", "13", None, "2013", "2013.0"],
            "m": ["2", "02", "2", "2", "1", "1", "13", "1"],
            "d": ["9", "09", "29", "29", "1", "1", "1", "1"],
        }
    )
    assert day_keys(table, spec.event_day).tolist() == [20130209, 20130209, 20120229, -1, -1, -1, -1, -1]


def lookup_file(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "planes.csv"
    file.write_text(text, encoding="utf-8")
    return file


PLANES = Lookup(path="planes.csv", by="tail", take={"plane_year": "year", "seats": "seats"})


def test_lookup_joins_by_key_and_leaves_none_without_a_match(tmp_path: Path) -> None:
    rows = pd.DataFrame({"_row": [5, 6, 7], "tail": ["N1", None, "N9"]}, index=[5, 6, 7], dtype=object)
    file = lookup_file(tmp_path, "tail,seats,year\nN1,100,1999\n,1,1\nN2,7,NA\n")
    found = look_up(rows, PLANES, file)
    assert found["plane_year"].tolist() == ["1999", None, None]
    assert found["seats"].tolist() == ["100", None, None]
    assert found["_row"].tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tail,seats,year\nN1,1,1\nN1,2,2\n", "has 'tail' 'N1' more than once. Make it unique."),
        ("tail,seat,year\nN1,1,1\n", "has no column 'seats'. Mend rows.lookups in model.yaml."),
    ],
)
def test_lookup_that_cannot_be_joined_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = lookup_file(tmp_path, text)
    with pytest.raises(DataContractError) as told:
        look_up(pd.DataFrame({"tail": ["N1"]}), PLANES, file)
    assert str(told.value) == f"Lookup {file} {message}"


def test_lookup_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        NotFoundError, match=r"planes\.csv is not there\. Add it, or mend rows\.lookups in model\.yaml\.$"
    ):
        look_up(pd.DataFrame({"tail": ["N1"]}), PLANES, tmp_path / "planes.csv")
