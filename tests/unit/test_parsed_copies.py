"""Parsed copies change nothing but the time that a big file takes."""

from datetime import date, timedelta
from pathlib import Path

import pytest

from trimtab.adapters import parsed_copies
from trimtab.adapters.csv_reader import CsvReader
from trimtab.domain.spec import CsvSource

DAY = date(2013, 4, 23)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, for files of any size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(parsed_copies, "WORTHWHILE_BYTES", 1)
    return tmp_path / "cache" / "trimtab"


def reader(file: Path) -> CsvReader:
    """A new reader, as each task has one."""
    return CsvReader(CsvSource(kind="csv", path=str(file)), file)


def write(file: Path, rows: int) -> None:
    """Rows of some days, one of them cut off."""
    days = [f"{DAY + timedelta(days=number % 3)},{number}" for number in range(rows)]
    file.write_text("\n".join(["day,value", *days[:5], "cut", *days[5:]]) + "\n")


def test_second_reader_finds_what_the_first_one_parsed(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "all.csv"
    write(file, 20)
    first = reader(file).read(DAY, ["day", "value"])
    assert len(list(cache.glob("*.arrow"))) == 1
    second = reader(file).read(DAY, ["day", "value"])
    assert second.columns.to_pydict() == first.columns.to_pydict()
    assert second.row.tolist() == first.row.tolist() == [*range(5), *range(6, 21)]
    assert list(second.broken) == list(first.broken)
    assert [one.reason for one in second.broken] == ["it has 1 values instead of 2"]


def test_changed_file_and_other_columns_are_parsed_anew(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "all.csv"
    write(file, 20)
    reader(file).read(DAY, ["day", "value"])
    write(file, 30)
    assert reader(file).read(DAY, ["day", "value"]).columns.num_rows == 30
    assert reader(file).read(DAY, ["value"]).columns.column_names == ["value"]
    assert len(list(cache.glob("*.arrow"))) == 3


def test_spoilt_copy_and_closed_cache_do_no_harm(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "all.csv"
    write(file, 20)
    reader(file).read(DAY, ["day", "value"])
    for copy in cache.glob("*.arrow"):
        copy.write_bytes(copy.read_bytes()[:100])
    assert reader(file).read(DAY, ["day", "value"]).columns.num_rows == 20
    blocked = tmp_path / "blocked"
    blocked.write_text("a file, not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert reader(file).read(DAY, ["day", "value"]).columns.num_rows == 20


def test_only_the_newest_copies_are_kept(tmp_path: Path, cache: Path) -> None:
    for number in range(parsed_copies.KEPT + 3):
        file = tmp_path / f"{number}.csv"
        write(file, 20 + number)
        reader(file).read(DAY, ["day", "value"])
    assert len(list(cache.glob("*.arrow"))) == parsed_copies.KEPT
