"""The source that a model folder names, opened."""

from typing import assert_never

from trimtab.adapters.day_rows import DayRows
from trimtab.adapters.model_folder import ModelFolder
from trimtab.adapters.stores import UriOfConnection
from trimtab.adapters.text_table import TextReader
from trimtab.domain.spec import CsvSource, DeltaSource, ParquetSource, SqlSource


def open_source(folder: ModelFolder, uri_of: UriOfConnection) -> DayRows:
    """Open the source of a model; nothing is read yet."""
    rows = folder.spec.rows
    lookups = [(lookup, folder.resolve(lookup.path)) for lookup in rows.lookups]
    return DayRows(_reader(folder, uri_of), rows, lookups)


def _reader(folder: ModelFolder, uri_of: UriOfConnection) -> TextReader:
    # Each library is imported for the kind of source that needs it.
    source = folder.spec.source
    if isinstance(source, CsvSource):
        from trimtab.adapters.csv_reader import CsvReader  # noqa: PLC0415

        return CsvReader(source, folder.resolve(source.path), folder.spec.rows.event_day)
    if isinstance(source, ParquetSource):
        from trimtab.adapters.parquet_reader import ParquetReader  # noqa: PLC0415

        return ParquetReader(folder.resolve(source.path))
    if isinstance(source, DeltaSource):
        from trimtab.adapters.parquet_reader import DeltaReader  # noqa: PLC0415

        return DeltaReader(source.uri)
    if isinstance(source, SqlSource):
        from trimtab.adapters.sql_ledger import open_engine  # noqa: PLC0415
        from trimtab.adapters.sql_reader import SqlReader  # noqa: PLC0415

        return SqlReader(source, open_engine(uri_of(source.connection)))
    assert_never(source)
