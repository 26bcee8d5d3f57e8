"""Act on a verdict: retrain, open an incident, or leave it."""

from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.branch import BaseBranchOperator

from trimtab.hooks.stores import StoresHook
from trimtab.operators.model import Json, ModelOperator, airflow_errors, as_json, as_of_day

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class RetrainBranchOperator(BaseBranchOperator):
    """Ask the retraining policy about a day's verdict and follow the branch of its action.

    Where a training would be the answer, or would be if it had not to wait, former champions are tried first on the
    last labelled days, then the champion with its level corrected, which is put to the gate. Where a stale model asks
    for it, also whether the window of a training is short enough to follow.

    Args:
        model: Name of the model folder.
        as_of: ISO day of the verdict, templated.
        retrain: Task id to follow for a retraining.
        release: Task id to follow to release a version that needs no training: a former champion, or the champion with
            its level corrected.
        incident: Task id to follow for an incident.

    XCom: action, reason and version under the key `decision`. Every decision, also "nothing", is in the ledger.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of")  # type: ignore[misc]

    def __init__(self, *, model: str, as_of: Any, retrain: str, release: str, incident: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.as_of = model, as_of
        self.branches = {
            "retrain": [retrain],
            "recall": [release],
            "recalibrate": [release],
            "incident": [incident],
            "nothing": [],
        }

    def choose_branch(self, context: "Context") -> list[str]:
        """Call the stage `watch`; the task ids to follow."""
        from trimtab.stages.watch import watch  # noqa: PLC0415

        with airflow_errors():
            stores = StoresHook(self.model).stores()
            spec = stores.folder.spec
            decision = watch(
                as_of_day(self.as_of, context),
                lake=stores.lake,
                ledger=stores.ledger,
                registry=stores.registry,
                trainer=lambda: stores.trainer,
                plotter=lambda: stores.plotter,
                rows=spec.rows,
                slices=spec.slices,
                label=spec.label,
                gate=spec.gate,
                train=spec.train,
                monitor=spec.monitor,
                policy=spec.retrain,
            )
        self.log.info("%s: %s", decision.action, decision.reason)
        context["ti"].xcom_push("decision", as_json(decision))
        return self.branches[decision.action.value]


class IncidentOperator(ModelOperator):
    """Record that a person must look at a day.

    Args:
        reason: What is wrong, templated.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "reason")  # type: ignore[misc]

    def __init__(self, *, reason: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason = reason

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `open_incident`."""
        from trimtab.stages.retrain import open_incident  # noqa: PLC0415

        open_incident(day, self.reason, ledger=stores.ledger)
        return {"as_of": day.isoformat(), "reason": self.reason}
