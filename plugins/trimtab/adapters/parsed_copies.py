"""Parsed copies of big text files, so that a file of many days is parsed once and not every day.

A copy is an Arrow file that is mapped into memory: reading one day of 300,000 rows takes 30 ms instead of 400. It is
named by everything that it depends on, so that a changed file has another one; it may be deleted at any time.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from trimtab.adapters.disk_cache import cache_folder, keep_copy
from trimtab.adapters.text_table import TextTable
from trimtab.domain.ports import BrokenRow

WORTHWHILE_BYTES = 1_000_000
KEPT = 8
ROW, DAY = "_row", "_day"
BROKEN = b"trimtab.broken"


class ParsedCopy:
    """The copy of one file, read in one way."""

    def __init__(self, file: Path, how: Sequence[object]) -> None:
        """Name the copy; `how` is all that the parsing depends on beside the file."""
        stat = file.stat()
        state = json.dumps([str(file.resolve()), stat.st_mtime_ns, stat.st_size, *map(str, how)])
        self._file = file
        self._copy = cache_folder() / f"{hashlib.sha256(state.encode()).hexdigest()[:32]}.arrow"
        self._worthwhile = stat.st_size >= WORTHWHILE_BYTES

    def load(self) -> TextTable | None:
        """The copy, if there is a whole one."""
        if not self._worthwhile:
            return None
        try:
            with pa.memory_map(str(self._copy)) as source:
                table = pa.ipc.open_file(source).read_all()
            broken = [BrokenRow(**row) for row in json.loads((table.schema.metadata or {})[BROKEN])]
        except (OSError, KeyError, ValueError, TypeError):
            return None  # none yet, or one that another version wrote: parse again
        rows = table[ROW].to_numpy()
        day = table[DAY].to_numpy() if DAY in table.column_names else None
        own = [name for name in (ROW, DAY) if name in table.column_names]
        return TextTable(str(self._file), table.drop_columns(own), rows, broken, only_this_day=False, day=day)

    def store(self, table: TextTable) -> None:
        """Keep a copy if the file is worth it; without a place to write there is none, and nothing else changes."""
        if not self._worthwhile:
            return
        broken = json.dumps([{"row": one.row, "reason": one.reason, "raw": one.raw} for one in table.broken])
        content = table.columns.append_column(ROW, pa.array(table.row, pa.int64()))
        if table.day is not None:
            content = content.append_column(DAY, pa.array(table.day, pa.int64()))
        content = content.replace_schema_metadata({BROKEN: broken.encode()})

        def write(draft: Path) -> None:
            with pa.OSFile(str(draft), "wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
                writer.write_table(content)

        keep_copy(self._copy, write, KEPT)
