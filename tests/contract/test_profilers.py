"""Every engine gives the profile that the domain's definition gives: of the same file, to the last row."""

import datetime as dt
import decimal
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trimtab.adapters.arrow_profiler import ArrowTally, parquet_bins, profile_batches, profile_parquet
from trimtab.domain.binning import bins_of
from trimtab.domain.columns import Column
from trimtab.domain.counting import profile
from trimtab.domain.profiles import ColumnBins, ColumnProfile, Profile
from trimtab.errors import DataContractError, NotFoundError, SourceUnreadableError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Bins: TypeAlias = dict[str, ColumnBins]
Engine: TypeAlias = Callable[[Path, Bins], Profile]
pytestmark = pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
logging.getLogger("py4j").setLevel(logging.ERROR)  # it says good-bye after pytest has closed its streams
SECOND = dt.timedelta(seconds=1)
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # as the files have them, without a zone


def as_number(value: object) -> float:
    """What the definition says a value of a file is."""
    if value is None:
        return math.nan
    if isinstance(value, dt.datetime):
        return (value.replace(tzinfo=None) - EPOCH) / SECOND
    if isinstance(value, dt.date):
        return (value - EPOCH.date()) / SECOND
    return float(value)  # type: ignore[arg-type]


def as_column(array: pa.ChunkedArray) -> Column:
    """A column of a file as the definition takes it, value by value."""
    values = array.to_pylist()
    if any(isinstance(value, str) for value in values):
        return np.array([*values, None], dtype=object)[:-1]
    return np.array([as_number(value) for value in values], dtype=np.float64)


def by_definition(path: Path, bins: Bins) -> Profile:
    table = pq.read_table(path)
    return profile({name: as_column(table.column(name)) for name in bins}, bins)


def by_batches(path: Path, bins: Bins) -> Profile:
    with pq.ParquetFile(path) as file:
        return profile_batches(file.iter_batches(700), bins)


@pytest.fixture(scope="module")
def spark() -> Iterator["SparkSession"]:
    """Spark in this process, as small as it comes."""
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")  # type: ignore[attr-defined]
        builder = builder.config("spark.sql.session.timeZone", "UTC").config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
        session = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "500").getOrCreate()
        yield session
        session.stop()


@pytest.fixture(params=["parquet", "parquet by threads", "batches", "spark"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    if request.param.startswith("parquet"):
        monkeypatch.setattr(
            "trimtab.adapters.arrow_profiler.ROWS_FOR_THREADS", 0 if "threads" in request.param else 10**9
        )
        return profile_parquet
    if request.param == "batches":
        return by_batches
    from trimtab.adapters.spark_profiler import profile_frame

    session = request.getfixturevalue("spark")
    return lambda path, bins: profile_frame(session.read.parquet(str(path)), bins)


def mixed_table(random: np.random.Generator, rows: int) -> pa.Table:
    """Every kind of column that a file may have, with gaps in each."""

    def gaps(values: list[object]) -> list[object]:
        return [None if missing else value for missing, value in zip(random.random(rows) < 0.1, values, strict=True)]

    skewed = random.lognormal(sigma=2, size=rows)
    skewed[random.random(rows) < 0.02] = math.nan
    skewed[random.random(rows) < 0.01] = math.inf
    skewed[random.random(rows) < 0.01] = -math.inf
    skewed[random.random(rows) < 0.01] = 1e300
    cents = [decimal.Decimal(int(value)) / 100 for value in random.integers(-5000, 5000, rows)]
    moments = [EPOCH + dt.timedelta(seconds=int(value)) for value in random.integers(0, 2_000_000_000, rows)]
    texts = random.choice(["AA", "B6", "", "Zürich", "NA"], rows).tolist()
    return pa.table(
        {
            "number": pa.array(gaps(skewed.tolist()), pa.float64()),
            "single": pa.array(gaps(random.normal(1e6, 1, rows).tolist()), pa.float32()),
            "integer": pa.array(gaps(random.integers(-9, 9, rows).tolist()), pa.int64()),
            "small": pa.array(gaps(random.integers(0, 100, rows).tolist()), pa.int8()),
            "flag": pa.array(gaps((random.random(rows) < 0.3).tolist()), pa.bool_()),
            "price": pa.array(gaps(cents), pa.decimal128(12, 2)),
            "moment": pa.array(gaps(moments), pa.timestamp("us")),
            "day": pa.array(gaps([value.date() for value in moments]), pa.date32()),
            "text": pa.array(gaps(texts), pa.string()),
            "large_text": pa.array(gaps(texts), pa.large_string()),
            "coded": pa.array(gaps(texts), pa.string()).dictionary_encode(),
            "key": pa.array(gaps([f"{value}" for value in random.integers(0, 50_000, rows)]), pa.string()),
            "empty": pa.nulls(rows, pa.float64()),
            "whole": pa.array(random.normal(size=rows)),
        }
    )


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "reference.parquet"
    pq.write_table(mixed_table(np.random.default_rng(1), 3000), path)
    return path


@pytest.fixture(scope="module")
def bins(reference: Path) -> Bins:
    return parquet_bins(reference)


@pytest.fixture(scope="module")
def current(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several row groups, whose pages and batches do not begin together."""
    path = tmp_path_factory.mktemp("files") / "current.parquet"
    table = mixed_table(np.random.default_rng(2), 5000)
    unknown = pa.array(["new" if number % 7 == 0 else "AA" for number in range(5000)])
    table = table.set_column(table.schema.get_field_index("text"), "text", unknown)
    pq.write_table(table, path, row_group_size=1300)
    return path


def assert_equal(found: Profile, expected: Profile) -> None:
    """Counts and extremes exactly, sums to 1e-9 of what was added up."""
    assert found.rows == expected.rows
    assert list(found.columns) == list(expected.columns)
    for name, column in found.columns.items():
        assert_equal_column(name, column, expected.columns[name])


def assert_equal_column(name: str, found: ColumnProfile, expected: ColumnProfile) -> None:
    assert (name, found.counts, found.missing) == (name, expected.counts, expected.missing)
    assert (found.moments is None) == (expected.moments is None)
    if found.moments is None or expected.moments is None:
        return
    one, other = found.moments, expected.moments
    assert (name, one.rows, one.centre, one.smallest, one.largest) == (
        name, other.rows, other.centre, other.smallest, other.largest
    )  # fmt: skip
    scale = math.sqrt(other.squares * max(other.rows, 1))
    assert one.total == pytest.approx(other.total, abs=1e-9 * scale)
    assert one.squares == pytest.approx(other.squares, rel=1e-9)
    assert (one.below, one.above) == pytest.approx((other.below, other.above), abs=1e-9 * scale)


def test_bins_of_a_file_are_those_of_its_columns(reference: Path, bins: Bins) -> None:
    table = pq.read_table(reference)
    assert bins == bins_of({name: as_column(table.column(name)) for name in table.column_names})


def test_profile_of_a_file_is_that_of_its_columns(engine: Engine, current: Path, bins: Bins) -> None:
    found = engine(current, bins)
    assert_equal(found, by_definition(current, bins))
    assert found.columns["text"].new == 715
    assert found.columns["number"].infinite > 100
    assert found.columns["empty"].missing == 5000


def test_profile_of_a_file_without_rows_is_empty(engine: Engine, current: Path, bins: Bins, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(current).slice(0, 0), tmp_path / "empty.parquet")
    found = engine(tmp_path / "empty.parquet", bins)
    assert found == profile_batches([], bins)
    assert found.rows == 0
    assert set(found.columns) == set(bins)


def test_profile_of_column_without_values_is_all_missing(engine: Engine, bins: Bins, tmp_path: Path) -> None:
    names = ["number", "integer", "text"]
    table = pa.table(
        {"number": pa.nulls(9, pa.float64()), "integer": pa.nulls(9, pa.int32()), "text": pa.nulls(9, pa.string())}
    )
    pq.write_table(table, tmp_path / "nulls.parquet")
    found = engine(tmp_path / "nulls.parquet", {name: bins[name] for name in names})
    assert [found.columns[name].missing for name in names] == [9, 9, 9]
    assert [found.columns[name].present for name in names] == [0, 0, 0]


def test_number_may_change_its_type_and_keeps_its_bins(engine: Engine, bins: Bins, tmp_path: Path) -> None:
    pq.write_table(pa.table({"integer": pa.array([3.0, 4.5, None])}), tmp_path / "floats.parquet")
    found = engine(tmp_path / "floats.parquet", {"integer": bins["integer"]}).columns["integer"]
    assert_equal_column(
        "integer",
        found,
        profile({"integer": np.array([3.0, 4.5, math.nan])}, {"integer": bins["integer"]}).columns["integer"],
    )


def test_absent_column_is_named(engine: Engine, bins: Bins, tmp_path: Path) -> None:
    pq.write_table(pa.table({"other": [1]}), tmp_path / "other.parquet")
    with pytest.raises(DataContractError, match=r"has no column 'text', which the reference has\."):
        engine(tmp_path / "other.parquet", {"text": bins["text"]})


def test_texts_where_the_reference_has_numbers_are_refused_and_the_reverse(
    engine: Engine, bins: Bins, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"integer": ["12"], "text": [1]}), tmp_path / "swapped.parquet")
    with pytest.raises(
        DataContractError, match=r"Column 'integer' must hold numbers, as in the reference\. Got string"
    ):
        engine(tmp_path / "swapped.parquet", {"integer": bins["integer"]})
    with pytest.raises(DataContractError, match=r"Column 'text' must hold texts, as in the reference\. Got int64"):
        engine(tmp_path / "swapped.parquet", {"text": bins["text"]})


def test_arrays_with_an_offset_and_codes_that_nobody_uses_are_counted_right(bins: Bins) -> None:
    table = mixed_table(np.random.default_rng(5), 1003)
    pieces = [batch.slice(3, 77) for batch in table.to_batches(max_chunksize=90) if batch.num_rows > 80]
    expected = pa.Table.from_batches(pieces)
    found = profile_batches(pieces, bins)
    assert_equal(found, profile({name: as_column(expected.column(name)) for name in bins}, bins))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([dt.time(1, 0, 5), None], pa.time32("s")), 3605.0),
        (pa.array([dt.time(1, 0, 5, 500_000), None], pa.time64("us")), 3605.5),
        (pa.array([dt.timedelta(minutes=2), None], pa.duration("ms")), 120.0),
        (pa.array([dt.date(1970, 1, 2), None], pa.date64()), 86_400.0),
        (pa.array([dt.datetime(1970, 1, 1, 2, tzinfo=dt.UTC), None], pa.timestamp("ns", "Europe/Berlin")), 7200.0),
        (pa.array([1.5, None], pa.float16()), 1.5),
        (pa.array([2**40, None], pa.uint64()), 2.0**40),
        (pa.array([7, None], pa.int64()).dictionary_encode(), 7.0),
        (pa.array([decimal.Decimal("2.5"), None], pa.decimal256(40, 1)), 2.5),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_kinds_of_numbers(array: pa.Array, expected: float) -> None:
    bins = {"x": ColumnBins(edges=(0.0, 1e18))}
    found = profile_batches([pa.RecordBatch.from_arrays([array], ["x"])], bins).columns["x"]
    assert (found.mean, found.missing) == (expected, 1)


@pytest.mark.parametrize("kind", [pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())], ids=str)
def test_kinds_of_texts(kind: pa.DataType) -> None:
    array = pa.array(["a", None, "z", "a"]).cast(kind)
    found = profile_batches([pa.RecordBatch.from_arrays([array], ["c"])], {"c": ColumnBins(categories=("a",))})
    assert (found.columns["c"].counts, found.columns["c"].missing) == ((2, 0, 1), 1)


def test_text_that_the_dictionary_itself_has_as_null_is_missing() -> None:
    array = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, None], pa.int8()), pa.array(["a", None]))
    found = profile_batches([pa.RecordBatch.from_arrays([array], ["c"])], {"c": ColumnBins(categories=("a",))})
    assert (found.columns["c"].counts, found.columns["c"].missing) == ((1, 0, 0), 3)


def test_lists_are_neither_and_are_left_out_of_the_bins(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.0], "items": [[1, 2]]}), tmp_path / "lists.parquet")
    assert list(parquet_bins(tmp_path / "lists.parquet")) == ["x"]
    with pytest.raises(DataContractError, match=r"Column 'items' must hold numbers or texts, as in the reference\."):
        profile_parquet(tmp_path / "lists.parquet", {"items": ColumnBins(edges=(0.0,))})


def test_bins_of_a_large_file_are_nearly_those_of_all_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.adapters.arrow_profiler.SAMPLE", 5000)
    values = np.random.default_rng(0).lognormal(size=60_000)
    pq.write_table(
        pa.table({"x": values, "c": [f"{value:.0f}" for value in values]}),
        tmp_path / "big.parquet",
        row_group_size=7000,
    )
    sampled, exact = parquet_bins(tmp_path / "big.parquet"), bins_of({"x": values})
    counted = profile_parquet(tmp_path / "big.parquet", sampled)
    assert (counted.columns["x"].out_of_range, counted.columns["c"].new) == (0, 0)
    assert sampled["x"].edges[0] == exact["x"].edges[0]
    assert sampled["x"].edges[-1] == exact["x"].edges[-1]
    shares = np.array(sampled["x"].coarsen(counted.columns["x"]).counts[1:-1]) / 60_000
    assert shares == pytest.approx(np.full(len(shares), 1 / len(shares)), abs=0.015)


def test_row_groups_larger_than_memory_should_hold_are_read_in_parts(
    current: Path, bins: Bins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.adapters.arrow_profiler.BATCH", 600)
    assert_equal(profile_parquet(current, bins), by_definition(current, bins))


def test_columns_that_threads_read_in_parts_have_one_profile(
    current: Path, bins: Bins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pq.read_table(current), tmp_path / "groups.parquet", row_group_size=450)
    parts: list[str] = []

    class Part(ArrowTally):
        def __init__(self, name: str, bins: ColumnBins) -> None:
            parts.append(name)
            super().__init__(name, bins)

    monkeypatch.setattr("trimtab.adapters.arrow_profiler.ArrowTally", Part)
    monkeypatch.setattr("trimtab.adapters.arrow_profiler.PART", 1000)
    monkeypatch.setattr("trimtab.adapters.arrow_profiler.ROWS_FOR_THREADS", 0)
    assert_equal(profile_parquet(tmp_path / "groups.parquet", bins), by_definition(current, bins))
    assert parts.count("number") == 6  # of 12 row groups


def test_file_that_is_not_there_or_no_parquet_is_named(tmp_path: Path, bins: Bins) -> None:
    with pytest.raises(NotFoundError, match=r"none\.parquet is not there\. Mend the path\."):
        profile_parquet(tmp_path / "none.parquet", bins)
    (tmp_path / "text.parquet").write_text("no Parquet file at all")
    with pytest.raises(SourceUnreadableError, match=r"text\.parquet cannot be read as Parquet"):
        profile_parquet(tmp_path / "text.parquet", bins)


def test_file_that_is_cut_off_is_unreadable(current: Path, bins: Bins, tmp_path: Path) -> None:
    content = current.read_bytes()
    (tmp_path / "cut.parquet").write_bytes(
        content[: len(content) // 4] + bytes(2000) + content[len(content) // 4 + 2000 :]
    )
    with pytest.raises(SourceUnreadableError, match=r"cut\.parquet cannot be read as Parquet"):
        profile_parquet(tmp_path / "cut.parquet", bins)
