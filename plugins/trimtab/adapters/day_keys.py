"""The event day of each row of a text table."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trimtab.domain.spec import DayFromColumn, DayFromParts

UNKNOWN_DAY = -1
MONTHS = [*(str(n) for n in range(1, 13)), *(f"{n:02d}" for n in range(1, 10))]
DAYS = [*(str(n) for n in range(1, 32)), *(f"{n:02d}" for n in range(1, 10))]


def day_keys(columns: pa.Table, how: DayFromColumn | DayFromParts) -> NDArray[np.int64]:
    """Each row's day as a number like 20130423, or -1 where it cannot be read."""
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
