"""What was acknowledged is in the lake once, whoever is killed, raced or starved on the way."""

import os
import shutil
import threading
from collections import Counter
from datetime import date
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.traffic_log import FileTrafficLog, TrafficWriter
from trimtab.domain.release import Routing
from victims import (
    collect_for_ever,
    collect_once,
    collect_with_full_disk,
    now,
    served_row,
    write_for_ever,
)

pytestmark = pytest.mark.integration
KILLS = 50
ROUTING = Routing(sequence=7, champion="1")


def in_lake(lake: Path) -> Counter[str]:
    found = DeltaLake(str(lake), "race").read("served", date.min, date.max, columns=["request_id"])
    assert len(DeltaLake(str(lake), "race").read("predictions", date.min, date.max)) == len(found)
    return Counter(found["request_id"].tolist() if len(found) else [])


def started(process: BaseProcess) -> BaseProcess:
    process.start()
    return process


def killed(process: BaseProcess) -> None:
    process.kill()
    process.join()


def written(root: Path, segments: int, rows: int = 20) -> list[str]:
    """Segments of two writers that have ended."""
    names = [f"r{number}" for number in range(segments * rows)]
    writers = [TrafficWriter(root, "race", worker, now, segment_bytes=1) for worker in ("a", "b")]
    for segment in range(segments):
        mine = names[segment * rows : (segment + 1) * rows]
        writers[segment % 2].write([served_row(name) for name in mine])
    return names


def test_fifty_writers_killed_under_load_lose_and_double_no_acknowledged_row(
    forkserver: ForkServerContext, tmp_path: Path
) -> None:
    """Collectors are at work all the while, and every few writers one of them is killed as well."""
    root, lake, random = tmp_path / "traffic", tmp_path / "lake", np.random.default_rng(0)
    fifo = tmp_path / "acknowledged"
    os.mkfifo(fifo)
    chunks: list[bytes] = []

    def drain() -> None:
        with fifo.open("rb", buffering=0) as stream:
            while chunk := stream.read(2**16):
                chunks.append(chunk)

    reader = threading.Thread(target=drain)
    reader.start()
    with fifo.open("wb"):
        collector = started(forkserver.Process(target=collect_for_ever, args=(root, lake)))
        writers: list[BaseProcess] = []
        for number in range(KILLS):
            writers.append(started(forkserver.Process(target=write_for_ever, args=(root, f"w{number}", fifo))))
            writers[-1].join(random.uniform(0.02, 0.15))
            if number % 2:  # two at a time
                for writer in writers[-2:]:
                    killed(writer)
            if number % 10 == 9:
                killed(collector)
                collector = started(forkserver.Process(target=collect_for_ever, args=(root, lake)))
        killed(collector)
    reader.join()
    collect_once(root, lake)
    acknowledged, found = set(b"".join(chunks).decode().split("\n")) - {""}, in_lake(lake)
    assert {writer.exitcode for writer in writers} == {-9}
    assert len(acknowledged) > 20 * KILLS
    assert acknowledged - set(found) == set()
    assert {name for name, count in found.items() if count > 1} == set()
    assert FileTrafficLog(root, "race").arms(ROUTING)["1"].requests == len(found)
    assert list(root.rglob("*.jsonl")) == []


def test_two_collectors_at_once_move_every_row_once(forkserver: ForkServerContext, tmp_path: Path) -> None:
    for attempt in range(4):
        root, lake = tmp_path / f"traffic{attempt}", tmp_path / f"lake{attempt}"
        names = written(root, 40)
        start = forkserver.Barrier(2)
        processes = [started(forkserver.Process(target=collect_once, args=(root, lake, start))) for _ in range(2)]
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        assert in_lake(lake) == Counter(names)


def test_collectors_that_do_not_see_each_other_s_lock_move_every_row_once(
    forkserver: ForkServerContext, tmp_path: Path
) -> None:
    """As on a file system without locks: one was killed after it noted its batch, and two others go on with it."""
    for attempt in range(4):
        root, lake = tmp_path / f"traffic{attempt}", tmp_path / f"lake{attempt}"
        names = written(root, 40)
        log = FileTrafficLog(root, "race").batches(DeltaLake(str(lake), "race"))
        assert len(next(log).frames["served"]) == len(names)
        log.close()  # type: ignore[attr-defined]  # a generator
        copy = Path(shutil.copytree(root, tmp_path / f"copy{attempt}"))
        start = forkserver.Barrier(2)
        processes = [started(forkserver.Process(target=collect_once, args=(one, lake, start))) for one in (root, copy)]
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0]
        assert in_lake(lake) == Counter(names)


@pytest.mark.parametrize("share", np.linspace(0.05, 0.95, 10).round(2).tolist())
def test_collector_killed_at_any_time_and_run_again_moves_every_row_once(
    share: float, forkserver: ForkServerContext, tmp_path: Path
) -> None:
    root, lake = tmp_path / "traffic", tmp_path / "lake"
    names = written(root, 60)
    process = started(forkserver.Process(target=collect_once, args=(root, lake)))
    process.join(share * 0.4)
    killed(process)
    assert FileTrafficLog(root, "race").arms(ROUTING)["1"].requests == len(names)
    collect_once(root, lake)
    assert in_lake(lake) == Counter(names)


def test_full_disk_of_the_lake_loses_nothing(forkserver: ForkServerContext, tmp_path: Path) -> None:
    root, lake, outcome = tmp_path / "traffic", tmp_path / "lake", forkserver.Queue()
    names = written(root, 10, rows=200)
    process = started(forkserver.Process(target=collect_with_full_disk, args=(root, lake, outcome)))
    assert outcome.get(timeout=60) != "moved"
    process.join()
    collect_once(root, lake)
    assert in_lake(lake) == Counter(names)
