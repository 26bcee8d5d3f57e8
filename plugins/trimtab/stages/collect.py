"""Move what the prediction service has written down into the lake, each row once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.domain.ports import CollectableLog, LogSink, Table

ONLINE = "online"
"""Part of the lake's tables that holds what the prediction service has written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectResult:
    """What was moved."""

    batches: int
    rows: Mapping[Table, int]
    """By table; a batch that an earlier try had brought into the lake counts again."""


def collect(*, logs: Sequence[CollectableLog], lake: LogSink) -> CollectResult:
    """Move all that is complete in the logs; killed at any moment and run again, it leaves the same rows."""
    batches, rows = 0, Counter[Table]()
    for log in logs:
        for batch in log.batches(lake):
            batches += 1
            for table, frame in batch.frames.items():
                lake.append(table, frame, ONLINE, log=batch.log, number=batch.number)
                rows[table] += len(frame)
    return CollectResult(batches=batches, rows=dict(rows))
