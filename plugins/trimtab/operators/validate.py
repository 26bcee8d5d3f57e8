"""Validate a landed batch with Great Expectations."""

from datetime import date
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowFailException

from trimtab.operators.model import Json, ModelOperator, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class ValidateOperator(ModelOperator):
    """Judge the landed rows with the model folder's suite.

    XCom: rows accepted and set aside, warnings. A critical expectation that fails as a whole blocks the batch: it is
    recorded with an incident, no row of it goes on, and the task fails without retries. Rows that break a critical
    expectation go to quarantine; warnings are recorded.
    """

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `validate`."""
        from trimtab.stages.validate import validate  # noqa: PLC0415

        result = validate(day, validator=stores.validator, lake=stores.lake, ledger=stores.ledger)
        self.log.info("%s %s", result.summary, "; ".join(result.warnings))
        if not result.accepted:
            raise AirflowFailException(result.summary)
        return as_json(result)
