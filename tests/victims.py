"""What runs in processes of its own, so that it can be killed, raced and starved."""

import faulthandler
import itertools
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from loops import EvenTraffic, Loop, days
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.adapters.traffic_log import FileTrafficLog, PredictedRow, TrafficWriter
from trimtab.domain.journal import Draft
from trimtab.domain.spec import StepSpec
from trimtab.errors import LedgerConflictError, TransitionError
from trimtab.stages import release as releasing
from trimtab.stages.collect import collect

DAY = date(2013, 1, 1)
HANGS_AFTER_SECONDS = 200
FIRST, LAST = date(2013, 1, 1), date(2013, 1, 28)
FIRST_TRAINING, SECOND_TRAINING = date(2013, 1, 18), date(2013, 1, 24)
WRITES: Mapping[str, Sequence[str]] = {
    "lake": ("write",),
    "ledger": ("append",),
    "registry": ("log_training", "log_evaluation", "register", "tag", "mirror"),
}


class Fuse:
    """Counts the moments between two writes, and ends the process at the n-th."""

    def __init__(self, at: int | None) -> None:
        self._at, self.count = at, 0

    def burn(self) -> None:
        self.count += 1
        if self.count == self._at:
            os.kill(os.getpid(), 9)


class Mined:
    """A port whose writes burn a fuse; the moment after one is the moment before the next."""

    def __init__(self, port: object, writes: Sequence[str], fuse: Fuse) -> None:
        self._port, self._writes, self._fuse = port, writes, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        return self._mined(found) if name in self._writes else found

    def _mined(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def mined(*args: Any, **kwargs: Any) -> Any:
            self._fuse.burn()
            return write(*args, **kwargs)

        return mined


def tick(loop: Loop, day: date, times: int = 1) -> None:
    """A day with all that is due on it: trainings, steps of a release, and the end of its baking."""
    for _ in range(times):
        loop.day(day)
    for _ in range(times):
        if day == FIRST_TRAINING:
            version, _ = loop.train(day, "first training") or ("", None)
            loop.approve(version, day, "first training")
            loop.go_live(version, day)
        if day == SECOND_TRAINING:
            version, _ = loop.train(day, "by hand") or ("", None)
            loop.approve(version, day, "by hand")
            loop.begin_step(version, day, 0)
            loop.begin_step(version, day, 1)
        if day == SECOND_TRAINING + timedelta(days=1):
            loop.go_live("2", day)
    for _ in range(times):
        loop.bake(day)


def run_loop(
    model: Path, root: Path, first: date, last: date, *, times: int = 1, kill_at: int | None = None, count: bool = False
) -> None:
    """Run days in this process; `count` leaves the number of moments at which it could be killed in a file."""
    faulthandler.dump_traceback_later(HANGS_AFTER_SECONDS, exit=True)
    loop = Loop(load_folder(model), root)
    fuse = Fuse(kill_at)
    for port, writes in WRITES.items():
        setattr(loop, port, Mined(getattr(loop, port), writes, fuse))
    for day in days(first, last):
        tick(loop, day, times)
    if count:
        (root / "moments").write_text(str(fuse.count))
    faulthandler.cancel_dump_traceback_later()


def frame(value: float, rows: int = 20_000) -> pd.DataFrame:
    return pd.DataFrame({"_key": [str(row) for row in range(rows)], "value": np.full(rows, value)})


def write_day(root: str, value: float, day: date, start: Any) -> None:
    """Write one value to all rows of a day, at the same time as another process."""
    lake = DeltaLake(root, "race")
    start.wait()
    lake.write("labels", day, frame(value))


def write_alone(root: str, day: date) -> None:
    DeltaLake(root, "race").write("labels", day, frame(0.0, rows=7))


def append_draft(url: str, actor: str, start: Any, outcome: Any) -> None:
    """Append after the head that both have seen."""
    ledger = SqlLedger(open_engine(url), "race")
    after = ledger.head("release")
    draft = Draft(stream="release", subject="1", kind="approved", as_of=DAY, payload={"actor": actor})
    start.wait()
    try:
        ledger.append(draft, after=after)
    except LedgerConflictError as error:
        outcome.put((actor, str(error)))
    else:
        outcome.put((actor, "won"))


def write_with_full_disk(root: str, outcome: Any) -> None:
    """Try to write with no byte left for any file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    try:
        DeltaLake(root, "race").write("labels", DAY, pd.DataFrame({"value": np.random.default_rng(0).random(20_000)}))
    except Exception as error:  # noqa: BLE001  # whichever way it fails
        outcome.put(type(error).__name__)
    else:
        outcome.put("written")


def append_with_full_disk(url: str, outcome: Any) -> None:
    """Try to append with no byte left for any file."""
    ledger = SqlLedger(open_engine(url), "race")
    after = ledger.head("release")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    try:
        ledger.append(
            Draft(stream="release", subject="1", kind="approved", as_of=DAY, payload={"why": "x" * 100_000}),
            after=after,
        )
    except Exception as error:  # noqa: BLE001  # whichever way it fails
        outcome.put(type(error).__name__)
    else:
        outcome.put("written")


def served_row(name: str) -> PredictedRow:
    return PredictedRow(
        request_id=name,
        key=name,
        day="2013-01-05",
        version="1",
        arm="champion",
        served=True,
        route=7,
        prediction=1.5,
        error=None,
        latency_ms=1.0,
        features={f"f{number}": number / 7 for number in range(11)},
    )


def now() -> datetime:
    return datetime.now(UTC)


def write_for_ever(root: Path, name: str, acknowledged: Path) -> None:
    """Log three rows at a time and acknowledge them to a pipe, in small segments, until the process is killed."""
    writer = TrafficWriter(root, "race", name, now, segment_bytes=50_000, segment_s=0.05)
    with acknowledged.open("wb", buffering=0) as pipe:
        for number in itertools.count():
            names = [f"{name}-{number}-{row}" for row in range(3)]
            writer.write([served_row(one) for one in names])
            pipe.write("".join(f"{one}\n" for one in names).encode())


def collect_once(root: Path, lake: Path, start: Any = None) -> None:
    """Move what is complete, perhaps at the same time as another process."""
    sink, logs = DeltaLake(str(lake), "race"), [FileTrafficLog(root, "race")]
    if start is not None:
        start.wait()
    collect(logs=logs, lake=sink)


def collect_for_ever(root: Path, lake: Path) -> None:
    while True:
        collect_once(root, lake)


def collect_with_full_disk(root: Path, lake: Path, outcome: Any) -> None:
    """Try to move with no byte left for any file of some size."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    try:
        collect_once(root, lake)
    except Exception as error:  # noqa: BLE001  # whichever way it fails
        outcome.put(type(error).__name__)
    else:
        outcome.put("moved")


class SilentRegistry:
    """A registry that nobody looks at."""

    def digest(self, version: str) -> str:
        return f"digest of {version}"

    def mirror(self, aliases: object) -> None: ...

    def tag(self, version: str, tags: object) -> None: ...


def race_release(url: str, root: str, move: str, start: Any, outcome: Any) -> None:
    """Make one of the moves of a release, at the same time as another process makes another."""
    registry: Any = SilentRegistry()
    ledger = SqlLedger(open_engine(url), "race")
    writes: dict[str, Any] = {"as_of": DAY, "ledger": ledger, "registry": registry}
    moves: Mapping[str, Callable[[], object]] = {
        "step": lambda: releasing.begin_step(
            "2", StepSpec(name="canary", share=0.5, requests=1), **writes, traffic=EvenTraffic()
        ),
        "rollback": lambda: releasing.roll_back("2", **writes, actor="ann", reason="worse"),
        "hold": lambda: releasing.hold_release("2", **writes, actor="ann", reason="lunch"),
        "request": lambda: releasing.request_release("3", **writes, reason="newer", second="replace"),
    }
    start.wait()
    try:
        moves[move]()
    except (LedgerConflictError, TransitionError) as error:
        outcome.put((move, type(error).__name__))
    else:
        outcome.put((move, "made"))
