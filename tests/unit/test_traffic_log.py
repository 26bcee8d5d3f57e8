"""The log of predictions: what is written before an answer, and what guards read of it."""

import json
import math
import resource
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.adapters import segment_files
from trimtab.adapters.segment_files import STATE_FILE
from trimtab.adapters.traffic_log import (
    PREDICTION_COLUMNS,
    SERVED_COLUMNS,
    FileTrafficLog,
    PredictedRow,
    TrafficWriter,
)
from trimtab.domain.feature_code import feature_rows
from trimtab.domain.latency import latency_bin, quantile_ms
from trimtab.domain.ports import LogBatch
from trimtab.domain.release import Routing
from trimtab.domain.sequential import Moments

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROUTING = Routing(sequence=7, champion="1", challenger="2", share=0.5)
ROW = PredictedRow(
    request_id="r1",
    key="UA|1|EWR|500",
    day="2013-01-05",
    version="1",
    arm="champion",
    served=True,
    route=7,
    prediction=101.5,
    error=None,
    latency_ms=2.0,
    features={"distance": 500.0, "seats": None, "carrier": "UA"},
)
FAILED = replace(ROW, version="2", arm="challenger", served=False, prediction=None, error="planted", latency_ms=4.0)


def writer(path: Path, worker: str = "w", segment_bytes: int = 2**20) -> TrafficWriter:
    return TrafficWriter(path, "m", worker, lambda: NOW, segment_bytes=segment_bytes)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(path.rglob("*.jsonl")) for line in file.read_bytes().splitlines()]


def test_line_says_what_was_predicted_by_whom_and_when(tmp_path: Path) -> None:
    writer(tmp_path).write([ROW])
    assert lines(tmp_path) == [
        {
            "request_id": "r1",
            "key": "UA|1|EWR|500",
            "day": "2013-01-05",
            "version": "1",
            "arm": "champion",
            "served": True,
            "route": 7,
            "prediction": 101.5,
            "error": None,
            "latency_ms": 2.0,
            "row": 0,
            "features": {"distance": 500.0, "seats": None, "carrier": "UA"},
            "decided_by": "model",
            "level": "full",
            "effects": [],
            "at": "2026-01-02T03:04:05.000+00:00",
        }
    ]


def test_texts_with_line_ends_and_quotes_stay_on_their_line(tmp_path: Path) -> None:
    nasty = replace(ROW, key='a\n"route":7,\u2028"day":"2013-01-05"', error='x"\r\n')
    writer(tmp_path).write([nasty, ROW])
    assert [line["key"] for line in lines(tmp_path)] == [nasty.key, ROW.key]
    assert FileTrafficLog(tmp_path, "m").arms(ROUTING)["1"].requests == 2


def test_features_are_written_as_the_model_saw_them() -> None:
    features = {
        "distance": np.array([500.5, np.nan]),
        "ratio": np.array([np.inf, -np.inf]),
        "carrier": np.array(["UA", None], dtype=object),
        "stops": np.array([1, np.nan], dtype=object),
    }
    first, second = feature_rows(features)
    assert list(first.items()) == [("distance", 500.5), ("ratio", "inf"), ("carrier", "UA"), ("stops", 1.0)]
    assert second == {"distance": None, "ratio": "-inf", "carrier": None, "stops": None}


def test_a_feature_is_not_taken_for_the_field_of_its_name(tmp_path: Path) -> None:
    other = replace(ROW, route=8, features={"route": 7, "day": "2013-01-05"})
    writer(tmp_path).write([other, ROW])
    assert FileTrafficLog(tmp_path, "m").arms(ROUTING)["1"].requests == 1


def test_arms_count_rows_failures_and_median_latency_of_their_routing_only(tmp_path: Path) -> None:
    rows = [replace(ROW, row=row, latency_ms=float(ms)) for row, ms in enumerate((1, 2, 9))]
    others = [replace(ROW, route=6), replace(ROW, route=77)]
    writer(tmp_path).write([*rows, replace(FAILED, request_id="other"), *others])
    arms = FileTrafficLog(tmp_path, "m").arms(ROUTING)
    assert {version: (arm.requests, arm.failures, arm.latency_ms_p50) for version, arm in arms.items()} == {
        "1": (3, 0, pytest.approx(2.0, rel=0.01)),
        "2": (1, 1, pytest.approx(4.0, rel=0.01)),
    }


def test_rows_of_one_call_share_its_time(tmp_path: Path) -> None:
    out = writer(tmp_path)
    out.write([replace(ROW, row=row) for row in range(5)] + [replace(ROW, row=5, latency_ms=3.0)])
    out.write([replace(ROW, request_id="r2", arm="shadow", version="2")])
    arms = FileTrafficLog(tmp_path, "m").arms(ROUTING)
    assert {version: (arm.requests, sum(arm.latencies.values())) for version, arm in arms.items()} == {
        "1": (6, 2),
        "2": (1, 1),
    }


def test_a_row_that_the_champion_took_over_is_counted_on_one_side(tmp_path: Path) -> None:
    writer(tmp_path).write([FAILED, ROW, replace(ROW, row=1, prediction=103.5)])
    arms = FileTrafficLog(tmp_path, "m").arms(ROUTING)
    assert (arms["2"].requests, arms["2"].failures, arms["2"].outputs.count) == (1, 1, 0)
    assert (arms["1"].requests, arms["1"].failures, arms["1"].outputs.mean) == (1, 0, 103.5)


def test_log_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    log = FileTrafficLog(tmp_path, "m")
    assert log.arms(ROUTING) == {}
    assert log.count(ROUTING) == 0
    assert moved(log) == []


def test_arms_read_on_from_where_they_were(tmp_path: Path) -> None:
    first, second, log = writer(tmp_path, "a"), writer(tmp_path, "b"), FileTrafficLog(tmp_path, "m")
    first.write([FAILED])
    assert log.count(ROUTING) == 1
    second.write([FAILED])
    first.write([FAILED, ROW])
    assert log.count(ROUTING) == 3
    assert log.count(replace(ROUTING, sequence=8)) == 0
    assert log.count(ROUTING) == 3, "going back to a routing counts its lines again, not twice"


def test_line_without_its_end_is_not_read_until_it_has_one(tmp_path: Path) -> None:
    writer(tmp_path).write([FAILED, FAILED])
    (file,) = tmp_path.rglob("*.jsonl")
    whole = file.read_bytes()
    log = FileTrafficLog(tmp_path, "m")
    file.write_bytes(whole[:-1])
    assert log.count(ROUTING) == 1
    file.write_bytes(whole)
    assert log.count(ROUTING) == 2


def test_line_that_is_not_json_is_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer(tmp_path).write([FAILED])
    (file,) = tmp_path.rglob("*.jsonl")
    file.write_bytes(b'{"route":7,\x00\n' + file.read_bytes())
    assert FileTrafficLog(tmp_path, "m").count(ROUTING) == 1
    assert "not JSON" in caplog.text


def test_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    log = writer(tmp_path, segment_bytes=600)
    for _ in range(9):
        log.write([ROW])
    sizes = [file.stat().st_size for file in tmp_path.rglob("*.jsonl")]
    assert len(sizes) > 1
    assert len(lines(tmp_path)) == 9


def test_prediction_that_is_not_finite_is_a_failure(tmp_path: Path) -> None:
    writer(tmp_path).write([replace(ROW, prediction=math.nan)])
    assert FileTrafficLog(tmp_path, "m").arms(ROUTING)["1"].failures == 1


@pytest.fixture
def restless() -> Iterator[None]:
    """Python changes threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_threads_share_a_writer_without_losing_or_mixing_lines(tmp_path: Path) -> None:
    log = writer(tmp_path, segment_bytes=2000)
    rows = [replace(ROW, request_id=f"r{number}") for number in range(400)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda row: log.write([row, row]), rows))
    ids = [str(line["request_id"]) for line in lines(tmp_path)]
    assert sorted(ids) == sorted([row.request_id for row in rows] * 2)
    assert ids[::2] == ids[1::2], "the rows of one write stand together"


@pytest.fixture
def small_disk() -> Iterator[None]:
    """The process may not let a file grow beyond 2,000 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.usefixtures("small_disk")
def test_full_disk_raises_and_leaves_whole_lines_of_whole_writes(tmp_path: Path) -> None:
    log = writer(tmp_path)
    log.write([ROW] * 5)
    with pytest.raises(OSError, match="too large"):
        log.write([FAILED] * 5)
    assert [line["version"] for line in lines(tmp_path)] == ["1"] * 5
    log.write([ROW])
    assert len(lines(tmp_path)) == 6, "the next write goes on in a new file"


@pytest.mark.usefixtures("small_disk")
def test_disk_that_stays_full_is_not_filled_with_empty_files(tmp_path: Path) -> None:
    log = writer(tmp_path)
    for _ in range(5):
        with pytest.raises(OSError, match="too large"):
            log.write([ROW] * 50)
    assert list((tmp_path / "m").iterdir()) == []
    log.write([ROW])
    assert len(lines(tmp_path)) == 1


def test_sync_that_fails_is_no_acknowledgement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = writer(tmp_path)
    log.write([ROW])

    def fail(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr("os.fdatasync", fail)
        with pytest.raises(OSError, match="Input/output"):
            log.write([FAILED])
    log.write([ROW])
    assert [line["version"] for line in lines(tmp_path)] == ["1", "1"]
    assert len(list(tmp_path.rglob("*.jsonl"))) == 2


def test_segment_is_locked_before_it_can_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, ended = writer(tmp_path), []
    rename = Path.rename

    def seen(path: Path, target: str) -> Path:
        found = rename(path, target)
        ended.append(segment_files._has_ended(found))
        return found

    monkeypatch.setattr(Path, "rename", seen)
    log.write([ROW])
    assert ended == [False]
    log.close()
    assert segment_files._has_ended(*tmp_path.rglob("*.jsonl"))


def test_poll_of_a_long_log_costs_its_new_lines_only(tmp_path: Path) -> None:
    log, out = FileTrafficLog(tmp_path, "m"), writer(tmp_path, segment_bytes=2**26)
    for _ in range(10):
        out.write([FAILED] * 2000)
    start = time.perf_counter()
    assert log.count(ROUTING) == 20_000
    whole = time.perf_counter() - start
    out.write([FAILED])
    start = time.perf_counter()
    assert log.count(ROUTING) == 20_001
    assert time.perf_counter() - start < whole / 5


class Nowhere:
    """A lake that is empty, and stays so."""

    def append(self, *_: object, **__: object) -> None:
        """Take nothing."""

    def last_number(self, table: str, log: str) -> int:
        return 0


def moved(log: FileTrafficLog) -> list[LogBatch]:
    """Everything, taken as a collector does."""
    return list(log.batches(Nowhere()))


def test_counts_are_the_same_before_and_after_the_lines_are_moved(tmp_path: Path) -> None:
    first, second, other = writer(tmp_path, "a"), writer(tmp_path, "b"), FileTrafficLog(tmp_path, "m")
    first.write([replace(ROW, prediction=1.0), replace(ROW, prediction=2.0), ROW, replace(FAILED, row=1)])
    second.write([ROW] * 2)
    before = other.arms(ROUTING)
    first.close()
    (batch,) = moved(FileTrafficLog(tmp_path, "m"))
    assert len(batch.frames["served"]) == 4
    for log in (other, FileTrafficLog(tmp_path, "m")):
        after = log.arms(ROUTING)
        assert replace(after["1"], outputs=Moments()) == replace(before["1"], outputs=Moments())
        assert after["1"].outputs.mean == pytest.approx(before["1"].outputs.mean)
        assert after["1"].outputs.variance == pytest.approx(before["1"].outputs.variance)
        assert after["2"] == before["2"]
    second.write([FAILED])
    second.close()
    moved(FileTrafficLog(tmp_path, "m"))
    assert list((tmp_path / "m").glob("*.jsonl")) == []
    for log in (other, FileTrafficLog(tmp_path, "m")):
        assert {version: (arm.requests, arm.failures) for version, arm in log.arms(ROUTING).items()} == {
            "1": (5, 0),
            "2": (2, 2),
        }
        assert log.arms(replace(ROUTING, sequence=8)) == {}


def test_counts_stay_right_while_a_collector_is_at_work(tmp_path: Path) -> None:
    """Asked all the time, they never fall, and never count a line twice."""
    out, log, done = writer(tmp_path, segment_bytes=3000), FileTrafficLog(tmp_path, "m"), threading.Event()

    def collect_all() -> None:
        while not done.is_set():
            moved(FileTrafficLog(tmp_path, "m"))

    with ThreadPoolExecutor(1) as pool:
        collector = pool.submit(collect_all)
        counts = []
        for _ in range(150):
            out.write([FAILED])
            counts.append((log.count(ROUTING), FileTrafficLog(tmp_path, "m").count(ROUTING)))
        done.set()
        collector.result()
    assert counts == [(written, written) for written in range(1, 151)]
    assert log.count(ROUTING) == 150
    state = json.loads((tmp_path / "m" / STATE_FILE).read_text())
    assert state["number"] > 5


def test_a_batch_has_every_line_and_the_predictions_among_them(tmp_path: Path) -> None:
    out = writer(tmp_path)
    out.write([ROW, FAILED, replace(ROW, day="2013-01-06", row=1)])
    out.close()
    (batch,) = moved(FileTrafficLog(tmp_path, "m"))
    predictions, served = batch.frames["predictions"], batch.frames["served"]
    assert list(predictions.columns) == ["_day", *PREDICTION_COLUMNS]
    assert list(served.columns) == ["_day", *SERVED_COLUMNS]
    assert predictions["_day"].tolist() == ["2013-01-05", "2013-01-06"]
    assert predictions["row"].tolist() == [0, 1]
    assert served["error"].tolist()[1] == "planted"
    assert {json.loads(features)["carrier"] for features in served["features"]} == {"UA"}


def test_lines_of_an_older_release_are_moved_as_well(tmp_path: Path) -> None:
    out = writer(tmp_path)
    out.write([ROW])
    out.close()
    (file,) = tmp_path.rglob("*.jsonl")
    line = json.loads(file.read_text())
    del line["row"], line["features"]
    file.write_text(json.dumps(line, separators=(",", ":")) + "\n")
    assert FileTrafficLog(tmp_path, "m").arms(ROUTING)["1"].requests == 1
    (batch,) = moved(FileTrafficLog(tmp_path, "m"))
    assert batch.frames["served"][["row", "features"]].to_numpy().tolist() == [[0, "{}"]]


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=60))
def test_median_of_bins_is_within_a_percent(latencies: list[float]) -> None:
    bins = Counter(map(latency_bin, latencies))
    exact = sorted(latencies)[(len(latencies) - 1) // 2]
    assert quantile_ms(bins, 0.5) == pytest.approx(exact, rel=0.0101)
    assert math.isnan(quantile_ms({}, 0.5))
