"""Judge whether the champion is still true."""

from datetime import date
from typing import TYPE_CHECKING

from trimtab.operators.model import Json, ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class JudgeOperator(ModelOperator):
    """Compare inputs, predictions and errors with the champion's reference and record the verdict.

    XCom: status and summary; they go to the extra field of the outlet asset's event as well. "Not enough data" is a
    verdict, not a failure.
    """

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stages `judge` and `demote_on_alarm`."""
        from trimtab.stages.automation import demote_on_alarm  # noqa: PLC0415
        from trimtab.stages.judge import judge  # noqa: PLC0415

        verdict = judge(
            day,
            lake=stores.lake,
            ledger=stores.ledger,
            registry=stores.registry,
            monitor=stores.folder.spec.monitor,
        )
        self.log.info("Verdict of %s: %s. %s", day, verdict.status, verdict.summary)
        for name in demote_on_alarm(day, ledger=stores.ledger):
            self.log.warning("The level of automation of %s is lowered.", name)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"as_of": day.isoformat(), "status": verdict.status.value}
        return {"as_of": day.isoformat(), "status": verdict.status.value, "summary": verdict.summary[:2000]}
