"""Take in labels that have arrived."""

from datetime import date
from typing import TYPE_CHECKING

from trimtab.operators.model import Json, ModelOperator, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class FeedbackOperator(ModelOperator):
    """Store the labels that arrive on this day, bring in what the prediction service answered for their rows, and
    measure the errors of each version.

    XCom: the labelled day, its rows, labels and errors.
    """

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `feedback`."""
        from trimtab.stages.feedback import feedback  # noqa: PLC0415

        spec = stores.folder.spec
        result = feedback(
            day,
            source=stores.source,
            lake=stores.lake,
            ledger=stores.ledger,
            traffic=stores.traffic,
            rows=spec.rows,
            label=spec.label,
        )
        return as_json(result)
