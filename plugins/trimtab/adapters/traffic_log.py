"""What the prediction service has answered: JSON lines that one process appends and others read.

A line is in the file before its answer leaves the service. A process that is killed leaves at most one line without
its end, which every reader passes over; the next process writes a file of its own.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from trimtab.domain.columns import Column, Columns
from trimtab.domain.release import ArmTraffic, Routing

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

FeatureValue: TypeAlias = "float | str | None"
LoggedArm: TypeAlias = Literal["champion", "challenger", "shadow"]
Clock: TypeAlias = Callable[[], datetime]

SEGMENT_BYTES = 64 * 2**20
"""A file that has grown to this is followed by a new one, so that old ones can be moved away."""
COLUMNS = ("request_id", "key", "version", "arm", "served", "route", "prediction")
"""Of the lake's table `predictions`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedRow:
    """One version's prediction for one row, or its failure."""

    request_id: str
    key: str
    day: str
    """ISO day that the row belongs to."""
    version: str
    arm: LoggedArm
    """`shadow`: predicted beside the answer and never shown."""
    served: bool
    """Whether this prediction is the one that was answered."""
    route: int
    """Ledger sequence of the routing that it followed."""
    prediction: float | None
    """None: it failed."""
    error: str | None
    latency_ms: float
    """Milliseconds of the whole call of the version, whatever its number of rows."""
    features: Mapping[str, FeatureValue] = field(default_factory=dict)
    """As that version saw them, in its order; see `feature_rows`. Empty: they could not be computed."""


def feature_rows(features: Columns) -> list[Mapping[str, FeatureValue]]:
    """Features (n each) row by row (n), in values that JSON has: nan is None, an infinite number a text."""
    columns = [_plain_values(values) for values in features.values()]
    return [dict(zip(features, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain_values(values: Column) -> list[FeatureValue]:
    return [_plain(value) for value in values.tolist()]


def _plain(value: object) -> FeatureValue:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        if math.isfinite(value):
            return float(value)
        return None if math.isnan(value) else str(value)
    return str(value)


class TrafficWriter:
    """Appends the rows of one model for one process. Threads may share it."""

    def __init__(
        self, folder: Path, model: str, worker: str, clock: Clock, *, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Bind to `<folder>/<model>`; the first file is made with the first row.

        Args:
            folder: Folder of all traffic logs.
            model: Name of the model.
            worker: Name of this process, unique among those that write at the same time.
            clock: Gives the present moment in UTC.
            segment_bytes: Size at which a new file begins.
        """
        self._folder, self._worker, self._clock = folder / model, worker, clock
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0

    def write(self, rows: Sequence[PredictedRow]) -> None:
        """Hand all rows to the operating system in one call.

        Raises:
            OSError: If the disk does not take them; then none of them is in the log.
        """
        if not rows:
            return
        at = self._clock().isoformat(timespec="milliseconds")
        data = b"".join(_line(row, at) for row in rows)
        with self._lock:
            if self._size >= self._segment_bytes:
                self._close()
            if self._file is None:
                self._file = self._open()
            self._append(self._file, data)

    def close(self) -> None:
        """Close the file; another write begins a new one."""
        with self._lock:
            self._close()

    def _append(self, file: int, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
        except OSError:
            # A full disk takes a part of the bytes; half a line must not meet the next one.
            os.ftruncate(file, self._size)
            self._close()
            raise
        self._size += len(data)

    def _open(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        started = self._clock().strftime("%Y%m%dT%H%M%S%f")
        for number in range(1000):
            name = f"{self._worker}-{started}{f'-{number}' if number else ''}.jsonl"
            try:
                return os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
            except FileExistsError:
                continue
        raise FileExistsError(f"{self._folder} has 1,000 files of {self._worker} that began at {started}.")

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._size = None, 0


def _line(row: PredictedRow, at: str) -> bytes:
    values = {name: getattr(row, name) for name in PredictedRow.__dataclass_fields__}
    if not row.features:
        del values["features"]
    return json.dumps({**values, "at": at}, separators=(",", ":"), allow_nan=False).encode() + b"\n"


@dataclass(slots=True)
class _Tally:
    """Lines of one routing so far."""

    route: int
    offsets: dict[Path, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    latencies: dict[str, array[float]] = field(default_factory=dict)

    def add(self, line: Mapping[str, object]) -> None:
        version, latency = str(line["version"]), line["latency_ms"]
        self.failures[version] = self.failures.get(version, 0) + (line["prediction"] is None)
        self.latencies.setdefault(version, array("d")).append(float(str(latency)))

    def traffic(self) -> dict[str, ArmTraffic]:
        return {
            version: ArmTraffic(
                requests=len(latencies), failures=self.failures[version], latency_ms_p50=float(np.median(latencies))
            )
            for version, latencies in self.latencies.items()
        }


class FileTrafficLog:
    """Reads what all processes have written about one model. Polling costs the lines that are new."""

    def __init__(self, folder: Path, model: str) -> None:
        """Bind to the folder that the writers were given; it need not exist yet."""
        self._folder = folder / model
        self._tally = _Tally(route=-1)

    def arms(self, routing: Routing) -> Mapping[str, ArmTraffic]:
        """Traffic of each version under that routing; a request is a row."""
        if self._tally.route != routing.sequence:
            self._tally = _Tally(route=routing.sequence)
        tally = self._tally
        for file in self._segments():
            lines, tally.offsets[file] = _whole_lines(file, tally.offsets.get(file, 0))
            for line in _parsed(lines, f'"route":{routing.sequence},', file):
                tally.add(line)
        return tally.traffic()

    def count(self, routing: Routing) -> int:
        """Rows that the version under test has predicted under that routing; cheap enough for a trigger."""
        return self.arms(routing).get(routing.challenger or "", ArmTraffic()).requests

    def predictions(self, day: date) -> pd.DataFrame:
        """Predictions for rows of that event day, failures left out, by file and line."""
        import pandas as pd  # noqa: PLC0415  # a trigger counts lines and need not pay for it

        rows = [
            [line[name] for name in COLUMNS]
            for file in self._segments()
            for line in _parsed(_whole_lines(file, 0)[0], f'"day":"{day.isoformat()}"', file)
            if line["prediction"] is not None
        ]
        frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
        return frame.astype({"served": bool, "route": np.int64, "prediction": np.float64})

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.jsonl"))


def _whole_lines(file: Path, start: int) -> tuple[bytes, int]:
    """Bytes from `start` to the end of the last whole line, and where that is."""
    with file.open("rb") as stream:
        stream.seek(start)
        data = stream.read()
    whole = data[: data.rfind(b"\n") + 1]
    return whole, start + len(whole)


def _parsed(lines: bytes, mark: str, file: Path) -> Iterator[Mapping[str, object]]:
    """The lines with that field, found as bytes, which spares parsing the others.

    A text cannot be taken for a field: JSON writes its quotes with a backslash.
    """
    wanted = mark.encode()
    if wanted not in lines:
        return
    for line in lines.split(b"\n"):
        if wanted not in line:
            continue
        try:
            parsed = json.loads(line)
        except ValueError:
            logger.warning("%s has a line that is not JSON; it is left out: %r", file, line[:80])
            continue
        yield parsed
