"""The log of predictions: what is written before an answer, and what others read of it."""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.traffic_log import COLUMNS, FileTrafficLog, PredictedRow, TrafficWriter
from trimtab.domain.release import Routing

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROUTING = Routing(sequence=7, champion="1", challenger="2", share=0.5)
DAY = date(2013, 1, 5)
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
)
FAILED = replace(ROW, version="2", arm="challenger", served=False, prediction=None, error="planted", latency_ms=4.0)


def writer(path: Path, worker: str = "w", segment_bytes: int = 2**20) -> TrafficWriter:
    return TrafficWriter(path, "m", worker, lambda: NOW, segment_bytes=segment_bytes)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for file in sorted(path.rglob("*.jsonl")) for line in file.read_text().splitlines()]


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
            "at": "2026-01-02T03:04:05.000+00:00",
        }
    ]


def test_texts_with_line_ends_and_quotes_stay_on_their_line(tmp_path: Path) -> None:
    nasty = replace(ROW, key='a\n"route":7,\u2028"day":"2013-01-05"', error='x"\r\n')
    writer(tmp_path).write([nasty, ROW])
    assert [line["key"] for line in lines(tmp_path)] == [nasty.key, ROW.key]
    assert len(FileTrafficLog(tmp_path, "m").predictions(DAY)) == 2


def test_arms_count_rows_failures_and_median_latency_of_their_routing_only(tmp_path: Path) -> None:
    rows = [replace(ROW, latency_ms=float(ms)) for ms in (1, 2, 9)]
    writer(tmp_path).write([*rows, FAILED, replace(ROW, route=6), replace(ROW, route=77)])
    arms = FileTrafficLog(tmp_path, "m").arms(ROUTING)
    assert {version: (arm.requests, arm.failures, arm.latency_ms_p50) for version, arm in arms.items()} == {
        "1": (3, 0, 2.0),
        "2": (1, 1, 4.0),
    }


def test_log_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    log = FileTrafficLog(tmp_path, "m")
    assert log.arms(ROUTING) == {}
    assert log.count(ROUTING) == 0
    assert list(log.predictions(DAY).columns) == list(COLUMNS)


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


def test_predictions_are_those_of_the_day_without_failures_in_a_stable_order(tmp_path: Path) -> None:
    shadow = replace(ROW, version="2", arm="shadow", served=False, prediction=99.0)
    writer(tmp_path, "b").write([ROW, FAILED, replace(ROW, day="2013-01-06")])
    writer(tmp_path, "a").write([shadow])
    frame = FileTrafficLog(tmp_path, "m").predictions(DAY)
    assert frame.to_dict("records") == [{name: getattr(row, name) for name in COLUMNS} for row in (shadow, ROW)]
    assert frame["served"].dtype == bool
    assert frame["route"].dtype == np.int64
    assert frame.equals(FileTrafficLog(tmp_path, "m").predictions(DAY))


def test_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    log = writer(tmp_path, segment_bytes=600)
    for _ in range(9):
        log.write([ROW])
    sizes = [file.stat().st_size for file in tmp_path.rglob("*.jsonl")]
    assert len(sizes) > 1
    assert len(lines(tmp_path)) == 9


def test_prediction_that_is_not_finite_cannot_be_written_as_a_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        writer(tmp_path).write([replace(ROW, prediction=math.nan)])
    assert lines(tmp_path) == []


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


ENDLESS_WRITER = """
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from trimtab.adapters.traffic_log import PredictedRow, TrafficWriter
log = TrafficWriter(Path(sys.argv[1]), "m", "killed", lambda: datetime.now(UTC))
row = PredictedRow(request_id="r", key="k" * 5000, day="2013-01-05", version="2", arm="challenger", served=True,
                   route=7, prediction=1.0, error=None, latency_ms=1.0)
number = 0
while True:
    log.write([replace(row, request_id=f"r{number}")] * 20)
    number += 1
    print(number, flush=True)
"""


def test_killed_writer_leaves_every_acknowledged_line_and_only_whole_ones_are_read(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS_WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "1"
    time.sleep(0.3)
    process.kill()
    acknowledged = 1 + len(process.communicate()[0].splitlines())
    log = FileTrafficLog(tmp_path, "m")
    assert log.count(ROUTING) >= acknowledged * 20
    writer(tmp_path, "next").write([FAILED])
    assert log.arms(ROUTING)["2"].failures == 1, "the next process writes a file of its own"
    assert len(log.predictions(DAY)) == log.count(ROUTING) - 1


def test_poll_of_a_long_log_costs_its_new_lines_only(tmp_path: Path) -> None:
    log, out = FileTrafficLog(tmp_path, "m"), writer(tmp_path, segment_bytes=2**26)
    for _ in range(50):
        out.write([FAILED] * 2000)
    assert log.count(ROUTING) == 100_000
    start = time.perf_counter()
    out.write([FAILED])
    assert log.count(ROUTING) == 100_001
    assert time.perf_counter() - start < 0.5
