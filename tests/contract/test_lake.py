"""What every lake promises, held against Delta tables in a folder."""

import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.domain.ports import Lake
from trimtab.errors import NotFoundError

DAY = date(2013, 1, 1)
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> DeltaLake:
    return DeltaLake(str(tmp_path), "m")


def frame(*values: float, **more: object) -> pd.DataFrame:
    return pd.DataFrame({"_key": [f"k{number}" for number in range(len(values))], "value": list(values), **more})


def values(lake: Lake, first: date = DAY, last: date = DAY, **chosen: object) -> list[float]:
    found = lake.read("labels", first, last, **chosen)  # type: ignore[arg-type]
    return found["value"].tolist() if len(found) else []


def test_table_that_does_not_exist_is_empty(lake: Lake) -> None:
    found = lake.read("labels", DAY, NEXT)
    assert (len(found), list(found.columns)) == (0, [])
    assert lake.days("labels") == []
    assert lake.version("labels") == -1


def test_rows_come_back_in_the_order_they_were_written(lake: Lake) -> None:
    lake.write("labels", NEXT, frame(3, 1))
    lake.write("labels", DAY, frame(9, 7, 8))
    assert values(lake, DAY, NEXT) == [9, 7, 8, 3, 1]
    found = lake.read("labels", DAY, NEXT)
    assert found["_day"].tolist() == ["2013-01-01"] * 3 + ["2013-01-02"] * 2
    assert list(found.columns) == ["_key", "value", "_day", "_part"]


def test_writing_a_day_replaces_it_and_leaves_the_others(lake: Lake) -> None:
    lake.write("labels", DAY, frame(1, 2, 3))
    lake.write("labels", NEXT, frame(4))
    lake.write("labels", DAY, frame(5))
    assert values(lake, DAY, NEXT) == [5, 4]
    assert lake.days("labels") == [DAY, NEXT]


def test_parts_of_a_day_live_side_by_side(lake: Lake) -> None:
    lake.write("labels", DAY, frame(1), part="batch")
    lake.write("labels", DAY, frame(2), part="online")
    lake.write("labels", DAY, frame(3), part="batch")
    assert values(lake) == [3, 2]
    assert values(lake, part="online") == [2]
    assert values(lake, part="nothing") == []


def test_equal_content_leaves_the_version_as_it_is(lake: Lake) -> None:
    content = frame(1, np.nan, text=["a", None], flag=[True, False], count=[1, 2])
    lake.write("labels", DAY, content)
    version = lake.version("labels")
    for _ in range(2):
        lake.write("labels", DAY, content)
    lake.write("labels", NEXT, frame())
    lake.write("labels", NEXT, pd.DataFrame())
    assert lake.version("labels") == version
    lake.write("labels", DAY, content.iloc[::-1])
    assert lake.version("labels") == version + 1


def test_day_written_empty_has_no_rows(lake: Lake) -> None:
    lake.write("labels", DAY, frame(1))
    lake.write("labels", NEXT, frame(2))
    lake.write("labels", DAY, frame())
    assert values(lake, DAY, NEXT) == [2]
    assert lake.days("labels") == [NEXT]
    lake.write("labels", NEXT, pd.DataFrame())
    assert lake.days("labels") == []
    assert len(lake.read("labels", DAY, NEXT)) == 0


def test_nothing_written_to_nothing_makes_no_table(lake: Lake) -> None:
    lake.write("labels", DAY, pd.DataFrame())
    assert lake.version("labels") == -1


def test_earlier_version_can_be_read_again(lake: Lake) -> None:
    lake.write("labels", DAY, frame(1))
    before = lake.version("labels")
    lake.write("labels", DAY, frame(2))
    lake.write("labels", NEXT, frame(3))
    assert values(lake, DAY, NEXT, version=before) == [1]
    assert values(lake, DAY, NEXT) == [2, 3]


def test_only_the_columns_that_are_asked_for_are_read(lake: Lake) -> None:
    lake.write("labels", DAY, frame(1, 2, text=["a", "b"]))
    assert list(lake.read("labels", DAY, DAY, columns=["value", "_day"]).columns) == ["value", "_day"]


def test_range_of_days_may_be_any(lake: Lake) -> None:
    for number in range(5):
        lake.write("labels", DAY + timedelta(days=number), frame(number))
    assert values(lake, DAY + timedelta(days=1), DAY + timedelta(days=3)) == [1, 2, 3]
    assert values(lake, date(1, 1, 1), date(9999, 12, 31)) == [0, 1, 2, 3, 4]
    assert values(lake, date(2020, 1, 1), date(2021, 1, 1)) == []


def test_column_that_is_new_is_missing_in_older_days(lake: Lake) -> None:
    lake.write("labels", DAY, frame(1))
    lake.write("labels", NEXT, frame(2, extra=[7.0]))
    found = lake.read("labels", DAY, NEXT)["extra"]
    assert found.isna().tolist() == [True, False]


def test_column_that_is_gone_leaves_an_equal_content_equal(lake: Lake) -> None:
    lake.write("labels", DAY, frame(1, extra=[7.0]))
    lake.write("labels", NEXT, frame(2))
    version = lake.version("labels")
    lake.write("labels", NEXT, frame(2))
    assert lake.version("labels") == version
    lake.write("labels", DAY, frame(1))
    assert lake.version("labels") == version + 1
    assert lake.read("labels", DAY, DAY)["extra"].isna().all()


def test_models_do_not_see_each_other(tmp_path: Path) -> None:
    first, second = DeltaLake(str(tmp_path), "a"), DeltaLake(f"{tmp_path}/", "b")
    first.write("labels", DAY, frame(1))
    assert second.days("labels") == []
    assert values(DeltaLake(f"{tmp_path}/", "a")) == [1]


CELLS = st.one_of(
    st.lists(st.floats(allow_infinity=False) | st.none(), min_size=1, max_size=6),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.none(), min_size=1, max_size=6),
    st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=6),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=CELLS)
def test_any_column_comes_back_and_is_equal_to_itself(
    tmp_path_factory: pytest.TempPathFactory, cells: list[object]
) -> None:
    lake = DeltaLake(str(tmp_path_factory.mktemp("lake")), "m")
    is_number = all(cell is None or isinstance(cell, float) for cell in cells)
    content = pd.DataFrame({"x": pd.Series(cells, dtype=np.float64 if is_number else None)})
    lake.write("labels", DAY, content)
    found = lake.read("labels", DAY, DAY)["x"]
    missing = [cell is None or cell != cell for cell in cells]  # noqa: PLR0124  # nan
    assert found.isna().tolist() == missing
    assert [value for value, gone in zip(found.tolist(), missing, strict=True) if not gone] == [
        cell for cell, gone in zip(cells, missing, strict=True) if not gone
    ]
    version = lake.version("labels")
    lake.write("labels", DAY, content)
    assert lake.version("labels") == version


def dated(*days: date, start: int = 0) -> pd.DataFrame:
    return frame(*range(start, start + len(days)), _day=[day.isoformat() for day in days])


def test_appended_rows_go_to_their_days_beside_what_is_there(lake: DeltaLake) -> None:
    lake.write("labels", DAY, frame(9), part="batch")
    lake.append("labels", dated(NEXT, DAY, DAY), "online", log="a", number=1)
    lake.append("labels", dated(DAY, start=3), "online", log="a", number=2)
    assert values(lake, DAY, NEXT) == [9, 1, 2, 3, 0]
    assert values(lake, part="online") == [1, 2, 3]
    lake.write("labels", DAY, frame(8), part="batch")
    assert values(lake) == [8, 1, 2, 3]
    assert lake.days("labels") == [DAY, NEXT]


def test_batch_of_a_log_is_appended_once_to_each_table(lake: DeltaLake) -> None:
    for _ in range(3):
        lake.append("labels", dated(DAY), "online", log="a", number=5)
    version = lake.version("labels")
    lake.append("labels", dated(DAY), "online", log="a", number=4)
    assert (lake.version("labels"), values(lake)) == (version, [0])
    assert [lake.last_number("labels", log) for log in ("a", "b")] == [5, 0]
    assert lake.last_number("served", "a") == 0
    lake.append("labels", dated(DAY), "online", log="b", number=1)
    lake.append("served", dated(DAY), "online", log="a", number=5)
    assert values(lake) == [0, 0]
    assert len(lake.read("served", DAY, DAY)) == 1


def test_what_was_appended_is_known_after_many_other_commits(lake: DeltaLake) -> None:
    """Beyond the log's checkpoints, and beside days that are written anew."""
    lake.append("labels", dated(DAY), "online", log="a", number=1)
    for number in range(12):
        lake.write("labels", NEXT, frame(number))
    lake.append("labels", dated(DAY), "online", log="a", number=1)
    assert values(lake) == [0]


def test_append_of_nothing_makes_no_table(lake: DeltaLake) -> None:
    lake.append("labels", dated(), "online", log="a", number=1)
    assert lake.version("labels") == -1


def test_appended_columns_may_change(lake: DeltaLake) -> None:
    lake.append("labels", dated(DAY), "online", log="a", number=1)
    lake.append("labels", dated(DAY).assign(extra="x", value=None), "online", log="a", number=2)
    lake.append("labels", dated(DAY), "online", log="a", number=3)
    found = lake.read("labels", DAY, DAY)
    assert found["value"].isna().tolist() == [False, True, False]
    assert found["extra"].isna().tolist() == [True, False, True]


def files(tmp_path: Path, table: str) -> int:
    return len(DeltaTable(str(tmp_path / "m" / table)).file_uris())


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> int:
    """After how many commits small files are made one; fewer than usual, for speed."""
    monkeypatch.setattr("trimtab.adapters.delta_lake.COMMITS_TO_COMPACT", 8)
    return 8


def test_small_files_of_a_log_become_one_and_nothing_else_changes(
    lake: DeltaLake, tmp_path: Path, commits: int
) -> None:
    lake.write("labels", DAY, frame(9), part="batch")
    for number in range(1, 3 * commits):
        lake.append("labels", dated(NEXT, DAY, start=2 * number), "online", log="a", number=number)
    assert files(tmp_path, "labels") <= 2 * commits
    assert values(lake, part="online") == [2 * number + 1 for number in range(1, 3 * commits)]
    assert values(lake, part="batch") == [9]
    assert lake.last_number("labels", "a") == 3 * commits - 1


@pytest.mark.parametrize(("hours", "is_deleted"), [(168, False), (0, True)])
def test_files_that_nobody_needs_are_deleted_in_time_where_no_model_names_a_version(
    lake: DeltaLake, tmp_path: Path, commits: int, monkeypatch: pytest.MonkeyPatch, hours: int, is_deleted: bool
) -> None:
    monkeypatch.setattr("trimtab.adapters.delta_lake.KEPT_HOURS", hours)
    for number in range(1, 2 * commits):
        for table in ("served", "labels"):
            lake.append(table, dated(DAY), "online", log="a", number=number)  # type: ignore[arg-type]
    on_disk = {table: len(list((tmp_path / "m" / table).rglob("*.parquet"))) for table in ("served", "labels")}
    assert on_disk["labels"] > 2 * commits
    assert (on_disk["served"] < on_disk["labels"]) == is_deleted
    assert len(lake.read("served", DAY, DAY)) == 2 * commits - 1


def age(tmp_path: Path, *, days: int) -> None:
    """Let all that is in the lake look so much older."""
    for file in (tmp_path / "m").rglob("*"):
        then = file.stat().st_mtime - days * 86_400
        os.utime(file, (then, then))


def test_version_that_a_model_was_trained_on_can_be_read_after_years(lake: DeltaLake, tmp_path: Path) -> None:
    lake.write("labels", DAY, frame(1))
    version = lake.version("labels")
    for number in range(12):
        lake.write("labels", DAY, frame(2 + number))
    age(tmp_path, days=1000)
    for number in range(12):
        lake.write("labels", DAY, frame(100 + number))
    assert values(lake, version=version) == [1]


def test_version_that_is_gone_is_an_error_and_not_an_empty_table(lake: DeltaLake) -> None:
    lake.write("labels", DAY, frame(1))
    with pytest.raises(
        NotFoundError, match=r"cannot be read as of version 7 any more\. Take the data of today instead\."
    ):
        values(lake, version=7)
