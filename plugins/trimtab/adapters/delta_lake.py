"""The lake on Delta tables: one table per model and kind of row, partitioned by day and part."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from types import MappingProxyType

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from trimtab.domain.ports import Table
from trimtab.errors import NotFoundError

PARTITIONS = ["_day", "_part"]
ATTEMPTS = 5
"""Commits that are tried while other writers are quicker."""
COMMITS_TO_COMPACT = 32
"""Small files that a day gathers at most, from a log that is emptied all the time, before they become one."""
UNVERSIONED: frozenset[Table] = frozenset({"served"})
"""Tables of which no model names a version: what is no longer part of them is deleted."""
KEPT_HOURS = 168
"""After which it is: a reader may have begun before."""
ORDER = "_order"
"""Position of a row within its day and part, so that a read gives the rows as they were written."""


class DeltaLake:
    """Rows of one model under `<uri>/<model>/<table>`."""

    def __init__(self, uri: str, model: str) -> None:
        """Bind to a folder or object-store URI; nothing is read or written yet."""
        self._root = f"{uri.rstrip('/')}/{model}"

    def write(self, table: Table, day: date, frame: pd.DataFrame, part: str = "all") -> None:
        """Replace the content of one day and part in one atomic commit; an equal content leaves no commit.

        Of two writers of one day and part at the same time the later one wins.
        """
        content = _as_arrow(frame, day.isoformat(), part)
        _persist(lambda: self._replace(table, day, content, part))

    def append(self, table: Table, rows: pd.DataFrame, part: str, *, log: str, number: int) -> None:
        """Add rows to their days in one commit, which notes log and number; with the same note it is made once.

        The note is Delta's transaction identifier (protocol, "Transaction Identifiers"): of two writers that bring the
        same one at the same time, the table takes the first and refuses the second.
        """
        if len(rows):
            content = _as_arrow(rows, rows["_day"].tolist(), part, number * 2**32)
            _persist(lambda: self._add(table, content, log, number))

    def last_number(self, table: Table, log: str) -> int:
        """Number of the last batch that the log has added to the table."""
        existing = self._open(table)
        return 0 if existing is None else _last_number(existing, log)

    def _add(self, table: Table, content: pa.Table, log: str, number: int) -> None:
        existing = self._open(table) or self._create(table, content.schema)
        before = existing.version()
        if _last_number(existing, log) < number:
            write_deltalake(
                existing,
                content,
                mode="append",
                schema_mode="merge",
                writer_properties=_WRITER,
                commit_properties=CommitProperties(app_transactions=[Transaction(log, number)]),
            )
            if existing.version() // COMMITS_TO_COMPACT > before // COMMITS_TO_COMPACT:
                _compact(existing, is_cleared=table in UNVERSIONED)

    def _replace(self, table: Table, day: date, content: pa.Table, part: str) -> None:
        existing = self._open(table)
        if existing is None:
            if not content.num_rows:
                return
            existing = self._create(table, content.schema)
        old = _read(existing, day, day, None, part)
        if _same(old, content):
            return
        predicate = f"_day = '{day.isoformat()}' AND _part = '{part}'"
        if content.num_rows == 0:
            existing.delete(predicate)
            return
        write_deltalake(
            existing, content, mode="overwrite", predicate=predicate, schema_mode="merge", writer_properties=_WRITER
        )

    def read(
        self,
        table: Table,
        first: date,
        last: date,
        *,
        columns: Sequence[str] | None = None,
        part: str | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        """Rows of the days first to last in the order they were written; `_day` is an ISO text.

        Raises:
            NotFoundError: If the table exists without that version.
        """
        existing = self._open(table, version)
        if existing is None:
            return pd.DataFrame()
        rows = _read(existing, first, last, columns, part)
        rows = rows.sort_by([(name, "ascending") for name in (*PARTITIONS, ORDER)])
        keep = columns if columns is not None else [name for name in rows.column_names if name != ORDER]
        frame: pd.DataFrame = rows.select(keep).to_pandas()
        return frame

    def days(self, table: Table) -> Sequence[date]:
        """Days that have rows, read from the table's log alone."""
        existing = self._open(table)
        if existing is None:
            return []
        return sorted({date.fromisoformat(part["_day"]) for part in existing.partitions()})

    def version(self, table: Table) -> int:
        """Version of the table; -1 if it does not exist."""
        existing = self._open(table)
        return -1 if existing is None else existing.version()

    def _create(self, table: Table, schema: pa.Schema) -> DeltaTable:
        """An empty table: two first writers that both brought rows would both keep them."""
        uri = f"{self._root}/{table}"
        try:
            return DeltaTable.create(uri, schema, mode="error", partition_by=PARTITIONS, configuration={**_SETTINGS})
        except DeltaError:
            if DeltaTable.is_deltatable(uri):
                return DeltaTable(uri)
            raise

    def _open(self, table: Table, version: int | None = None) -> DeltaTable | None:
        uri = f"{self._root}/{table}"
        try:
            return DeltaTable(uri, version=version)
        except TableNotFoundError:
            if version is None or version < 0 or not DeltaTable.is_deltatable(uri):
                return None
            raise _gone(uri, version) from None
        except DeltaError as exc:
            if version is None:
                raise
            raise _gone(uri, version) from exc


_WRITER = WriterProperties(compression="ZSTD")
_SETTINGS: Mapping[str, str | None] = MappingProxyType(
    {
        # Opening a table replays its log: from the last checkpoint, which Delta writes every 100 commits if left alone.
        "delta.checkpointInterval": "10",
        # Files are chosen by partition alone; bounds of every column would only make the log longer.
        "delta.dataSkippingNumIndexedCols": "0",
        # A model names the versions that it was trained on; after 30 days, the default, they could not be read.
        "delta.logRetentionDuration": "interval 3650 days",
    }
)
"""Half the time of a small write after a hundred days."""


def _gone(uri: str, version: int) -> NotFoundError:
    return NotFoundError(f"{uri} cannot be read as of version {version} any more. Take the data of today instead.")


def _compact(table: DeltaTable, *, is_cleared: bool) -> None:
    """Make one file of the small ones of each day and part, unless another writer is quicker: then the next time."""
    with suppress(CommitFailedError):
        table.optimize.compact(writer_properties=_WRITER)
    if is_cleared:
        table.vacuum(KEPT_HOURS, dry_run=False, enforce_retention_duration=False)


def _last_number(table: DeltaTable, log: str) -> int:
    return int(table.transaction_version(log) or 0)


def _persist(commit: Callable[[], None]) -> None:
    """Commit; after a writer that was quicker, on top of what it has written."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            commit()
        except CommitFailedError:
            if attempt == ATTEMPTS:
                raise
        else:
            return


def _as_arrow(frame: pd.DataFrame, day: str | Sequence[str], part: str, first: int = 0) -> pa.Table:
    """A frame as the table has it: rows of one day or of a day each, their order counted from `first`."""
    columns = {name: frame[name] for name in frame.columns if name not in PARTITIONS}
    content = pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False).replace_schema_metadata(None)
    content = pa.table([_plain(column) for column in content.columns], names=content.column_names)
    rows = len(frame)
    return (
        content.append_column(ORDER, pa.array(range(first, first + rows), pa.int64()))
        .append_column("_day", pa.array([day] * rows if isinstance(day, str) else day, pa.string()))
        .append_column("_part", pa.array([part] * rows, pa.string()))
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in a type that Delta has: text for what is all missing, string for large_string."""
    if pa.types.is_null(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string())
    return column


def _read(table: DeltaTable, first: date, last: date, columns: Sequence[str] | None, part: str | None) -> pa.Table:
    # The dataset opens only files of these days; without this, a day costs more with every day in the table.
    between = [("_day", ">=", first.isoformat()), ("_day", "<=", last.isoformat())]
    dataset = table.to_pyarrow_dataset(file_pruning_predicate=between)
    wanted = None if columns is None else [*dict.fromkeys([*columns, *PARTITIONS, ORDER])]
    chosen = None if part is None else pc.field("_part") == part
    return dataset.to_table(columns=wanted, filter=chosen, use_threads=last > first)


def _same(old: pa.Table, new: pa.Table) -> bool:
    names = [name for name in old.column_names if name in new.column_names or old[name].null_count < old.num_rows]
    if old.num_rows != new.num_rows or set(names) != set(new.column_names):
        return False
    old = old.sort_by(ORDER).select(new.column_names)
    try:
        return bool(old.cast(new.schema).to_pandas().equals(new.to_pandas()))
    except pa.ArrowInvalid:
        return False
