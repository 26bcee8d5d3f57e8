"""What a person on call does about a release, from Airflow's form."""

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, timezone

from trimtab.hooks.stores import StoresHook
from trimtab.operators.model import airflow_errors

if TYPE_CHECKING:
    from airflow.sdk import Context


class InterveneOperator(BaseOperator):
    """Roll back, hold or resume a release, in the name of whoever started the run.

    Args:
        model: Name of the model folder.
        action: 'rollback', 'hold' or 'resume', templated.
        reason: Why, templated.
        version: Which release, templated; empty: the one that is on its way, or else the champion's.

    XCom: a sentence about what has come of it.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "action", "reason", "version")  # type: ignore[misc]
    ui_color = "#e8f0ee"

    def __init__(
        self,
        *,
        model: str,
        action: str = "{{ params.action }}",
        reason: str = "{{ params.reason }}",
        version: str = "{{ params.version or '' }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model, self.action, self.reason, self.version = model, action, reason, version

    def execute(self, context: "Context") -> str:
        """Call the stage `intervene`."""
        from trimtab.stages.intervene import intervene  # noqa: PLC0415

        with airflow_errors():
            stores = StoresHook(self.model).stores()
            said = intervene(
                self.action,
                actor=_who(context),
                reason=self.reason,
                version=self.version,
                ledger=stores.ledger,
                registry=stores.registry,
                lake=stores.lake,
                rows=stores.folder.spec.rows,
                clock=timezone.utcnow,
            )
        self.log.info("%s", said)
        return said


def _who(context: "Context") -> str:
    return str(getattr(context["dag_run"], "triggering_user_name", None) or "somebody in Airflow")
