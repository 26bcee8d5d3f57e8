"""Rows of a request as the domain's columns, each with its key and its day."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.columns import Columns, row_keys, value_name
from trimtab.domain.row_types import is_text
from trimtab.domain.spec import DayFromColumn, DayFromParts, RowsSpec

Value: TypeAlias = float | str | None

YEAR = re.compile("[0-9]{4}")
MONTH = re.compile("0?[1-9]|1[0-2]")
DAY = re.compile("0?[1-9]|[12][0-9]|3[01]")
"""What a batch source takes as parts of a day, too."""
KNOWN_DAYS = 4096
"""Days whose form is remembered: rows that come together are mostly about the same few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Valid rows, of one request or of several."""

    columns: Columns
    """n values each."""
    keys: Sequence[str]
    days: Sequence[date | None]
    """Event day of each row; None where it cannot be read."""
    names: Sequence[tuple[str, int]]
    """Request of each row and its position there, by which log and outcomes know it."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.keys)

    def take(self, positions: NDArray[np.intp]) -> Columns:
        """The columns of some rows, as copies: feature code may do with them what it likes."""
        return {name: values[positions] for name, values in self.columns.items()}

    def only(self, positions: NDArray[np.intp]) -> "Rows":
        """Some of the rows, in their order."""
        kept = positions.tolist()
        return Rows(
            columns=self.take(positions),
            keys=[self.keys[position] for position in kept],
            days=[self.days[position] for position in kept],
            names=[self.names[position] for position in kept],
        )


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows of several batches of one model as one batch."""
    return Rows(
        columns={name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns},
        keys=[key for part in parts for key in part.keys],
        days=[day for part in parts for day in part.days],
        names=[name for part in parts for name in part.names],
    )


def as_rows(values: Sequence[Sequence[Value]], spec: RowsSpec, names: Sequence[tuple[str, int]] = ()) -> Rows:
    """Rows as columns; each row has its values in the order of `spec.columns`."""
    by_column = dict(zip(spec.columns, zip(*values, strict=True), strict=True))
    numeric = [name for name, kind in spec.columns.items() if not is_text(kind)]
    # All numbers at once: a call of NumPy costs more than the conversion of a row. What is missing becomes nan.
    numbers = iter(np.array([by_column[name] for name in numeric], dtype=np.float64))
    columns: Columns = {
        name: np.array(column, dtype=object) if is_text(spec.columns[name]) else next(numbers)
        for name, column in by_column.items()
    }
    return Rows(columns=columns, keys=row_keys(columns, spec.key).tolist(), days=_days(columns, spec), names=names)


def _days(columns: Columns, spec: RowsSpec) -> list[date | None]:
    how = spec.event_day
    parts = zip(*(columns[name].tolist() for name in spec.day_columns), strict=True)
    if isinstance(how, DayFromColumn):
        return [_parsed_day(value, how.format) for (value,) in parts]
    return [_day_of_parts(*values) for values in parts]


@lru_cache(maxsize=KNOWN_DAYS)
def _parsed_day(value: Value, form: str) -> date | None:
    try:
        return datetime.strptime(value_name(value), form).date()  # noqa: DTZ007  # a day in the model's own time
    except ValueError:
        return None


@lru_cache(maxsize=KNOWN_DAYS)
def _day_of_parts(*values: Value) -> date | None:
    # As text, because that is what the day is read from in a batch.
    year, month, day = map(value_name, values)
    if not (YEAR.fullmatch(year) and MONTH.fullmatch(month) and DAY.fullmatch(day)):
        return None
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def day_form(spec: RowsSpec) -> str:
    """What the event day must look like, for messages."""
    how = spec.event_day
    if isinstance(how, DayFromParts):
        return f"{how.year}, {how.month} and {how.day} must be a day of the calendar"
    return f"{how.column} must be a day in the form {how.format!r}"
