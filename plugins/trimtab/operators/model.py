"""What all operators of the bundle share: the model, the as-of day, and Airflow's words for errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from airflow.sdk import BaseOperator, timezone
from airflow.sdk.exceptions import AirflowFailException
from pydantic_core import to_jsonable_python

from trimtab.errors import RequestError, TrimtabError
from trimtab.hooks.stores import StoresHook
from trimtab.triggers.polling import ERROR, READY, TIMEOUT

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores

Json: TypeAlias = dict[str, Any]

AS_OF = "{{ params.as_of or '' }}"
"""The form's as-of day; empty means the run's logical date."""


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn errors that another try cannot mend into a failure without retries."""
    try:
        yield
    except TrimtabError as exc:
        if exc.retryable:
            raise
        raise AirflowFailException(str(exc)) from exc


def as_of_day(as_of: str, context: Mapping[str, Any]) -> date:
    """The day that a run is about: the one that was asked for, or that of the run's logical date.

    Raises:
        RequestError: If there is neither, or it is no ISO date.
    """
    if as_of:
        try:
            return date.fromisoformat(str(as_of)[:10])
        except ValueError as exc:
            raise RequestError(f"as_of must be a date such as 2013-04-23. Got {as_of!r}. Run again with one.") from exc
    logical_date: datetime | None = context.get("logical_date")
    if logical_date is None:
        raise RequestError("This run has neither 'as_of' nor a logical date. Trigger it with an as-of day.")
    return logical_date.date()


def deadline_in(wait: timedelta) -> str:
    """ISO moment (UTC) at which a wait that begins now is over."""
    moment: datetime = timezone.utcnow() + wait
    return moment.isoformat()


def checked_event(event: Mapping[str, Any] | None) -> str:
    """Status of a trigger's event.

    Raises:
        AirflowFailException: If the trigger met an error that waiting cannot mend, or the event is not one of ours.
    """
    status = (event or {}).get("status")
    if status == ERROR:
        raise AirflowFailException(str((event or {}).get("message")))
    if status not in (READY, TIMEOUT):
        raise AirflowFailException(
            f"The trigger sent {event!r}, not a status of {READY!r} or {TIMEOUT!r}. Clear the task."
        )
    return str(status)


def as_json(result: object) -> Json:
    """A stage's result as JSON for XCom."""
    content: Json = to_jsonable_python(result)
    return content


class ModelOperator(BaseOperator):
    """Base of the bundle's operators. A subclass says in `run` which stage it calls.

    Args:
        model: Name of the model folder.
        as_of: ISO day that the run is about, templated; empty: the run's logical date.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of")  # type: ignore[misc]  # a class constant here
    ui_color = "#e8f0ee"

    def __init__(self, *, model: str, as_of: str = AS_OF, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.as_of = as_of

    def execute(self, context: "Context") -> Json:
        """Call the stage; its result is pushed to XCom as JSON."""
        with airflow_errors():
            return self.run(StoresHook(self.model).stores(), as_of_day(self.as_of, context), context)

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call one stage function."""
        raise NotImplementedError
