"""Profiles of Spark data frames: each task counts its own Arrow batches with the embedded engine's code.

Only profiles travel to the driver. The workers need this package on their Python path.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import TypeAdapter

from trimtab.adapters.arrow_profiler import profile_batches
from trimtab.domain.profiles import ColumnBins, Profile, total

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

profile_json = TypeAdapter(Profile)


def profile_frame(frame: "DataFrame", bins: Mapping[str, ColumnBins]) -> Profile:
    """Profile the rows of a Spark data frame, in one pass and without a shuffle.

    Raises:
        DataContractError: If a column is absent or of another kind than in the reference.
    """
    from pyspark.sql.pandas.types import to_arrow_schema  # noqa: PLC0415  # loads Spark

    schema = to_arrow_schema(frame.schema)
    nothing = profile_batches([pa.RecordBatch.from_pylist([], schema=schema)], bins)

    def count(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        content = profile_json.dump_json(profile_batches(batches, bins)).decode()
        yield pa.RecordBatch.from_pydict({"profile": [content]})

    counted = frame.select(*bins).mapInArrow(count, "profile string").collect()
    return total([nothing, *(profile_json.validate_json(row["profile"]) for row in counted)])
