"""A query on a database that SQLAlchemy reaches."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pyarrow as pa
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from trimtab.adapters.text_table import TextTable
from trimtab.domain.spec import SqlSource
from trimtab.errors import SourceUnreadableError


class SqlReader:
    """Rows that the spec's query gives for a day."""

    def __init__(self, spec: SqlSource, engine: Engine) -> None:
        """`engine` belongs to the spec's connection."""
        self._spec, self._engine = spec, engine

    def is_ready(self, day: date) -> bool:  # noqa: ARG002  # only running the query could tell more
        """Whether the database answers."""
        try:
            with self._engine.connect():
                return True
        except DBAPIError:
            return False

    def read(self, day: date, columns: Sequence[str]) -> TextTable:  # noqa: ARG002  # the query names the columns
        """The query's rows as text."""
        try:
            with self._engine.connect() as connection:
                result = connection.execute(text(self._spec.query), {"day": day.isoformat()})
                names = list(result.keys())
                rows = result.all()
        except DBAPIError as exc:
            raise SourceUnreadableError(
                f"Query of connection {self._spec.connection!r} failed: {str(exc.orig)[:200]}. Try it for {day}."
            ) from exc
        texts = {
            name: pa.array([None if row[i] is None else str(row[i]) for row in rows], pa.string())
            for i, name in enumerate(names)
        }
        return TextTable(
            f"Query of connection {self._spec.connection!r}",
            pa.table(texts),
            np.arange(len(rows), dtype=np.int64),
            [],
            only_this_day=True,
        )
