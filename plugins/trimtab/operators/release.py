"""The decisions of a release: request, approval, live, rollback."""

from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import timezone

from trimtab.hooks.stores import StoresHook
from trimtab.operators.model import AS_OF, Json, airflow_errors, as_json, as_of_day
from trimtab.operators.releasing import LOOK_AGAIN, TRIPPED, VERSION, ReleaseOperator
from trimtab.triggers.release import TurnTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class RequestReleaseOperator(ReleaseOperator):
    """Ask for a version to become champion; while another release is on its way, wait or replace it as the spec says.

    Args:
        reason: Why, templated.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "version", "reason")  # type: ignore[misc]

    def __init__(self, *, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `request_release`."""
        from trimtab.stages.release import in_the_way, request_release  # noqa: PLC0415

        second, other = stores.folder.spec.release.second, in_the_way(self.version, stores.ledger)
        if other is not None and (second == "wait" or other.state == "live"):
            self.log.info("Waiting for the release of version %s to end.", other.version)
            self.wait_for(TurnTrigger, LOOK_AGAIN)
        release = request_release(
            self.version,
            as_of=day,
            reason=self.reason,
            ledger=stores.ledger,
            registry=stores.registry,
            second=second,
        )
        return as_json(release)


class ApproveReleaseOperator(ApprovalOperator):
    """Airflow's ApprovalOperator, with the answer in the ledger. No answer in time is a rejection.

    Args:
        model: Name of the model folder.
        version: Version that is released, templated.
        needed: Whether to ask at all, templated; anything but 'True' approves in the name of the spec.
        as_of: ISO day, templated.
    """

    template_fields: ClassVar[tuple[str, ...]] = (  # type: ignore[misc]
        *ApprovalOperator.template_fields,
        "model",
        "version",
        "needed",
        "as_of",
    )

    def __init__(self, *, model: str, needed: str, version: str = VERSION, as_of: str = AS_OF, **kwargs: Any) -> None:
        super().__init__(defaults="Reject", **kwargs)
        self.model, self.version, self.needed, self.as_of = model, version, needed, as_of

    def execute(self, context: "Context") -> Any:
        """Park until somebody answers, or approve at once where the spec does not ask."""
        if self.needed == "True":
            return super().execute(context)
        self._record(context, approved=True, actor="spec", comment="the spec asks nobody")
        return {"chosen_options": ["Approve"]}

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Any:
        """Record the answer, then let the parent skip what follows a rejection."""
        if "error" not in event:
            person = event.get("responded_by_user") or {}
            self._record(
                context,
                approved="Approve" in event["chosen_options"],
                actor=str(person.get("name") or "nobody"),
                comment="no answer in time" if event.get("timedout") else self._comment(event),
            )
        return super().execute_complete(context, event)

    @staticmethod
    def _comment(event: dict[str, Any]) -> str:
        return str((event.get("params_input") or {}).get("comment") or "no comment")

    def _record(self, context: "Context", *, approved: bool, actor: str, comment: str) -> None:
        from trimtab.stages.release import answer_release  # noqa: PLC0415

        with airflow_errors():
            stores = StoresHook(self.model).stores()
            answer_release(
                self.version,
                approved=approved,
                actor=actor,
                comment=comment,
                as_of=as_of_day(self.as_of, context),
                ledger=stores.ledger,
                registry=stores.registry,
            )


class LiveOperator(ReleaseOperator):
    """Make the version champion. The one before stays loaded until the release is done."""

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `go_live`."""
        from trimtab.stages.release import business_day, go_live  # noqa: PLC0415

        self.wait_while_held(stores)
        release = go_live(
            self.version,
            as_of=business_day(stores.lake, day),
            reason="all steps passed",
            ledger=stores.ledger,
            registry=stores.registry,
            lake=stores.lake,
            rows=stores.folder.spec.rows,
            traffic=stores.traffic,
        )
        return as_json(release)


class RollbackOperator(ReleaseOperator):
    """Return to the champion before, and check that it is what it was. Runs when a step has failed.

    Args:
        steps: Task ids that may have tripped; their reasons go to the ledger.
    """

    def __init__(self, *, steps: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = steps

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stages `roll_back` and `verify_rollback`."""
        from trimtab.domain.release import GUARD  # noqa: PLC0415
        from trimtab.stages.release import business_day, roll_back, verify_rollback  # noqa: PLC0415

        tripped = [text for text in context["ti"].xcom_pull(key=TRIPPED, task_ids=self.steps) or [] if text]
        writes: dict[str, Any] = {
            "as_of": business_day(stores.lake, day),
            "ledger": stores.ledger,
            "registry": stores.registry,
        }
        reason = "; ".join(tripped) or "a step of the release failed"
        release = roll_back(self.version, **writes, actor=GUARD, reason=reason, traffic=stores.traffic)
        found = verify_rollback(
            self.version, **writes, lake=stores.lake, rows=stores.folder.spec.rows, clock=timezone.utcnow
        )
        if found is not None:
            self.log.info("%s.", found.sentence)
        return as_json(release)
