"""Take in labels that have arrived."""

from datetime import date
from typing import TYPE_CHECKING

from trimtab.operators.model import Json, ModelOperator, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class FeedbackOperator(ModelOperator):
    """Store the labels that arrive on this day, and measure the errors of what had been predicted for their rows.

    What the prediction service has answered for those rows counts as far as `CollectOperator` has moved it.

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
            registry=stores.registry,
            rows=spec.rows,
            label=spec.label,
            slices=spec.slices,
            features=stores.features,
        )
        return as_json(result)
