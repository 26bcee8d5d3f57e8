"""The steps of a release: request, approval, shadow and canary, live, bake, rollback."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import timezone
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
from trimtab.triggers.release import BakeTrigger, ReleaseTrigger, ResumedTrigger, StepTrigger, TurnTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores
    from trimtab.domain.guards import GuardReport
    from trimtab.domain.spec import StepSpec

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


class JudgedOperator(ReleaseOperator):
    """Base of the steps that wait for evidence. Evidence that does not come in time leads to a hold, never on."""

    trigger: ClassVar[type[ReleaseTrigger]]

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Json:
        """Judge again, now that there is something to judge or the time is over."""
        status = checked_event(event)
        with airflow_errors():
            stores = StoresHook(self.model).stores()
            return self.judge(stores, as_of_day(self.as_of, context), context, is_late=status == TIMEOUT)

    def judge(self, stores: "Stores", day: date, context: "Context", *, is_late: bool = False) -> Json:
        """Go on, fail, or wait for more; a release that a guard holds is resumed by the evidence that it lacked."""
        from trimtab.domain.release import GUARD  # noqa: PLC0415
        from trimtab.stages.release import business_day, hold_release, release_of, resume_release  # noqa: PLC0415

        report = self.report(stores)
        writes: dict[str, Any] = {
            "as_of": business_day(stores.lake, day),
            "actor": GUARD,
            "reason": "; ".join(report.reasons),
            "ledger": stores.ledger,
            "registry": stores.registry,
        }
        if report.outcome == "wait":
            if is_late:
                hold_release(self.version, **writes)
            self.log.info("Waiting: %s.", writes["reason"])
            self.wait_for(self.trigger, self.patience(stores), **self.trigger_arguments())
        if report.outcome == "trip":
            self.trip(context, report.reasons)
        if release_of(self.version, stores.ledger).held_by == GUARD:
            resume_release(self.version, **writes)
        return as_json(report)

    def report(self, stores: "Stores") -> "GuardReport":
        """What the evidence says."""
        raise NotImplementedError

    def patience(self, stores: "Stores") -> timedelta:
        """How long to wait before the release is held."""
        raise NotImplementedError

    def trigger_arguments(self) -> dict[str, Any]:
        """Arguments of the trigger, beside model and version."""
        return {}


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


class ReleaseStepOperator(JudgedOperator):
    """Give the challenger its share of the traffic, wait for evidence without a worker, and judge it.

    Args:
        step: Name of the step in the spec.

    XCom: what the guards said. A guard that trips fails the task without retries, and the rollback follows. Evidence
    that does not come within the spec's `hold_hours` holds the release, until it comes or a person decides. The first
    release of a model has no champion to run beside and passes at once.
    """

    trigger = StepTrigger

    def __init__(self, *, step: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stages `begin_step` and `watch_step`."""
        from trimtab.stages.release import begin_step, business_day, has_begun, release_of  # noqa: PLC0415

        if release_of(self.version, stores.ledger).previous is None:
            return {"outcome": "pass", "reasons": ["the model has no champion to run beside"]}
        step = self._step(stores)
        if not has_begun(self.version, step, stores.ledger):
            self.wait_while_held(stores)
            begin_step(
                self.version,
                step,
                as_of=business_day(stores.lake, day),
                ledger=stores.ledger,
                registry=stores.registry,
                traffic=stores.traffic,
            )
        return self.judge(stores, day, context)

    def report(self, stores: "Stores") -> "GuardReport":
        """Call the stage `watch_step`."""
        from trimtab.stages.release import watch_step  # noqa: PLC0415
        from trimtab.stages.step_evidence import step_quality  # noqa: PLC0415

        spec = stores.folder.spec
        quality = step_quality(self.version, ledger=stores.ledger, lake=stores.lake, label=spec.label)
        return watch_step(
            self.version,
            self._step(stores),
            spec=spec.release,
            ledger=stores.ledger,
            traffic=stores.traffic,
            quality=quality,
        )

    def patience(self, stores: "Stores") -> timedelta:
        """As the spec says."""
        return timedelta(hours=stores.folder.spec.release.hold_hours)

    def trigger_arguments(self) -> dict[str, Any]:
        """Which step."""
        return {"step": self.step}

    def _step(self, stores: "Stores") -> "StepSpec":
        return next(step for step in stores.folder.spec.release.steps if step.name == self.step)


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


class BakeOperator(JudgedOperator):
    """Wait, without a worker, until labels of the spec's `bake_days` have come, then compare with the version before.

    Args:
        longest: How long to wait before the release is held for want of labels.
    """

    trigger = BakeTrigger

    def __init__(self, *, longest: timedelta = timedelta(days=60), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.longest = longest

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stages `watch_bake` and `finish_release`."""
        return self.judge(stores, day, context)

    def judge(self, stores: "Stores", day: date, context: "Context", *, is_late: bool = False) -> Json:
        """As in a step; what has baked well is done."""
        from trimtab.stages.release import business_day, finish_release  # noqa: PLC0415

        report = super().judge(stores, day, context, is_late=is_late)
        finish_release(
            self.version,
            as_of=business_day(stores.lake, day),
            reasons=report["reasons"],
            ledger=stores.ledger,
            registry=stores.registry,
        )
        return report

    def report(self, stores: "Stores") -> "GuardReport":
        """Call the stage `watch_bake`."""
        from trimtab.stages.bake import watch_bake  # noqa: PLC0415

        spec = stores.folder.spec
        return watch_bake(self.version, spec=spec.release, label=spec.label, ledger=stores.ledger, lake=stores.lake)

    def patience(self, stores: "Stores") -> timedelta:
        """Labels may take long."""
        return self.longest


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
