"""Releases, rollbacks and new workers while the prediction service answers as much as it can; see `serving.py`."""

import json
import os
import signal
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from serving_stand import FOLDER, MODEL, Service, Stand, as_columns

from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.traffic_log import FileTrafficLog
from trimtab.domain.ports import Training
from trimtab.domain.release import routing
from trimtab.domain.spec import StepSpec
from trimtab.stages.release import (
    answer_release,
    begin_step,
    finish_release,
    go_live,
    request_release,
    roll_back,
    verify_rollback,
)

DAY = date(2013, 3, 1)
CONNECTIONS = 32
LONGEST_S = 3600
PAUSE_S = 2.0
"""Between two transitions, so that each has answers of its own."""
STEPS = (StepSpec(name="shadow", share=0.0, requests=1), StepSpec(name="canary_5", share=0.05, requests=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as its client saw it; times are of the clock."""

    sent: float
    received: float
    route: int


class Releases:
    """The stages of a release on the stores of a stand, with a registry in a folder."""

    def __init__(self, stand: Stand) -> None:
        """Register both versions, and make the first one champion with golden rows."""
        self.ledger = stand.ledger
        self.lake = DeltaLake(str(stand.path / "lake"), MODEL)
        self.traffic = FileTrafficLog(stand.path / "traffic", MODEL)
        self.registry = FolderRegistry(stand.path / "registry", MODEL)
        rows = as_columns(stand.frame.head(1000))
        self.lake.write("batches", DAY, pd.DataFrame({"_key": [f"flight {n}" for n in range(1000)], **rows}))
        for number, package in enumerate(stand.packages, 1):
            run = self.registry.log_training(_training(f"training {number}", package))
            self.registry.register(run.run_id, {})
        for version in ("2", "1"):
            self.release(version, "to begin with")
            finish_release(version, as_of=DAY, reasons=["to begin with"], **self._stores)

    @property
    def _stores(self) -> dict[str, Any]:
        return {"ledger": self.ledger, "registry": self.registry}

    def release(self, version: str, reason: str, pause_s: float = 0.0) -> int:
        """Through shadow and canary; the ledger sequence of the routing that it answers by when it is live."""
        request_release(version, as_of=DAY, reason=reason, **self._stores)
        answer_release(version, approved=True, actor="benchmark", comment=reason, as_of=DAY, **self._stores)
        for step in STEPS:
            begin_step(version, step, as_of=DAY, traffic=self.traffic, **self._stores)
            time.sleep(pause_s)
        stores = {**self._stores, "lake": self.lake, "rows": FOLDER.spec.rows, "traffic": self.traffic}
        go_live(version, as_of=DAY, reason=reason, **stores)
        return self.route

    def go_back(self, version: str) -> tuple[float, float]:
        """Roll back and compare golden rows; the clock times of the entry, and of the end of the comparison."""
        stores = {**self._stores, "as_of": DAY}
        roll_back(version, actor="benchmark", reason="a rollback under load", traffic=self.traffic, **stores)
        found = verify_rollback(version, lake=self.lake, rows=FOLDER.spec.rows, clock=_now, **stores)
        over = time.time()
        if found is None or not found.rows or found.agree < found.rows:
            raise SystemExit(f"the rollback is not what it should be: {found}")
        back = [entry for entry in self.ledger.entries("release", version) if entry.kind == "rolled_back"]
        return back[-1].recorded_at.timestamp(), over

    @property
    def route(self) -> int:
        """Ledger sequence of the routing that should be in force."""
        return routing(self.ledger.entries("release")).sequence


def release_under_load(stand: Stand, cycles: int, workers: int) -> None:
    """Print what clients saw of releases and rollbacks, and of workers that are replaced one by one."""
    releases = Releases(stand)
    file = stand.path / "answers"
    moments: list[tuple[int, float, float]] = []
    with stand.trimtab(workers) as service:
        service.until(f"trimtab_workers {workers}.0")
        load = service.loading(CONNECTIONS, LONGEST_S, answers=file)
        time.sleep(PAUSE_S)
        for cycle in range(cycles):
            route = releases.release("2", f"release {cycle}", PAUSE_S)
            time.sleep(PAUSE_S)
            moments.append((route, *releases.go_back("2")))
            time.sleep(PAUSE_S)
        if workers > 1:
            _replace(service, workers)
        load.terminate()
        report = json.loads(load.communicate()[0])
    answers = [_answer(line) for line in file.read_text().splitlines()]
    _print(answers, moments, report, workers)


def _replace(service: Service, workers: int) -> None:
    """End each worker by SIGTERM, and wait until another has taken its place."""
    for pid in service.workers():
        os.kill(pid, signal.SIGTERM)
        while Path("/proc", str(pid)).exists():
            time.sleep(0.1)
        service.until(f"trimtab_workers {workers}.0")
    time.sleep(PAUSE_S)


def _print(
    answers: Sequence[Answer], moments: Sequence[tuple[int, float, float]], report: dict[str, Any], workers: int
) -> None:
    statuses = report["statuses"]
    failed = sum(count for status, count in statuses.items() if status != "200")
    left = [max(one.received for one in answers if one.route == route) - entry for route, entry, _ in moments]
    verified = [over - entry for _, entry, over in moments]
    print(f"\n{workers} worker(s): {len(answers)} answers, {report['per_second']:.0f} /s, p99 {report['p99']:.0f} ms")
    print(f"  {len(moments)} releases through shadow and canary, as many rollbacks", end="")
    print(f", {workers} workers replaced" if workers > 1 else "")
    print(f"  failed requests: {failed} {statuses} {report['problem']}")
    print(f"  answers by a routing that another client had seen left before they were asked for: {_late(answers)}")
    print(f"  last answer by the version rolled back, s after the entry: {_shown(left)}")
    print(f"  golden rows compared, s after the entry: {_shown(verified)}")


def _late(answers: Sequence[Answer]) -> int:
    """Answers to requests sent after somebody had received an answer by a later routing."""
    events = [(one.sent, 1, one) for one in answers] + [(one.received, 0, one) for one in answers]
    newest, count = 0, 0
    for _, is_sent, one in sorted(events, key=lambda event: event[:2]):
        if is_sent:
            count += one.route < newest
        else:
            newest = max(newest, one.route)
    return count


def _shown(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.2f}, longest {max(seconds):.2f}"


def _answer(line: str) -> Answer:
    content = json.loads(line)
    return Answer(sent=content["sent"], received=content["received"], route=content["body"]["routing"])


def _training(training_id: str, package: Any) -> Training:
    return Training(
        training_id=training_id,
        candidate="benchmark",
        package=package,
        params={},
        metrics={},
        tags={},
        dataset=pd.DataFrame(),
        dataset_source="",
        example=pd.DataFrame(),
        figures={},
    )


def _now() -> datetime:
    return datetime.now(UTC)
