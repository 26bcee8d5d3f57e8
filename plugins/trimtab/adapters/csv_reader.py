"""CSV files, plain or compressed, read as text so that one bad value costs one row."""

import bz2
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from trimtab.adapters.day_keys import day_keys
from trimtab.adapters.parsed_copies import ParsedCopy
from trimtab.adapters.text_table import RAW_LENGTH, TextTable
from trimtab.domain.ports import BrokenRow
from trimtab.domain.spec import CsvSource, DayFromColumn, DayFromParts
from trimtab.errors import BatchMissingError, SourceUnreadableError, listed

DAY = "{day}"
HEADER_LINES = 1
KEPT_TABLES = 2
"""Rows and labels of the same file are read with different columns."""


class CsvReader:
    """One file for all days, or one a day where the path has '{day}'."""

    def __init__(self, spec: CsvSource, path: Path, event_day: DayFromColumn | DayFromParts | None = None) -> None:
        """`path` is the spec's path, resolved; `event_day` tells how to find the day of a row, if it has one."""
        self._spec, self._path, self._event_day = spec, path, event_day
        self._read_before: dict[tuple[object, ...], TextTable] = {}

    def is_ready(self, day: date) -> bool:
        """Whether the file exists."""
        return self._file(day).is_file()

    def read(self, day: date, columns: Sequence[str]) -> TextTable:
        """Rows of the file that may hold the day, as text."""
        return self._read(self._file(day), columns)

    def read_all(self, columns: Sequence[str]) -> TextTable:
        """Rows of a file that is not split by day."""
        return self._read(self._path, columns)

    def _read(self, file: Path, columns: Sequence[str]) -> TextTable:
        """The file's rows; a file of many days that has not changed is read once for all of them."""
        if not file.is_file():
            raise BatchMissingError(f"{file} is not there. Run this day again when its batch has arrived.")
        stat = file.stat()
        state = (file, stat.st_mtime_ns, stat.st_size, tuple(columns))
        if state not in self._read_before:
            if len(self._read_before) >= KEPT_TABLES:
                self._read_before.clear()
            self._read_before[state] = self._copied(file, columns)
        return self._read_before[state]

    def _copied(self, file: Path, columns: Sequence[str]) -> TextTable:
        if DAY in str(self._path):
            return self._parse(file, columns)
        how = self._event_day.model_dump_json() if self._event_day else ""
        copy = ParsedCopy(file, [self._spec.model_dump_json(), how, *columns])
        table = copy.load()
        if table is None:
            table = self._parse(file, columns)
            if set(columns) <= set(table.columns.column_names):  # else all that is wanted of it is the header
                if self._event_day:
                    table = replace(table, day=day_keys(table.columns, self._event_day))
                copy.store(table)
        return table

    def _parse(self, file: Path, columns: Sequence[str]) -> TextTable:
        data = file_bytes(file)
        header = _header(data, file, self._spec)
        wanted = [name for name in header if name in set(columns)]
        if len(set(wanted)) < len(wanted):
            repeated = sorted({name for name in wanted if wanted.count(name) > 1})
            raise SourceUnreadableError(f"{file} has more than one column {listed(repeated)}. Name each column once.")
        broken: list[BrokenRow] = []

        def set_aside(row: pa_csv.InvalidRow) -> str:
            reason = f"it has {row.actual_columns} values instead of {row.expected_columns}"
            # use_threads is off, so that the reader knows the line number
            broken.append(BrokenRow(row=row.number - HEADER_LINES - 1, reason=reason, raw=row.text[:RAW_LENGTH]))
            return "skip"

        try:
            table = pa_csv.read_csv(
                io.BytesIO(data),
                read_options=pa_csv.ReadOptions(use_threads=False, encoding=self._spec.encoding),
                parse_options=pa_csv.ParseOptions(
                    delimiter=self._spec.delimiter, invalid_row_handler=set_aside, newlines_in_values=True
                ),
                convert_options=pa_csv.ConvertOptions(
                    include_columns=wanted,
                    column_types=dict.fromkeys(wanted, pa.string()),
                    strings_can_be_null=True,
                    null_values=list(self._spec.missing),
                ),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError) as exc:
            raise SourceUnreadableError(
                f"{file} cannot be read as CSV with delimiter {self._spec.delimiter!r} and encoding "
                f"{self._spec.encoding!r}: {str(exc)[:200]}. Mend the file, or change source in model.yaml."
            ) from exc
        lines = np.arange(table.num_rows + len(broken), dtype=np.int64)
        rows = np.setdiff1d(lines, [row.row for row in broken], assume_unique=True)
        return TextTable(str(file), table, rows[: table.num_rows], broken, DAY in str(self._path), header)

    def _file(self, day: date) -> Path:
        return Path(str(self._path).replace(DAY, day.isoformat()))


def file_bytes(file: Path) -> bytes:
    """Content of a file, unpacked where its suffix says that it is packed.

    Raises:
        SourceUnreadableError: If it is empty, cut off, or not what its suffix says.
    """
    try:
        data = _unpacked(file)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, IndexError, ValueError, RuntimeError) as exc:
        raise SourceUnreadableError(
            f"{file} cannot be unpacked ({exc}): it is cut off or not of the kind that its name says. Deliver it again."
        ) from exc
    if not data.strip():
        raise SourceUnreadableError(f"{file} is empty: a header and rows were expected. Deliver it again.")
    return data


def _unpacked(file: Path) -> bytes:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            return archive.read(archive.namelist()[0])
    if file.suffix == ".gz":
        return gzip.decompress(file.read_bytes())
    if file.suffix == ".bz2":
        return bz2.decompress(file.read_bytes())
    return file.read_bytes()


def _header(data: bytes, file: Path, spec: CsvSource) -> list[str]:
    line = data[: data.find(b"\n") if b"\n" in data else len(data)]
    try:
        text = line.decode(spec.encoding).lstrip("\ufeff").strip("\r")
    except (UnicodeDecodeError, LookupError) as exc:
        raise SourceUnreadableError(
            f"{file}: its header is not {spec.encoding!r}. Change source.encoding in model.yaml."
        ) from exc
    return next(csv.reader([text], delimiter=spec.delimiter), [])
