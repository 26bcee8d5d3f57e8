"""Ingest a day's batch."""

from datetime import date
from typing import TYPE_CHECKING

from trimtab.operators.model import Json, ModelOperator, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class IngestOperator(ModelOperator):
    """Read a day's batch from the source, type its values, set aside rows that cannot be typed, land the rest.

    XCom: rows read, landed and quarantined, with the most frequent reasons. Retried while the batch is missing;
    fails at once on a source that breaks its contract.
    """

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `ingest`."""
        from trimtab.stages.ingest import ingest  # noqa: PLC0415  # a DAG file must not pay for it

        result = ingest(day, source=stores.source, lake=stores.lake, rows=stores.folder.spec.rows)
        self.log.info("%s rows landed, %s set aside: %s", result.rows_landed, result.rows_quarantined, result.reasons)
        return as_json(result)
