"""Waits for a verdict about a model."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from trimtab.hooks.stores import StoresHook
from trimtab.operators.model import AS_OF, Json, airflow_errors, as_of_day, checked_event, deadline_in
from trimtab.triggers.polling import TIMEOUT
from trimtab.triggers.verdict import VerdictTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class DriftSensor(BaseSensorOperator):
    """Waits, without a worker, until a day of a model has been judged, and gives the verdict.

    An asset event that woke the run is only a wake-up: Airflow may join several, so without `as_of` the newest
    verdict of the ledger counts.

    Args:
        model: Name of the model folder.
        as_of: ISO day, templated; empty: the run's logical date, or the newest judged day if it has none.
        longest: How long to wait at most; then the task fails without retries.

    XCom: as_of, status (ok, drift, decay, not_enough_data) and summary.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of")  # type: ignore[misc]

    def __init__(
        self, *, model: str, as_of: str = AS_OF, longest: timedelta = timedelta(hours=6), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model, self.as_of, self.longest = model, as_of, longest

    def execute(self, context: "Context") -> Json:
        """Look once, then defer."""
        with airflow_errors():
            stores = StoresHook(self.model).stores()
            day = self._day(stores, context)
        found = _verdict(stores, day)
        if found is None:
            trigger = VerdictTrigger(model=self.model, as_of=day.isoformat(), deadline=deadline_in(self.longest))
            self.defer(trigger=trigger, method_name="execute_complete", kwargs={"day": day.isoformat()})
        return found or {}

    def execute_complete(self, context: "Context", event: dict[str, Any], day: str) -> Json:
        """Give the verdict, or fail if the day has not been judged in time."""
        found = _verdict(StoresHook(self.model).stores(), date.fromisoformat(day))
        if checked_event(event) == TIMEOUT or found is None:
            raise AirflowFailException(
                f"No verdict of {day} within {self.longest}. Look at {self.model}.daily of that day."
            )
        return found

    def _day(self, stores: "Stores", context: "Context") -> date:
        if self.as_of or context.get("logical_date") is not None:
            return as_of_day(self.as_of, context)
        judged = stores.ledger.entries("verdict")
        return max(entry.as_of for entry in judged) if judged else as_of_day("", context)


def _verdict(stores: "Stores", day: date) -> Json | None:
    entries = stores.ledger.entries("verdict", day.isoformat())
    if not entries:
        return None
    return {"as_of": day.isoformat(), "status": entries[-1].kind, "summary": entries[-1].payload["summary"]}
