"""Moving the service's logs into the lake: each row once, whatever happens on the way."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.adapters import segment_files
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.outcome_log import FileOutcomeLog, Outcome, OutcomeWriter
from trimtab.adapters.segment_files import SegmentFolder, SegmentWriter
from trimtab.adapters.traffic_log import FileTrafficLog, PredictedRow, TrafficWriter
from trimtab.domain.ports import Table
from trimtab.domain.release import Routing
from trimtab.stages.collect import collect

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DAY = date(2013, 1, 5)
ROUTING = Routing(sequence=7, champion="1")
ROW = PredictedRow(
    request_id="r",
    key="k",
    day="2013-01-05",
    version="1",
    arm="champion",
    served=True,
    route=7,
    prediction=1.5,
    error=None,
    latency_ms=1.0,
    features={"distance": 100.0},
)


def rows(*names: str) -> list[PredictedRow]:
    return [replace(ROW, request_id=name, prediction=None if name.startswith("f") else 1.0) for name in names]


class Killed(BaseException):
    """What stands for the end of the process."""


@dataclass
class Sink:
    """A lake that keeps its promise."""

    tables: dict[Table, list[str]] = field(default_factory=dict)
    numbers: dict[tuple[Table, str], int] = field(default_factory=dict)

    def append(self, table: Table, rows: pd.DataFrame, part: str, *, log: str, number: int) -> None:
        if len(rows) and number > self.numbers.get((table, log), 0):
            self.tables.setdefault(table, []).extend(rows["request_id"])
            self.numbers[table, log] = number

    def last_number(self, table: Table, log: str) -> int:
        return self.numbers.get((table, log), 0)


@contextmanager
def killed_at(moment: int | None, sink: Sink) -> Iterator[list[int]]:
    """The n-th of the moments before and after each step that leaves a trace is the last one."""
    passed = [0]

    def burn() -> None:
        passed[0] += 1
        if passed[0] == moment:
            raise Killed

    def mined(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            burn()
            result = step(*args, **kwargs)
            burn()
            return result

        return run

    with (
        patch.object(segment_files, "write_whole", mined(segment_files.write_whole)),
        patch.object(segment_files, "sync_folder", mined(segment_files.sync_folder)),
        patch.object(Path, "unlink", mined(Path.unlink)),
        patch.object(sink, "append", mined(sink.append)),
    ):
        yield passed


def collected(root: Path, sink: Any, moment: int | None = None) -> int:
    """Collect once, being killed at a moment; the number of moments that there were."""
    with killed_at(moment, sink) as passed, suppress(Killed):
        collect(logs=[FileTrafficLog(root, "m")], lake=sink)
    return passed[0]


def counted(root: Path) -> int:
    return FileTrafficLog(root, "m").arms(ROUTING)["1"].requests


def test_killed_at_any_moment_and_run_again_moves_every_row_once(tmp_path: Path) -> None:
    def prepared(name: str) -> Path:
        root = tmp_path / name
        for worker in ("a", "b"):
            writer = TrafficWriter(root, "m", worker, lambda: NOW, segment_bytes=1)
            writer.write(rows(f"{worker}1", f"{worker}2"))
            writer.write(rows(f"{worker}3", f"f{worker}"))
        return root

    whole = Sink()
    moments = collected(prepared("whole"), whole)
    assert moments > 15
    for moment in range(1, moments + 1):
        root, sink = prepared(str(moment)), Sink()
        assert collected(root, sink, moment) == moment
        assert counted(root) == 8, f"guards count right after a kill at {moment}"
        late = TrafficWriter(root, "m", "c", lambda: NOW)
        late.write(rows("late"))
        late.close()
        collected(root, sink)
        assert {table: sorted(ids) for table, ids in sink.tables.items()} == {
            "predictions": ["a1", "a2", "a3", "b1", "b2", "b3", "late"],
            "served": ["a1", "a2", "a3", "b1", "b2", "b3", "fa", "fb", "late"],
        }
        assert counted(root) == 9
        assert list(root.rglob("*.jsonl")) == []
    assert {table: len(ids) for table, ids in whole.tables.items()} == {"predictions": 6, "served": 8}


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 2)),
        st.tuples(st.just("close"), st.integers(0, 2)),
        st.tuples(st.just("collect"), st.integers(0, 20)),
    ),
    max_size=25,
)


@given(STEPS)
def test_any_history_of_writers_and_killed_collectors_ends_with_every_row_once(steps: list[Step]) -> None:
    root, sink, written = Path(tempfile.mkdtemp()), Sink(), 0
    writers = [TrafficWriter(root, "m", str(worker), lambda: NOW) for worker in range(3)]
    for step, number in steps:
        if step == "write":
            writers[number].write(rows(f"r{written}"))
            written += 1
        elif step == "close":
            writers[number].close()
        else:
            collected(root, sink, number or None)
        if written:
            assert counted(root) == written
    for writer in writers:
        writer.close()
    collected(root, sink)
    assert sorted(sink.tables.get("served", [])) == sorted(f"r{number}" for number in range(written))
    shutil.rmtree(root)


def test_segment_of_a_living_writer_stays(tmp_path: Path) -> None:
    writer, sink = TrafficWriter(tmp_path, "m", "w", lambda: NOW), Sink()
    writer.write(rows("a"))
    collected(tmp_path, sink)
    assert sink.tables == {}
    writer.write(rows("b"))
    writer.close()
    collected(tmp_path, sink)
    assert sink.tables["served"] == ["a", "b"]


def test_segment_ends_by_age_while_nobody_writes(tmp_path: Path) -> None:
    writer, sink = TrafficWriter(tmp_path, "m", "w", lambda: NOW, segment_s=0.05), Sink()
    writer.write(rows("a"))
    until = time.monotonic() + 10
    while not sink.tables and time.monotonic() < until:
        collected(tmp_path, sink)
    assert sink.tables["served"] == ["a"]
    writer.write(rows("b"))
    assert [line.count(b"\n") for line in (file.read_bytes() for file in tmp_path.rglob("*.jsonl"))] == [1]


def test_old_timer_does_not_end_the_next_segment(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "w", lambda: NOW, segment_s=0.2)
    writer.append(b"1\n")
    writer.close()
    time.sleep(0.15)
    writer.append(b"2\n")
    time.sleep(0.1)
    writer.append(b"3\n")
    assert len(SegmentFolder(tmp_path).segments) == 2


def test_half_a_line_of_a_killed_writer_is_passed_over(tmp_path: Path) -> None:
    writer, sink = TrafficWriter(tmp_path, "m", "w", lambda: NOW), Sink()
    writer.write(rows("a", "b"))
    writer.close()
    (file,) = tmp_path.rglob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-5])
    collected(tmp_path, sink)
    assert sink.tables["served"] == ["a"]


def test_large_log_is_moved_in_batches(tmp_path: Path) -> None:
    writer = SegmentWriter(tmp_path, "w", lambda: NOW, segment_bytes=10)
    for number in range(9):
        writer.append(b"%9d\n" % number)
    found = [
        (state.number, len(segments))
        for state, segments in SegmentFolder(tmp_path).batches(lambda _: 0, batch_bytes=30)
    ]
    assert found == [(1, 3), (2, 3), (3, 3)]


def test_collecting_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    logs = [FileTrafficLog(tmp_path / "no", "m"), FileOutcomeLog(tmp_path / "no", "m")]
    lake = DeltaLake(str(tmp_path / "lake"), "m")
    result = collect(logs=logs, lake=lake)
    assert (result.batches, result.rows) == (0, {})
    assert list(tmp_path.iterdir()) == []


def content(lake: DeltaLake) -> Mapping[str, Any]:
    tables: tuple[Table, ...] = ("predictions", "served", "outcomes")
    return {table: lake.read(table, date.min, date.max).to_dict("records") for table in tables}


def test_lake_has_rows_under_their_days_with_features_and_failures(tmp_path: Path) -> None:
    writer, lake = TrafficWriter(tmp_path, "m", "w", lambda: NOW), DeltaLake(str(tmp_path / "lake"), "m")
    writer.write([*rows("a", "f"), replace(ROW, request_id="b", day="2013-01-06", row=3)])
    writer.close()
    said = OutcomeWriter(tmp_path, "m", "w", lambda: NOW)
    said.write([Outcome(request_id="b", row=3, kind="label", value=99.0, feedback_id="1")])
    said.write([Outcome(request_id="a", row=None, kind="click", value=None)])
    said.close()
    result = collect(logs=[FileTrafficLog(tmp_path, "m"), FileOutcomeLog(tmp_path, "m")], lake=lake)
    assert (result.batches, result.rows) == (2, {"predictions": 2, "served": 3, "outcomes": 2})
    found = content(lake)
    assert [(row["_day"], row["_part"], row["request_id"], row["row"]) for row in found["predictions"]] == [
        ("2013-01-05", "online", "a", 0),
        ("2013-01-06", "online", "b", 3),
    ]
    assert [(row["request_id"], row["features"]) for row in found["served"]] == [
        ("a", '{"distance":100.0}'), ("f", '{"distance":100.0}'), ("b", '{"distance":100.0}')
    ]  # fmt: skip
    outcomes = lake.read("outcomes", date(2026, 1, 2), date(2026, 1, 2)).astype(object)
    assert outcomes.where(outcomes.notna(), None)[["request_id", "row", "kind", "value"]].to_numpy().tolist() == [
        ["b", 3, "label", "99.0"],
        ["a", None, "click", None],
    ]
    collect(logs=[FileTrafficLog(tmp_path, "m"), FileOutcomeLog(tmp_path, "m")], lake=lake)
    assert str(content(lake)) == str(found)


def test_folder_that_was_put_back_to_an_earlier_state_loses_nothing(tmp_path: Path) -> None:
    """As when the machine's disk is restored from a copy, and the lake is elsewhere."""
    folder, lake = tmp_path / "now", DeltaLake(str(tmp_path / "lake"), "m")

    def serve(name: str) -> None:
        writer = TrafficWriter(folder, "m", "w", lambda: NOW)
        writer.write(rows(name))
        writer.close()
        collect(logs=[FileTrafficLog(folder, "m")], lake=lake)

    serve("before the copy")
    shutil.copytree(folder, tmp_path / "copy")
    serve("lost with the disk")
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    serve("after")
    served = lake.read("served", DAY, DAY)["request_id"].tolist()
    assert served == ["before the copy", "lost with the disk", "after"]


def test_lake_that_takes_nothing_loses_nothing(tmp_path: Path) -> None:
    class Full(Sink):
        def append(self, *args: Any, **kwargs: Any) -> None:
            raise OSError(28, "No space left on device")

    writer, sink = TrafficWriter(tmp_path, "m", "w", lambda: NOW), Sink()
    writer.write(rows("a"))
    writer.close()
    with pytest.raises(OSError, match="No space"):
        collect(logs=[FileTrafficLog(tmp_path, "m")], lake=Full())
    assert counted(tmp_path) == 1
    collected(tmp_path, sink)
    assert sink.tables["served"] == ["a"]


def test_outcomes_are_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    writer = OutcomeWriter(tmp_path, "m", "w", lambda: NOW)
    writer.write([])
    assert list(tmp_path.iterdir()) == []
    writer.write([Outcome(request_id="a", row=1, kind="correction", value=7.5, feedback_id="x")])
    (file,) = tmp_path.rglob("*.jsonl")
    assert file.read_text() == (
        '{"request_id":"a","row":1,"kind":"correction","value":7.5,"feedback_id":"x","at":"2026-01-02T03:04:05.000+00:00"}\n'
    )
    assert list(FileOutcomeLog(tmp_path, "m").batches(Sink())) == [], "its writer lives"
