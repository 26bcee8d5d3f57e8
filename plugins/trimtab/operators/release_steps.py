"""The steps of a release that wait for evidence: shadow, canary, bake."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from trimtab.hooks.stores import StoresHook
from trimtab.operators.model import Json, airflow_errors, as_json, as_of_day, checked_event
from trimtab.operators.releasing import ReleaseOperator
from trimtab.triggers.polling import TIMEOUT
from trimtab.triggers.release import BakeTrigger, ReleaseTrigger, StepTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores
    from trimtab.domain.guards import GuardReport
    from trimtab.domain.spec import StepSpec


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
        """Call the stages `measure_memory`, `begin_step` and `watch_step`."""
        from trimtab.stages.memory import measure_memory  # noqa: PLC0415
        from trimtab.stages.release import begin_step, business_day, has_begun, release_of  # noqa: PLC0415

        if release_of(self.version, stores.ledger).previous is None:
            return {"outcome": "pass", "reasons": ["the model has no champion to run beside"]}
        step = self._step(stores)
        if not has_begun(self.version, step, stores.ledger):
            self.wait_while_held(stores)
            spec = stores.folder.spec
            known: dict[str, Any] = {"ledger": stores.ledger, "registry": stores.registry}
            measured = measure_memory(
                self.version,
                guards=spec.release.guards,
                **known,
                lake=stores.lake,
                rows=spec.rows,
                trial=stores.memory_trial,
            )
            begin_step(
                self.version,
                step,
                as_of=business_day(stores.lake, day),
                **known,
                traffic=stores.traffic,
                measured=measured,
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
