"""Waits for a batch."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from trimtab.hooks.stores import StoresHook
from trimtab.operators.model import AS_OF, airflow_errors, as_of_day, checked_event, deadline_in
from trimtab.triggers.batch import BatchTrigger
from trimtab.triggers.polling import TIMEOUT

if TYPE_CHECKING:
    from airflow.sdk import Context


class BatchSensor(BaseSensorOperator):
    """Waits until the source can be read for a day; returns at once if it can.

    Args:
        model: Name of the model folder.
        as_of: ISO day of the batch, templated; empty: the run's logical date.
        longest: How long to wait at most; then the task fails without retries.
        poll_s: Seconds between two looks.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of")  # type: ignore[misc]

    def __init__(
        self,
        *,
        model: str,
        as_of: str = AS_OF,
        longest: timedelta = timedelta(hours=24),
        poll_s: float = 30.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model, self.as_of, self.longest, self.poll_s = model, as_of, longest, poll_s

    def execute(self, context: "Context") -> str:
        """Look once, then defer. XCom: the day."""
        with airflow_errors():
            day = as_of_day(self.as_of, context)
            ready = StoresHook(self.model).stores().source.is_ready(day)
        if not ready:
            trigger = BatchTrigger(
                model=self.model, as_of=day.isoformat(), deadline=deadline_in(self.longest), poll_s=self.poll_s
            )
            self.defer(trigger=trigger, method_name="execute_complete")
        return day.isoformat()

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> str:
        """Return the day, or fail if the batch has not come in time."""
        with airflow_errors():
            day = as_of_day(self.as_of, context).isoformat()
        if checked_event(event) == TIMEOUT:
            raise AirflowFailException(f"No batch of {day} within {self.longest}. Deliver it and clear this task.")
        return day
