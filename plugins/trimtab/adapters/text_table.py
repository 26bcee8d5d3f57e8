"""What every reader of a source gives: columns as text, and what could not be split into columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trimtab.domain.ports import BrokenRow

RAW_LENGTH = 2000
"""Characters of a broken row that are kept."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """What a reader found: columns as text, and rows that could not be split into columns."""

    name: str
    """For messages: the file or the query."""
    columns: pa.Table
    row: NDArray[np.int64]
    """Position in the source of each row of `columns`, from 0."""
    broken: Sequence[BrokenRow]
    only_this_day: bool
    """Whether all rows ought to be of the day that was asked for."""
    header: Sequence[str] = ()
    """All columns that the source has, for messages; empty: no others than `columns`."""
    day: NDArray[np.int64] | None = None
    """Day of each row as `day_keys` gives it, where the reader has kept it."""


class TextReader(Protocol):
    """Reads one kind of source."""

    def is_ready(self, day: date) -> bool:
        """Whether the file or table is there."""
        ...

    def read(self, day: date, columns: Sequence[str]) -> TextTable:
        """The rows that may belong to the day, with at least these columns if the source has them."""
        ...
