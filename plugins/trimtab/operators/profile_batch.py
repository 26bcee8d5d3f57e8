"""Profile a scored batch."""

from datetime import date
from typing import TYPE_CHECKING

from trimtab.operators.model import Json, ModelOperator, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class ProfileBatchOperator(ModelOperator):
    """Count features and predictions of a day on the bins of the champion's reference.

    XCom: rows, and the version whose reference gave the bins.
    """

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `profile_batch`."""
        from trimtab.stages.profile_batch import profile_batch  # noqa: PLC0415

        rows = stores.folder.spec.rows
        return as_json(profile_batch(day, lake=stores.lake, ledger=stores.ledger, registry=stores.registry, rows=rows))
