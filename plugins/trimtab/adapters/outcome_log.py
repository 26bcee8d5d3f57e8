"""What clients say became of an answer: labels, corrections, overrides, retries and clicks, logged as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

OutcomeKind: TypeAlias = Literal["label", "correction", "override", "retry", "click"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One thing that is known about an answered request, or about one of its rows."""

    request_id: str
    row: int | None
    """Position in the request; None: all its rows."""
    kind: OutcomeKind
    value: float | str | None
    """Of a label, a correction or an override."""
    feedback_id: str = ""
    """The client's name of it: sent again under the same request, row and kind it is the same outcome."""


class OutcomeWriter:
    """Appends the outcomes of one model for one process. Threads may share it."""

    def __init__(self, folder: Path, model: str, worker: str, clock: Callable[[], datetime]) -> None:
        """Bind to `<folder>/<model>/outcomes`; the first file is made with the first outcome.

        Args:
            folder: Folder of all traffic logs.
            model: Name of the model.
            worker: Name of this process, unique among those that write at the same time.
            clock: Gives the present moment in UTC.
        """
        raise NotImplementedError

    def write(self, outcomes: Sequence[Outcome]) -> None:
        """Make all outcomes durable. One that is written again counts once.

        Raises:
            OSError: If the disk does not take them; then none of them is in the log.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Close the file; another write begins a new one."""
        raise NotImplementedError
