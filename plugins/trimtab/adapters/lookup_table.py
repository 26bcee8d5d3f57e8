"""A second file whose columns are joined to rows by key."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from trimtab.adapters.csv_reader import CsvReader
from trimtab.domain.spec import CsvSource, Lookup
from trimtab.errors import BatchMissingError, DataContractError, NotFoundError, listed


def look_up(rows: pd.DataFrame, lookup: Lookup, file: Path) -> pd.DataFrame:
    """Rows with the lookup's columns added as text, None where the file has no match.

    Raises:
        NotFoundError: If the file is not there.
        DataContractError: If it lacks a column, or names a key twice.
    """
    names = [lookup.by, *lookup.take.values()]
    table = _read(file, names)
    keys = table[lookup.by].to_pandas()
    repeated = sorted(set(keys[keys.duplicated() & keys.notna()]))
    if repeated:
        raise DataContractError(f"Lookup {file} has {lookup.by!r} {listed(repeated)} more than once. Make it unique.")
    places = {key: place for place, key in enumerate(table[lookup.by].to_pylist()) if key is not None}
    matched = [places.get(key, -1) for key in rows[lookup.by]]
    joined = rows.copy()
    for name, column in lookup.take.items():
        values = [*table[column].to_pylist(), None]
        joined[name] = pd.Series([values[place] for place in matched], index=rows.index, dtype=object)
    return joined


def _read(file: Path, names: list[str]) -> pa.Table:
    source = CsvSource(kind="csv", path=str(file))
    reader = CsvReader(source, file)
    try:
        table = reader.read_all(names).columns
    except BatchMissingError as exc:
        raise NotFoundError(f"Lookup file {file} is not there. Add it, or mend rows.lookups in model.yaml.") from exc
    missing = sorted(set(names) - set(table.column_names))
    if missing:
        raise DataContractError(f"Lookup {file} has no column {listed(missing)}. Mend rows.lookups in model.yaml.")
    return table
