"""What the prediction service has answered: a line for each version's prediction of a row, durable before the answer.

Guards read the lines as they come. `trimtab.stages.collect` moves them into the lake, and what guards need of those
that have been moved stays behind as counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from pydantic import TypeAdapter
from pydantic_core import to_json

from trimtab.adapters.segment_files import (
    SEGMENT_BYTES,
    SEGMENT_S,
    Clock,
    Line,
    SegmentFolder,
    SegmentWriter,
    Summary,
    parsed,
    whole_lines,
)
from trimtab.domain.automation import Decider, Level
from trimtab.domain.explanation import Effects
from trimtab.domain.feature_code import FeatureValue
from trimtab.domain.guards import ArmTraffic
from trimtab.domain.latency import latency_bin
from trimtab.domain.ports import LogBatch, LogSink, Table
from trimtab.domain.release import Routing
from trimtab.domain.sequential import Moments

if TYPE_CHECKING:
    import pandas as pd

LoggedArm: TypeAlias = Literal["champion", "challenger", "shadow"]

PREDICTION_COLUMNS = (
    *("request_id", "row", "_key", "version", "arm", "served", "route", "prediction", "at"),
    *("decided_by", "level", "effects"),
)
"""Of the lake's `predictions`, part `online`: a row for each prediction that did not fail."""
SERVED_COLUMNS = ("request_id", "row", "_key", "version", "arm", "route", "features", "error", "latency_ms", "at")
"""Of the lake's `served`: every line, with the features as JSON, since each version has its own."""
THOUSANDTHS = 1000
KEPT_ROUTINGS = 16
"""Routings whose counts stay behind. Guards ask for the one in force; late lines may follow the one before."""


@dataclass(slots=True, kw_only=True)
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
    """Whether this prediction is the one that counts for the row; a person who decides may not have seen it."""
    route: int
    """Ledger sequence of the routing that it followed."""
    prediction: float | None
    """None: it failed."""
    error: str | None
    latency_ms: float
    """Milliseconds of the whole call of the version, whatever its number of rows."""
    row: int = 0
    """Position in the request, which outcomes name it by."""
    features: Mapping[str, FeatureValue] = field(default_factory=dict)
    """As that version saw them, of `trimtab.domain.feature_code.feature_rows`; empty: they could not be computed."""
    decided_by: Decider = "model"
    level: Level = "full"
    """Of automation, that held for the row."""
    effects: Effects = ()
    """Why the version proposes what it does, if a person saw that."""


class TrafficWriter:
    """Appends the rows of one model for one process. Threads may share it."""

    def __init__(
        self,
        folder: Path,
        model: str,
        worker: str,
        clock: Clock,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_s: float = SEGMENT_S,
    ) -> None:
        """Bind to `<folder>/<model>`; see `SegmentWriter` for the other arguments."""
        self._segments = SegmentWriter(folder / model, worker, clock, segment_bytes=segment_bytes, segment_s=segment_s)

    def write(self, rows: Sequence[PredictedRow]) -> None:
        """Make all rows durable together; a call costs a sync of the disk, so write what is answered together.

        Raises:
            OSError: If the disk does not take them; then none of them is in the log.
        """
        self._segments.write(rows)

    def close(self) -> None:
        """End the segment; another write begins a new one."""
        self._segments.close()


_CALL = ("version", "arm", "at", "latency_ms")
"""What the lines of one call have in common; they stand together."""
Arms: TypeAlias = Mapping[str, ArmTraffic]
"""Traffic by version."""
_arms_json = TypeAdapter(dict[str, ArmTraffic])


class _Tally:
    """Lines of one routing by version."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._latencies: dict[str, Counter[int]] = {}
        self._outputs: dict[str, list[float]] = {}
        self._call: Line = {}
        self._taken_over: set[tuple[str, int]] = set()

    def add(self, line: Line) -> None:
        """Count the next line of a segment. A row that the champion took over is none of its own."""
        version, place = line["version"], (line["request_id"], line.get("row", 0))
        if line["arm"] == "champion" and place in self._taken_over:
            return
        if line["arm"] == "challenger" and line["prediction"] is None:
            self._taken_over.add(place)
        self._requests[version] += 1
        self._add_output(version, line["prediction"])
        if any(line[name] != self._call.get(name) for name in _CALL):
            self._latencies.setdefault(version, Counter())[latency_bin(line["latency_ms"])] += 1
        self._call = line

    def _add_output(self, version: str, prediction: float | None) -> None:
        if prediction is None:
            self._failures[version] += 1
        else:
            self._outputs.setdefault(version, []).append(prediction)

    @property
    def arms(self) -> Mapping[str, ArmTraffic]:
        """What has been counted of each version."""
        return {
            version: ArmTraffic(
                requests=requests,
                failures=self._failures[version],
                latencies=self._latencies[version],
                outputs=Moments.of(np.array(self._outputs.get(version, []))),
            )
            for version, requests in self._requests.items()
        }


@dataclass(slots=True)
class _Seen:
    """What has been read of one segment."""

    offset: int = 0
    tally: _Tally = field(default_factory=_Tally)


class FileTrafficLog:
    """Reads what all processes have written about one model. Polling costs the lines that are new."""

    def __init__(self, folder: Path, model: str) -> None:
        """Bind to the folder that the writers were given; it need not exist yet."""
        self._segments = SegmentFolder(folder / model)
        self._route = -1
        self._seen: dict[str, _Seen] = {}

    def arms(self, routing: Routing) -> Arms:
        """Traffic of each version under that routing, whether it is in the lake yet or not."""
        if self._route != routing.sequence:
            self._route, self._seen = routing.sequence, {}
        while True:
            before = self._segments.collected
            try:
                self._read_on(before.segments if before else ())
            except FileNotFoundError:
                continue  # it was moved meanwhile
            # Otherwise a batch was begun meanwhile: what was seen in its segments is now in the summary, too.
            if self._segments.collected == before:
                moved = before.summary.get(str(self._route), {}) if before else {}
                return _together(_arms_json.validate_python(moved), *(seen.tally.arms for seen in self._seen.values()))

    def count(self, routing: Routing) -> int:
        """Rows that the version under test has predicted under that routing; cheap enough for a trigger."""
        return self.arms(routing).get(routing.challenger or "", ArmTraffic()).requests

    def batches(self, lake: LogSink) -> Iterator[LogBatch]:
        """Rows that are not in the lake yet, for the one collector that is at work."""
        for state, segments in self._segments.batches(partial(lake.last_number, "served"), _summarize):
            lines = [line for segment in segments for line in parsed(whole_lines(segment), segment)]
            yield LogBatch(log=state.log, number=state.number, frames=_frames(lines))

    def pending(self) -> Mapping[Table, pd.DataFrame]:
        """Rows that may not be in the lake yet."""
        return _frames(list(self._segments.lines()))

    def _read_on(self, moved: Collection[str]) -> None:
        here = [segment for segment in self._segments.segments if segment.name not in moved]
        self._seen = {segment.name: self._seen.get(segment.name, _Seen()) for segment in here}
        for segment in here:
            seen = self._seen[segment.name]
            lines = whole_lines(segment, seen.offset)
            for line in parsed(lines, segment, f'"route":{self._route},'):
                if line["route"] == self._route:
                    seen.tally.add(line)
            seen.offset += len(lines)


def _together(*parts: Arms) -> Arms:
    whole: dict[str, ArmTraffic] = {}
    for part in parts:
        for version, arm in part.items():
            whole[version] = _sum(whole.get(version, ArmTraffic()), arm)
    return whole


def _sum(one: ArmTraffic, other: ArmTraffic) -> ArmTraffic:
    return ArmTraffic(
        requests=one.requests + other.requests,
        failures=one.failures + other.failures,
        latencies=Counter(one.latencies) + Counter(other.latencies),
        outputs=one.outputs + other.outputs,
    )


def _summarize(before: Summary, segments: Sequence[Path]) -> Summary:
    """Traffic by routing and version, with that of more segments, for the latest routings."""
    tallies: dict[int, _Tally] = {}
    for segment in segments:
        for line in parsed(whole_lines(segment), segment):
            tallies.setdefault(line["route"], _Tally()).add(line)
    routes = sorted({*map(int, before), *tallies})[-KEPT_ROUTINGS:]
    return {str(route): _both(before.get(str(route), {}), tallies.get(route)) for route in routes}


def _both(before: Mapping[str, Any], tally: _Tally | None) -> Any:
    arms = _together(_arms_json.validate_python(before), tally.arms if tally else {})
    return _arms_json.dump_python({**arms}, mode="json")


def _frames(lines: Sequence[Line]) -> Mapping[Any, pd.DataFrame]:
    import pandas as pd  # noqa: PLC0415  # a trigger counts lines and need not pay for it

    rows = [
        {
            **line,
            "_key": line["key"],
            "_day": line["day"],
            "row": line.get("row", 0),
            "features": to_json(line.get("features", {})).decode(),
            # A line of a service that did not know of levels.
            "decided_by": line.get("decided_by", "model"),
            "level": line.get("level", "full"),
            "effects": to_json(line["effects"]).decode() if line.get("effects") else None,
        }
        for line in lines
    ]
    whole = pd.DataFrame(rows, columns=["_day", *dict.fromkeys([*PREDICTION_COLUMNS, *SERVED_COLUMNS])])
    predicted = whole["prediction"].notna()
    return {  # `served` first: it has rows in every batch, and its number is that of the log
        "served": whole[["_day", *SERVED_COLUMNS]].astype({"latency_ms": "float64"}),
        "predictions": whole.loc[predicted, ["_day", *PREDICTION_COLUMNS]].astype({"prediction": "float64"}),
    }
