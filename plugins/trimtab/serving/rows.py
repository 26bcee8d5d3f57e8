"""Rows of a request as the domain's columns, each with its key and its day."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.columns import Column, Columns, row_keys
from trimtab.domain.row_types import is_text
from trimtab.domain.spec import ColumnType, DayFromColumn, DayFromParts, RowsSpec

Value: TypeAlias = float | str | None

YEAR = re.compile("[0-9]{4}")
MONTH = re.compile("0?[1-9]|1[0-2]")
DAY = re.compile("0?[1-9]|[12][0-9]|3[01]")
"""What a batch source takes as parts of a day, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Valid rows of one request."""

    columns: Columns
    """n values each."""
    keys: Sequence[str]
    days: Sequence[date | None]
    """Event day of each row; None where it cannot be read."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.keys)

    def take(self, positions: NDArray[np.intp]) -> Columns:
        """The columns of some rows."""
        return {name: values[positions] for name, values in self.columns.items()}


def as_rows(values: Sequence[Sequence[Value]], spec: RowsSpec) -> Rows:
    """Rows as columns; each row has its values in the order of `spec.columns`."""
    by_column = zip(*values, strict=True)
    columns = {
        name: _column(column, kind) for (name, kind), column in zip(spec.columns.items(), by_column, strict=True)
    }
    return Rows(columns=columns, keys=row_keys(columns, spec.key).tolist(), days=_days(columns, spec))


def _column(values: Sequence[Value], kind: ColumnType) -> Column:
    if is_text(kind):
        return np.array(values, dtype=object)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _days(columns: Columns, spec: RowsSpec) -> list[date | None]:
    # As text, because that is what the day is read from in a batch.
    texts = [row_keys(columns, (name,)).tolist() for name in spec.day_columns]
    how = spec.event_day
    if isinstance(how, DayFromColumn):
        return [_parsed_day(text, how.format) for text in texts[0]]
    return [_day_of_parts(*parts) for parts in zip(*texts, strict=True)]


def _parsed_day(text: str, form: str) -> date | None:
    try:
        return datetime.strptime(text, form).date()  # noqa: DTZ007  # a day in the model's own time
    except ValueError:
        return None


def _day_of_parts(year: str, month: str, day: str) -> date | None:
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
