"""From the text columns of a file or table to the rows of one day."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from trimtab.adapters.day_keys import UNKNOWN_DAY, day_keys
from trimtab.adapters.lookup_table import look_up
from trimtab.adapters.text_table import RAW_LENGTH, TextReader, TextTable
from trimtab.domain.ports import BrokenRow, RawBatch
from trimtab.domain.spec import DayFromColumn, Lookup, RowsSpec
from trimtab.errors import BatchMissingError, DataContractError, listed


class DayRows:
    """A source of daily batches on any reader."""

    def __init__(self, reader: TextReader, rows: RowsSpec, lookups: Sequence[tuple[Lookup, Path]] = ()) -> None:
        """Bind a reader to what the spec says about rows; `lookups` come with their files."""
        self._reader, self._rows, self._lookups = reader, rows, lookups

    def is_ready(self, day: date) -> bool:
        """Whether the file or table is there."""
        return self._reader.is_ready(day)

    def read(self, day: date, columns: Sequence[str]) -> RawBatch:
        """Rows of one day; `columns` are needed beside those that tell the day."""
        looked_up = self._rows.looked_up
        wanted = [*dict.fromkeys(name for name in (*columns, *self._rows.day_columns) if name not in looked_up)]
        table = self._reader.read(day, wanted)
        _require_columns(table, wanted)
        keys = day_keys(table.columns, self._rows.event_day) if table.day is None else table.day
        if len(keys) and (keys == UNKNOWN_DAY).all():
            raise _wrong_date_form(table, self._rows)
        mask, broken = _split(table, keys, day)
        if not mask.any() and not broken:
            raise BatchMissingError(f"{table.name} has no row of {day}. Run this day again when its batch has arrived.")
        rows = _text_frame(_chosen(table.columns.select(wanted), mask))
        rows.insert(0, "_row", table.row[mask])
        for lookup, file in self._lookups:
            if set(lookup.take) & set(columns):
                rows = look_up(rows, lookup, file)
        return RawBatch(rows=rows, broken=broken)


def _split(table: TextTable, keys: NDArray[np.int64], day: date) -> tuple[NDArray[np.bool_], list[BrokenRow]]:
    """Rows of the day, and broken rows that belong to it: those that stand behind a row of the day."""
    wanted = day.year * 10_000 + day.month * 100 + day.day
    mask = keys == wanted
    unreadable = keys == UNKNOWN_DAY
    strangers = ~mask if table.only_this_day else unreadable & (_filled(keys) == wanted)
    broken = [
        BrokenRow(
            row=int(table.row[index]), reason=_day_problem(int(keys[index]), day), raw=_raw(table.columns, int(index))
        )
        for index in np.flatnonzero(strangers)
    ]
    broken += [row for row in table.broken if table.only_this_day or _day_before(table.row, keys, row.row) == wanted]
    return mask, sorted(broken, key=lambda row: row.row)


def _filled(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Unknown days replaced by that of the row before (of the first known one at the top)."""
    known = np.flatnonzero(keys != UNKNOWN_DAY)
    if len(known) in (0, len(keys)):
        return keys
    before = np.searchsorted(known, np.arange(len(keys)), side="right") - 1
    return keys[known[np.maximum(before, 0)]]


def _day_before(rows: NDArray[np.int64], keys: NDArray[np.int64], row: int) -> int:
    if len(keys) == 0:
        return UNKNOWN_DAY
    index = max(int(np.searchsorted(rows, row)) - 1, 0)
    return int(_filled(keys)[index])


def _day_problem(key: int, day: date) -> str:
    if key == UNKNOWN_DAY:
        return "its day cannot be read"
    return f"it is of {key // 10_000}-{key // 100 % 100:02d}-{key % 100:02d} and stands in the batch of {day}"


def _raw(columns: pa.Table, index: int) -> str:
    values = {name: columns[name][index].as_py() for name in columns.column_names}
    return str(values)[:RAW_LENGTH]


def _require_columns(table: TextTable, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in table.columns.column_names]
    if missing:
        there = table.header or table.columns.column_names
        raise DataContractError(
            f"{table.name} has no column {listed(missing)}. It has {', '.join(_bounded(there))}. "
            "If the source has renamed it, change rows.columns or label.column in model.yaml."
        )


def _bounded(names: Sequence[str]) -> Iterator[str]:
    yield from names[:40]
    if len(names) > 40:  # noqa: PLR2004  # a readable message
        yield f"and {len(names) - 40} more"


def _wrong_date_form(table: TextTable, spec: RowsSpec) -> DataContractError:
    how = spec.event_day
    expected = how.format if isinstance(how, DayFromColumn) else "a year of four digits, a month and a day"
    example = {name: table.columns[name][0].as_py() for name in spec.day_columns}
    return DataContractError(
        f"{table.name}: no row has its day in the form {expected!r}. The first row has {example}. "
        "Mend the source, or change rows.event_day in model.yaml."
    )


def _chosen(columns: pa.Table, mask: NDArray[np.bool_]) -> pa.Table:
    """Rows under the mask; the usual file holds a day in one piece, which need not be copied."""
    places = np.flatnonzero(mask)
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return columns.slice(int(places[0]), len(places))
    return columns.filter(pa.array(mask))


def _text_frame(columns: pa.Table) -> pd.DataFrame:
    return pd.DataFrame(
        {name: columns[name].to_numpy(zero_copy_only=False) for name in columns.column_names}, dtype=object
    )
