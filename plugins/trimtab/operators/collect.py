"""Move the logs of the prediction service into the lake."""

from typing import TYPE_CHECKING, Any

from trimtab.hooks.stores import StoresHook
from trimtab.operators.model import Json, ModelOperator, airflow_errors, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context


class CollectOperator(ModelOperator):
    """Move what the prediction service has answered, and what became of it, into the lake.

    It moves whatever is complete, of any day, and so has no as-of day. Run it as often as the disk of the service asks
    for; two at once wait for each other.

    XCom: number of batches, and of rows by table.
    """

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        super().__init__(model=model, as_of="", **kwargs)

    def execute(self, context: "Context") -> Json:
        """Call the stage `collect`."""
        from trimtab.stages.collect import collect  # noqa: PLC0415

        with airflow_errors():
            stores = StoresHook(self.model).stores()
            return as_json(collect(logs=stores.logs, lake=stores.sink))
