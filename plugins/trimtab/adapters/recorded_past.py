"""A recorded past: what was taken in, by day, in files that every policy of a replay maps into memory."""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trimtab.domain.ports import Lake, Table

TABLES: tuple[Table, ...] = ("batches", "quarantine", "labels")
DAYS = b"trimtab.days"


class RecordedTable:
    """The rows of one table, a record batch for each day that has some."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Map the files, in the order of their days; a day's rows are read when they are asked for."""
        readers = [pa.ipc.open_file(pa.memory_map(str(file))) for file in files]
        self._schema = pa.unify_schemas([_plain(reader.schema) for reader in readers], promote_options="permissive")
        self._batches = [(reader, index) for reader in readers for index in range(reader.num_record_batches)]
        self.days: Sequence[date] = [
            date.fromisoformat(day) for reader in readers for day in json.loads(reader.schema.metadata[DAYS])
        ]

    def read(
        self, first: date, last: date, columns: Sequence[str] | None = None, part: str | None = None
    ) -> pd.DataFrame:
        """Rows of the days first to last, as the lake would give them."""
        chosen = self._batches[bisect_left(self.days, first) : bisect_right(self.days, last)]
        tables = [pa.Table.from_batches([reader.get_batch(index)]) for reader, index in chosen]
        rows = pa.concat_tables([self._schema.empty_table(), *tables], promote_options="permissive")
        if part is not None and "_part" in rows.column_names:
            rows = rows.filter(pc.field("_part") == part)
        frame: pd.DataFrame = rows.select(columns or self._schema.names).replace_schema_metadata(None).to_pandas()
        return frame


class RecordedPast:
    """Batches, quarantine and labels of a recorded past, which nobody changes any more."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Open what `record_tables` has written, in the order of the days."""
        self.tables = {table: RecordedTable([folder / f"{table}.arrow" for folder in folders]) for table in TABLES}


def record_tables(lake: Lake, folder: Path, first: date, last: date) -> None:
    """Lay out the shared tables of a lake by day, in a folder that is there as a whole or not at all."""
    draft = folder.with_suffix(".draft")
    draft.mkdir(parents=True, exist_ok=True)
    for table in TABLES:
        _record(lake, table, draft / f"{table}.arrow", first, last)
    draft.replace(folder)


def _record(lake: Lake, table: Table, file: Path, first: date, last: date) -> None:
    pieces = list(_days(lake.read(table, first, last)))
    tables = [pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata(None) for _, rows in pieces]
    schema = pa.unify_schemas([one.schema for one in tables], promote_options="permissive") if tables else pa.schema([])
    schema = schema.with_metadata({DAYS: json.dumps([day for day, _ in pieces]).encode()})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for one in tables:
            for batch in one.cast(schema).combine_chunks().to_batches():
                writer.write_batch(batch)


def _days(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each day; they come in the order of their days."""
    if not len(frame):
        return
    days = frame["_day"].to_numpy(dtype=object)
    begins = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1).tolist(), len(days)]
    for begin, end in pairwise(begins):
        yield str(days[begin]), frame.iloc[begin:end]


def _plain(schema: pa.Schema) -> pa.Schema:
    return schema.remove_metadata()
