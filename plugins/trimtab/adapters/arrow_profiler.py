"""Profiles of Arrow data and Parquet files: the domain's counting on Arrow's buffers, a piece at a time.

Arrow's own conversion to NumPy is not used: it imports pandas, which costs more than counting a million rows.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trimtab.domain.binning import category_bins, number_bins
from trimtab.domain.counting import PIECE, CategoryTally, NumberTally
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import LARGEST, ColumnBins, ColumnProfile, Profile
from trimtab.errors import DataContractError, NotFoundError, SourceUnreadableError, listed

SAMPLE = 200_000
"""Rows of a file, evenly spread, that its bins are taken from: the share of a bin is then known to a fiftieth."""
BATCH = 2**20
"""Rows of a column that are in memory at once: a row group of usual size."""
SMALL = 2**18
"""Rows up to which small row groups are read together: one by one they cost more, and more would leave the cache."""
PART = 2**23
"""Rows of a column that a thread reads before it takes the next part, so that all threads end at much the same time."""
THREADS = min(os.cpu_count() or 1, 8)
"""Parts of columns that are read at once; reading and counting leave Python's lock to the others."""
ROWS_FOR_THREADS = 100_000
"""Rows of a file from which on threads gain more than they wait for each other."""
PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Arrow's units of time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class ArrowTally:
    """Counts one column of Arrow arrays.

    Integers, booleans, decimals and times are numbers: booleans 0 and 1, times the seconds since 1970 in UTC (a time
    of day since midnight). Texts are categories. Null and nan are missing.
    """

    def __init__(self, name: str, bins: ColumnBins) -> None:
        """Nothing is counted yet; `name` is for messages."""
        self._name = name
        self._tally = NumberTally(bins) if bins.edges else CategoryTally(bins)

    def add(self, array: pa.Array) -> None:
        """Count an array (n,).

        Raises:
            DataContractError: If it holds texts where the reference has numbers, or the reverse, or neither.
        """
        if isinstance(self._tally, CategoryTally):
            if not (is_text(array.type) or pa.types.is_null(array.type)):
                raise _other_kind(self._name, array.type, "texts")
            self._tally.add(*text_counts(array))
            return
        if is_text(array.type):
            raise _other_kind(self._name, array.type, "numbers")
        unit, stored = _as_stored(array, self._name)
        for start in range(0, len(stored), PIECE):
            piece = stored.slice(start, PIECE)
            values = _floats(piece, unit)
            self._tally.add(values, missing=len(piece) - len(values))

    def result(self) -> ColumnProfile:
        """What was counted."""
        return self._tally.result()


def profile_batches(batches: Iterable[pa.RecordBatch], bins: Mapping[str, ColumnBins]) -> Profile:
    """Profile batches of rows, each held in memory only until it is counted.

    Raises:
        DataContractError: If a column is absent or of another kind than in the reference.
    """
    tallies = {name: ArrowTally(name, how) for name, how in bins.items()}
    rows = 0
    for batch in batches:
        _check_columns(batch.schema, bins, "The batch")
        rows += batch.num_rows
        for name, tally in tallies.items():
            tally.add(batch.column(name))
    return Profile(rows=rows, columns={name: tally.result() for name, tally in tallies.items()})


def profile_parquet(path: Path, bins: Mapping[str, ColumnBins]) -> Profile:
    """Profile a Parquet file, column by column, in memory that does not grow with the file.

    Raises:
        NotFoundError: If the file is not there.
        SourceUnreadableError: If it is no Parquet file.
        DataContractError: If a column is absent or of another kind than in the reference.
    """
    file = _ParquetColumns(path)
    _check_columns(file.schema, bins, str(path))

    def count(part: tuple[str, list[int]]) -> ColumnProfile:
        name, groups = part
        tally = ArrowTally(name, bins[name])
        for array in file.read(name, groups):
            tally.add(array)
        return tally.result()

    parts = [(name, groups) for name in bins for groups in file.parts()]
    counted: dict[str, ColumnProfile] = {}
    for (name, _), profile in zip(parts, _each(count, parts, file.rows), strict=True):
        counted[name] = counted[name] + profile if name in counted else profile
    return Profile(rows=file.rows, columns=counted)


def parquet_bins(path: Path, columns: Sequence[str] | None = None) -> dict[str, ColumnBins]:
    """Bins of the columns of a reference in a Parquet file; without `columns`, of all those that can be counted.

    The extremes and the categories are those of all rows; the edges between are taken from SAMPLE rows.

    Raises:
        NotFoundError: If the file is not there.
        SourceUnreadableError: If it is no Parquet file.
        DataContractError: If a column is absent.
    """
    file = _ParquetColumns(path)
    names = list(columns) if columns is not None else [one.name for one in file.schema if _is_countable(one.type)]
    _check_columns(file.schema, names, str(path))
    stride = -(-file.rows // SAMPLE) or 1

    def bins(name: str) -> ColumnBins:
        if is_text(file.schema.field(name).type):
            return category_bins(_sum_counts(file.read(name)))
        return number_bins(np.concatenate([np.empty(0), *_sampled(file.read(name), name, stride)]))

    return dict(zip(names, _each(bins, names, file.rows), strict=True))


def numbers(array: pa.Array, name: str) -> FloatArray:
    """The values of an array that are not null, as floats (n,); `name` is for the message.

    Raises:
        DataContractError: If the type has no order of numbers.
    """
    unit, stored = _as_stored(array, name)
    return _floats(stored, unit)


def text_counts(array: pa.Array) -> tuple[list[str], NDArray[np.intp], int]:
    """The values of a text array, the rows of each (k,), and how many rows have none."""
    if pa.types.is_null(array.type):
        return [], np.empty(0, np.intp), len(array)
    coded = array if pa.types.is_dictionary(array.type) else _plain_text(array).dictionary_encode()
    if coded.dictionary.null_count:
        coded = coded.dictionary_decode().dictionary_encode()
    codes = _present(coded.indices)
    rows = np.bincount(codes, minlength=len(coded.dictionary))
    return coded.dictionary.to_pylist(), rows, len(coded) - len(codes)


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is counted as a category."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


class _ParquetColumns:
    """A Parquet file whose columns are read one by one, by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise NotFoundError(f"{path} is not there. Mend the path.")
        try:
            self._metadata = pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as exc:
            raise _unreadable(path, exc) from exc
        self.schema: pa.Schema = self._metadata.schema.to_arrow_schema()
        self.rows: int = self._metadata.num_rows

    def parts(self) -> list[list[int]]:
        """Row groups that one thread reads; none at all of a file without any."""
        return list(self._together(range(self._metadata.num_row_groups), PART)) or [[]]

    def read(self, name: str, groups: Iterable[int] | None = None) -> Iterator[pa.Array]:
        """Arrays of one column, of all row groups or of these; texts keep the dictionary that they are stored with."""
        dictionaries = [name] if is_text(self.schema.field(name).type) else None
        try:
            with pq.ParquetFile(
                self._path, metadata=self._metadata, read_dictionary=dictionaries, pre_buffer=False
            ) as file:
                for run in self._together(range(file.num_row_groups) if groups is None else groups, SMALL):
                    yield from _arrays(file, run, name)
        except (pa.ArrowInvalid, OSError) as exc:
            raise _unreadable(self._path, exc) from exc

    def _together(self, groups: Iterable[int], most: int) -> Iterator[list[int]]:
        """Neighbouring row groups of so many rows at most, or one that is larger."""
        run, rows = list[int](), 0
        for group in groups:
            more = self._metadata.row_group(group).num_rows
            if run and rows + more > most:
                yield run
                run, rows = [], 0
            run.append(group)
            rows += more
        if run:
            yield run


def _each(compute: Callable[[Item], Result], items: Sequence[Item], rows: int) -> list[Result]:
    if rows < ROWS_FOR_THREADS:
        return list(map(compute, items))
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(compute, items))


def _arrays(file: pq.ParquetFile, groups: list[int], name: str) -> Iterator[pa.Array]:
    """Arrays of one column of row groups: at one go, which is the quickest, but for a group that is large."""
    if file.metadata.row_group(groups[0]).num_rows <= BATCH:
        yield from file.read_row_groups(groups, columns=[name], use_threads=False).column(0).chunks
        return
    for batch in file.iter_batches(BATCH, row_groups=groups, columns=[name], use_threads=False):
        yield batch.column(0)


def _as_stored(array: pa.Array, name: str) -> tuple[float, pa.Array]:
    """What the stored numbers are to be divided by, and they."""
    kind = array.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return 1.0, array
    if pa.types.is_dictionary(kind):
        return _as_stored(array.dictionary_decode(), name)
    if pa.types.is_decimal(kind):
        return 1.0, array.cast(pa.string()).cast(pa.float64())  # Arrow's own cast is not to the nearest float
    if pa.types.is_null(kind):
        return 1.0, array.cast(pa.float64())
    if pa.types.is_date(kind):
        return _as_stored(array.cast(pa.timestamp("s" if kind == pa.date32() else "ms")), name)
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        return PER_SECOND[kind.unit], array.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
    raise _other_kind(name, kind, "numbers or texts")


def _floats(stored: pa.Array, unit: float) -> FloatArray:
    values = _present(stored).astype(np.float64, copy=False)
    return values / unit if unit != 1.0 else values


def _present(stored: pa.Array) -> NDArray[Any]:
    """The values of a primitive array that are not null (n,), without a copy if none is."""
    if pa.types.is_boolean(stored.type):
        values: NDArray[Any] = _bits(stored, stored.buffers()[1])
    else:
        kind = _storage(stored.type)
        values = np.frombuffer(stored.buffers()[1] or b"", kind, len(stored), stored.offset * kind.itemsize)
    return values[_bits(stored, stored.buffers()[0])] if stored.null_count else values


def _storage(kind: pa.DataType) -> np.dtype[np.generic]:
    letter = "f" if pa.types.is_floating(kind) else "i" if pa.types.is_signed_integer(kind) else "u"
    return np.dtype(f"{letter}{kind.bit_width // 8}")


def _is_countable(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        pa.types.is_floating,
        pa.types.is_integer,
        pa.types.is_boolean,
        pa.types.is_decimal,
        pa.types.is_temporal,
        pa.types.is_null,
    )
    return is_text(kind) or (any(test(kind) for test in tests) and not pa.types.is_interval(kind))


def _bits(array: pa.Array, bitmap: pa.Buffer | None) -> NDArray[np.bool_]:
    """The array's part of a bitmap as booleans (n,)."""
    first, past = array.offset, array.offset + len(array)
    held = np.frombuffer(bitmap or b"", np.uint8)[first // 8 : -(-past // 8)]
    return np.unpackbits(held, bitorder="little")[first % 8 :][: len(array)].view(np.bool_)


def _plain_text(array: pa.Array) -> pa.Array:
    """A view has no dictionary encoding of its own in Arrow."""
    return array.cast(pa.large_string()) if pa.types.is_string_view(array.type) else array


def _sum_counts(arrays: Iterable[pa.Array]) -> Counter[str]:
    found: Counter[str] = Counter()
    for array in arrays:
        values, rows, _ = text_counts(array)
        for value, number in zip(values, rows.tolist(), strict=True):
            found[value] += number
    return +found  # a value of the dictionary that no row has is not known


def _sampled(arrays: Iterable[pa.Array], name: str, stride: int) -> Iterator[FloatArray]:
    """Each `stride`-th value, and the extremes of all."""
    seen = 0
    for array in arrays:
        values = numbers(array, name)
        finite = values[np.abs(values) <= LARGEST]
        if stride == 1:
            yield finite
        elif len(finite):
            yield np.array([finite.min(), finite.max()])
            yield finite[-seen % stride :: stride]
        seen += len(finite)


def _check_columns(schema: pa.Schema, names: Iterable[str], where: str) -> None:
    absent = [name for name in names if name not in schema.names]
    if absent:
        raise DataContractError(f"{where} has no column {listed(absent)}, which the reference has. Deliver it again.")


def _other_kind(name: str, kind: pa.DataType, wanted: str) -> DataContractError:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return DataContractError(f"Column '{name}' must hold {wanted}, as in the reference. Got {kind}. Mend its type.")


def _unreadable(path: Path, exc: Exception) -> SourceUnreadableError:
    return SourceUnreadableError(
        f"{path} cannot be read as Parquet ({str(exc)[:200]}): it is cut off or no such file. Deliver it again."
    )
