"""What the tasks of a release share: the version, and how they wait, give up, and leave their reasons."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowFailException

from trimtab.operators.model import Json, ModelOperator, checked_event, deadline_in
from trimtab.triggers.release import ReleaseTrigger, ResumedTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores

VERSION = "{{ params.version }}"
TRIPPED = "tripped"
"""XCom key under which a step says why it tripped."""
LOOK_AGAIN = timedelta(days=1)
"""What waits for a person or for another release asks again after this, should nothing wake it."""


class ReleaseOperator(ModelOperator):
    """Base of the steps of a release.

    Args:
        version: Version that is released, templated.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "version")  # type: ignore[misc]

    def __init__(self, *, version: str = VERSION, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version

    def trip(self, context: "Context", reasons: tuple[str, ...]) -> None:
        """Fail without retries, leaving the reasons for the rollback."""
        text = "; ".join(reasons)
        context["ti"].xcom_push(TRIPPED, f"{self.task_id}: {text}")
        raise AirflowFailException(f"Release of version {self.version} does not pass {self.task_id}: {text}.")

    def wait_for(self, trigger: type[ReleaseTrigger], wait: timedelta, **arguments: Any) -> None:
        """Leave the worker until the trigger fires."""
        self.defer(
            trigger=trigger(model=self.model, version=self.version, deadline=deadline_in(wait), **arguments),
            method_name="execute_complete",
        )

    def wait_while_held(self, stores: "Stores") -> None:
        """A release that somebody holds goes no further."""
        from trimtab.stages.release import release_of  # noqa: PLC0415

        holder = release_of(self.version, stores.ledger).held_by
        if holder is not None:
            self.log.info("Held by %s. It goes on with `trimtab release resume %s`.", holder, self.model)
            self.wait_for(ResumedTrigger, LOOK_AGAIN)

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Json:
        """Try again what had to wait."""
        checked_event(event)
        return self.execute(context)
