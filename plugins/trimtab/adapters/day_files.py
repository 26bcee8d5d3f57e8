"""Rows of a replay's policy: a file for each table, day and part, which one process writes and reads again at once.

A Delta table keeps every version and lets writers race. A policy needs neither, and a year of days opens its tables
some thousand times: there a file a day is quicker by far.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow as pa

from trimtab.domain.ports import Table

KEPT_OPEN = 512
"""Files whose rows stay mapped: judging looks back on some months of days."""
PARTITIONS = ("_day", "_part")


class DayFiles:
    """Rows under `<root>/<table>/<day>/<part>.arrow`."""

    def __init__(self, root: Path) -> None:
        """Bind to a folder, which need not exist."""
        self._root = root
        self._mapped = lru_cache(maxsize=KEPT_OPEN)(_map)

    def write(self, table: Table, day: date, frame: pd.DataFrame, part: str) -> None:
        """Make `frame` the whole content of this day and part, at once or not at all."""
        file = self._root / table / day.isoformat() / f"{part}.arrow"
        if not len(frame):
            file.unlink(missing_ok=True)
            return
        columns = {name: frame[name] for name in frame.columns if name not in PARTITIONS}
        rows = pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False).replace_schema_metadata(None)
        rows = pa.table([_plain(column) for column in rows.columns], names=rows.column_names)
        for name, value in zip(PARTITIONS, (day.isoformat(), part), strict=True):
            rows = rows.append_column(name, pa.array([value] * len(frame), pa.string()))
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".draft")
        with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        draft.replace(file)

    def read(
        self, table: Table, first: date, last: date, *, columns: Sequence[str] | None, part: str | None
    ) -> pd.DataFrame:
        """Rows of the days first to last by day and part, in the order they were written."""
        found = [self._mapped(file, file.stat().st_mtime_ns) for file in self._files(table, first, last, part)]
        if not found:
            return pd.DataFrame()
        rows = pa.concat_tables(found, promote_options="permissive")
        frame: pd.DataFrame = rows.select(columns if columns is not None else rows.column_names).to_pandas()
        return frame

    def days(self, table: Table) -> Sequence[date]:
        """Days that have rows, ascending."""
        folder = self._root / table
        days = [one.name for one in folder.iterdir() if any(one.glob("*.arrow"))] if folder.is_dir() else []
        return sorted(map(date.fromisoformat, days))

    def _files(self, table: Table, first: date, last: date, part: str | None) -> Iterator[Path]:
        folder = self._root / table
        names = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
        for name in names:
            if first.isoformat() <= name <= last.isoformat():
                yield from sorted((folder / name).glob(f"{part or '*'}.arrow"))


def _map(file: Path, _state: int) -> pa.Table:
    """The rows of a file in one state."""
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """What is all missing is a text, as in the lake."""
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column
