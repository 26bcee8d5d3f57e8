"""From the text columns of a file or table to the rows of one day."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trimtab.adapters.lookup_table import look_up
from trimtab.adapters.text_table import RAW_LENGTH, TextReader, TextTable
from trimtab.domain.ports import BrokenRow, RawBatch
from trimtab.domain.spec import DayFromColumn, DayFromParts, Lookup, RowsSpec
from trimtab.errors import BatchMissingError, DataContractError, listed

UNKNOWN_DAY = -1
MONTHS = [*(str(n) for n in range(1, 13)), *(f"{n:02d}" for n in range(1, 10))]
DAYS = [*(str(n) for n in range(1, 32)), *(f"{n:02d}" for n in range(1, 10))]


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
        keys = day_keys(table.columns, self._rows)
        if len(keys) and (keys == UNKNOWN_DAY).all():
            raise _wrong_date_form(table, self._rows)
        mask, broken = _split(table, keys, day)
        if not mask.any() and not broken:
            raise BatchMissingError(f"{table.name} has no row of {day}. Run this day again when its batch has arrived.")
        rows = _text_frame(table.columns.select(wanted).filter(pa.array(mask)))
        rows.insert(0, "_row", table.row[mask])
        for lookup, file in self._lookups:
            if set(lookup.take) & set(columns):
                rows = look_up(rows, lookup, file)
        return RawBatch(rows=rows, broken=broken)


def day_keys(columns: pa.Table, spec: RowsSpec) -> NDArray[np.int64]:
    """Each row's day as a number like 20130423, or -1 where it cannot be read."""
    how = spec.event_day
    if isinstance(how, DayFromColumn):
        texts = columns[how.column]
        moments = pc.strptime(texts, format=how.format, unit="s", error_is_null=True)
        keys = _number(pc.year(moments), pc.month(moments), pc.day(moments))
        return _without_overflow(keys, texts, how.format)
    return _from_parts(columns, how)


def _without_overflow(keys: NDArray[np.int64], texts: pa.ChunkedArray, form: str) -> NDArray[np.int64]:
    """Arrow reads 31 February as 3 March. Python is stricter, and slower, so it is asked about early days only."""
    early = pa.array((keys != UNKNOWN_DAY) & (keys % 100 <= 3))  # noqa: PLR2004  # no month is shorter by more
    wrong = [text for text in pc.unique(texts.filter(early)).to_pylist() if not _parses(text, form)]
    return np.where(np.asarray(pc.is_in(texts, value_set=pa.array(wrong, pa.string()))), UNKNOWN_DAY, keys)


def _parses(text: str, form: str) -> bool:
    try:
        datetime.strptime(text.strip(), form)  # noqa: DTZ007  # only whether it is a day
    except ValueError:
        return False
    return True


def _from_parts(columns: pa.Table, how: DayFromParts) -> NDArray[np.int64]:
    year = columns[how.year]
    year = pc.cast(pc.if_else(pc.match_substring_regex(year, r"^\d{4}$"), year, None), pa.int64())
    month, day = _position(columns[how.month], MONTHS, 12), _position(columns[how.day], DAYS, 31)
    return _number(year, month, day)


def _position(texts: pa.ChunkedArray, names: list[str], unpadded: int) -> pa.ChunkedArray:
    index = pc.index_in(texts, value_set=pa.array(names))
    return pc.add(pc.if_else(pc.less(index, unpadded), index, pc.subtract(index, unpadded)), 1)


def _number(year: pa.ChunkedArray, month: pa.ChunkedArray, day: pa.ChunkedArray) -> NDArray[np.int64]:
    parts = [pc.cast(part, pa.int64()) for part in (year, month, day)]
    number = pc.add(pc.add(pc.multiply(parts[0], 10_000), pc.multiply(parts[1], 100)), parts[2])
    keys = np.asarray(pc.fill_null(number, UNKNOWN_DAY))
    return np.where(np.isin(keys, [key for key in np.unique(keys) if not _is_day(int(key))]), UNKNOWN_DAY, keys)


def _is_day(key: int) -> bool:
    """Whether the calendar has that day: 20130231 is none."""
    try:
        date(key // 10_000, key // 100 % 100, key % 100)
    except ValueError:
        return False
    return True


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
    if len(known) == 0:
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


def _text_frame(columns: pa.Table) -> pd.DataFrame:
    return pd.DataFrame(
        {name: columns[name].to_numpy(zero_copy_only=False) for name in columns.column_names}, dtype=object
    )
