"""The steps of a release: request, approval, shadow and canary, live, bake, rollback."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk.exceptions import AirflowFailException

from trimtab.hooks.stores import StoresHook
from trimtab.operators.model import (
    AS_OF,
    Json,
    ModelOperator,
    airflow_errors,
    as_json,
    as_of_day,
    checked_event,
    deadline_in,
)
from trimtab.triggers.polling import TIMEOUT
from trimtab.triggers.release import BakeTrigger, StepTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores
    from trimtab.domain.release import GuardReport

VERSION = "{{ params.version }}"
GUARD = "guard"
"""XCom key under which a step says why it tripped."""


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
        context["ti"].xcom_push(GUARD, f"{self.task_id}: {text}")
        raise AirflowFailException(f"Release of version {self.version} does not pass {self.task_id}: {text}.")


class RequestReleaseOperator(ReleaseOperator):
    """Ask for a version to become champion; refused while another release is on its way.

    Args:
        reason: Why, templated.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "version", "reason")  # type: ignore[misc]

    def __init__(self, *, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `request_release`."""
        from trimtab.stages.release import request_release  # noqa: PLC0415

        release = request_release(
            self.version, as_of=day, reason=self.reason, ledger=stores.ledger, registry=stores.registry
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


class ReleaseStepOperator(ReleaseOperator):
    """Give the challenger its share of the traffic, wait for evidence without a worker, and judge it.

    Args:
        step: Name of the step in the spec.

    XCom: what the guards said. A guard that trips, or evidence that does not come within the spec's `hold_hours`,
    fails the task without retries, and the rollback follows. The first release of a model has no champion to run
    beside and passes at once.
    """

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stages `begin_step` and `watch_step`."""
        from trimtab.stages.release import begin_step, business_day, release_of  # noqa: PLC0415

        if release_of(self.version, stores.ledger).previous is None:
            return {"outcome": "pass", "reasons": ["the model has no champion to run beside"]}
        day = business_day(stores.lake, day)
        begin_step(self.version, self._step(stores), as_of=day, ledger=stores.ledger, registry=stores.registry)
        return self._judge(stores, context, wait=True)

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Json:
        """Judge again, now that the trigger has seen enough or the time is over."""
        status = checked_event(event)
        with airflow_errors():
            return self._judge(StoresHook(self.model).stores(), context, wait=status != TIMEOUT)

    def _judge(self, stores: "Stores", context: "Context", *, wait: bool) -> Json:
        from trimtab.stages.release import watch_step  # noqa: PLC0415

        spec = stores.folder.spec.release
        report = watch_step(self.version, self._step(stores), spec=spec, ledger=stores.ledger, traffic=stores.traffic)
        if report.outcome == "wait" and wait:
            deadline = deadline_in(timedelta(hours=spec.hold_hours))
            self.log.info("Waiting: %s.", "; ".join(report.reasons))
            self.defer(
                trigger=StepTrigger(model=self.model, version=self.version, step=self.step, deadline=deadline),
                method_name="execute_complete",
            )
        return _passed(self, context, report)

    def _step(self, stores: "Stores") -> Any:
        return next(step for step in stores.folder.spec.release.steps if step.name == self.step)


class LiveOperator(ReleaseOperator):
    """Make the version champion. The one before stays loaded until the release is done."""

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `go_live`."""
        from trimtab.stages.release import business_day, go_live  # noqa: PLC0415

        day = business_day(stores.lake, day)
        release = go_live(
            self.version, as_of=day, reason="all steps passed", ledger=stores.ledger, registry=stores.registry
        )
        return as_json(release)


class BakeOperator(ReleaseOperator):
    """Wait, without a worker, until labels of the spec's `bake_days` have come, then compare with the version before.

    Args:
        longest: How long to wait at most; then the release is rolled back for want of evidence.
    """

    def __init__(self, *, longest: timedelta = timedelta(days=60), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.longest = longest

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stages `watch_bake` and `finish_release`."""
        return self._judge(stores, day, context, wait=True)

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Json:
        """Judge again, now that the labels have come or the time is over."""
        status = checked_event(event)
        with airflow_errors():
            day = as_of_day(self.as_of, context)
            return self._judge(StoresHook(self.model).stores(), day, context, wait=status != TIMEOUT)

    def _judge(self, stores: "Stores", day: date, context: "Context", *, wait: bool) -> Json:
        from trimtab.stages.release import business_day, finish_release, watch_bake  # noqa: PLC0415

        spec = stores.folder.spec
        report = watch_bake(self.version, spec=spec.release, label=spec.label, ledger=stores.ledger, lake=stores.lake)
        if report.outcome == "wait" and wait:
            self.log.info("Waiting: %s.", "; ".join(report.reasons))
            trigger = BakeTrigger(model=self.model, version=self.version, deadline=deadline_in(self.longest))
            self.defer(trigger=trigger, method_name="execute_complete")
        result = _passed(self, context, report)
        day = business_day(stores.lake, day)
        finish_release(self.version, as_of=day, reasons=report.reasons, ledger=stores.ledger, registry=stores.registry)
        return result


class RollbackOperator(ReleaseOperator):
    """Return to the champion before. Runs when a step has failed.

    Args:
        steps: Task ids that may have tripped; their reasons go to the ledger.
    """

    def __init__(self, *, steps: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.steps = steps

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `roll_back`."""
        from trimtab.stages.release import business_day, roll_back  # noqa: PLC0415

        tripped = [text for text in context["ti"].xcom_pull(key=GUARD, task_ids=self.steps) or [] if text]
        release = roll_back(
            self.version,
            as_of=business_day(stores.lake, day),
            actor="guard",
            reason="; ".join(tripped) or "a step of the release failed",
            ledger=stores.ledger,
            registry=stores.registry,
        )
        return as_json(release)


def _passed(operator: ReleaseOperator, context: "Context", report: "GuardReport") -> Json:
    if report.outcome != "pass":
        operator.trip(context, report.reasons)
    return as_json(report)
