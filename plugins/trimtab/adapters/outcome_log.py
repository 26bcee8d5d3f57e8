"""What clients say became of an answer: labels, decisions, corrections and so on, durable as they arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.adapters.segment_files import SEGMENT_S, Clock, Line, SegmentFolder, SegmentWriter, parsed, whole_lines
from trimtab.domain.interaction import OutcomeKind
from trimtab.domain.ports import LogBatch, LogSink, Table

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "outcomes"
TABLE: Table = "outcomes"
COLUMNS = ("request_id", "row", "kind", "value", "feedback_id", "at", "_day")
"""Of the lake's `outcomes`. `_day` is the day of `at`, its arrival: the row's own day is known to its prediction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One thing that is known about an answered request, or about one of its rows."""

    request_id: str
    row: int | None
    """Position in the request; None: all its rows."""
    kind: OutcomeKind
    value: float | str | None
    """Of a label, a correction or an override: as the label's column would have it; of a decision: what was decided."""
    feedback_id: str = ""
    """The client's name of it. Of several under the same request, row, kind and name the last one counts."""


class OutcomeWriter:
    """Appends the outcomes of one model for one process. Threads may share it."""

    def __init__(self, folder: Path, model: str, worker: str, clock: Clock, *, segment_s: float = SEGMENT_S) -> None:
        """Bind to `<folder>/<model>/outcomes`; see `SegmentWriter` for the arguments."""
        self._segments = SegmentWriter(folder / model / FOLDER, worker, clock, segment_s=segment_s)

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Make all outcomes durable together. One that is written again counts once.

        Raises:
            OSError: If the disk does not take them; then none of them is in the log.
        """
        self._segments.write(outcomes)

    def close(self) -> None:
        """End the segment; another write begins a new one."""
        self._segments.close()


class FileOutcomeLog:
    """Reads the outcomes that all processes have written about one model."""

    def __init__(self, folder: Path, model: str) -> None:
        """Bind to the folder that the writers were given; it need not exist yet."""
        self._segments = SegmentFolder(folder / model / FOLDER)

    def batches(self, lake: LogSink) -> Iterator[LogBatch]:
        """Outcomes that are not in the lake yet, for the one collector that is at work."""
        for state, segments in self._segments.batches(partial(lake.last_number, TABLE)):
            lines = [line for segment in segments for line in parsed(whole_lines(segment), segment)]
            yield LogBatch(log=state.log, number=state.number, frames={TABLE: _frame(lines)})

    def pending(self) -> Mapping[Table, pd.DataFrame]:
        """Outcomes that may not be in the lake yet."""
        return {TABLE: _frame(list(self._segments.lines()))}


def _frame(lines: Sequence[Line]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415  # the prediction service has no use for it

    rows = []
    for line in lines:
        value = None if line["value"] is None else str(line["value"])
        rows.append({**line, "value": value, "_day": line["at"][:10]})
    return pd.DataFrame(rows, columns=[*COLUMNS]).astype({"row": "Int64"})
