"""Parquet files and foreign Delta tables, read as text like every other source."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from trimtab.adapters.text_table import TextTable
from trimtab.errors import BatchMissingError, SourceUnreadableError

DAY = "{day}"


class ParquetReader:
    """One file for all days, or one a day where the path has '{day}'."""

    def __init__(self, path: Path) -> None:
        """`path` is the spec's path, resolved."""
        self._path = path

    def is_ready(self, day: date) -> bool:
        """Whether the file exists."""
        return self._file(day).is_file()

    def read(self, day: date, columns: Sequence[str]) -> TextTable:
        """The file's rows as text."""
        file = self._file(day)
        if not file.is_file():
            raise BatchMissingError(f"{file} is not there. Run {day} again when its batch has arrived.")
        try:
            names = pq.read_schema(file).names
            table = pq.read_table(file, columns=[name for name in columns if name in names], use_threads=False)
        except (pa.ArrowInvalid, OSError) as exc:
            raise SourceUnreadableError(
                f"{file} cannot be read as Parquet ({str(exc)[:200]}): it is cut off or no such file. Deliver it again."
            ) from exc
        return _as_text(table, str(file), names, only_this_day=DAY in str(self._path))

    def _file(self, day: date) -> Path:
        return Path(str(self._path).replace(DAY, day.isoformat()))


class DeltaReader:
    """A Delta table of somebody else's."""

    def __init__(self, uri: str) -> None:
        """`uri` is a folder or an object-store URI."""
        self._uri = uri

    def is_ready(self, day: date) -> bool:  # noqa: ARG002  # the port asks for a day
        """Whether the table exists."""
        return DeltaTable.is_deltatable(self._uri)

    def read(self, day: date, columns: Sequence[str]) -> TextTable:  # noqa: ARG002
        """The table's newest rows as text."""
        try:
            dataset = DeltaTable(self._uri).to_pyarrow_dataset()
        except TableNotFoundError as exc:
            raise BatchMissingError(f"Delta table {self._uri} is not there. Create it, or mend source.uri.") from exc
        except DeltaError as exc:
            raise SourceUnreadableError(f"Delta table {self._uri} cannot be read: {str(exc)[:200]}.") from exc
        table = dataset.to_table(columns=[name for name in columns if name in dataset.schema.names])
        return _as_text(table, f"Delta table {self._uri}", dataset.schema.names, only_this_day=False)


def _as_text(table: pa.Table, name: str, header: Sequence[str], *, only_this_day: bool) -> TextTable:
    texts = pa.table([_column_text(column) for column in table.columns], names=table.column_names)
    return TextTable(name, texts, np.arange(table.num_rows, dtype=np.int64), [], only_this_day, header)


def _column_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return column.cast(pa.string())
