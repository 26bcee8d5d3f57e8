"""Score an accepted batch."""

from datetime import date
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowSkipException

from trimtab.operators.model import Json, ModelOperator, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class ScoreOperator(ModelOperator):
    """Predict an accepted batch with the champion, and with the versions that are on trial beside it.

    XCom: rows and versions. Skipped while the model has no champion.
    """

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `score`."""
        from trimtab.stages.score import score  # noqa: PLC0415

        spec = stores.folder.spec
        result = score(
            day,
            lake=stores.lake,
            ledger=stores.ledger,
            registry=stores.registry,
            rows=spec.rows,
            slices=spec.slices,
        )
        if result.champion is None:
            raise AirflowSkipException(f"Model {self.model!r} has no champion yet. Run {self.model}.train first.")
        return as_json(result)
