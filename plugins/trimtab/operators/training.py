"""The steps of a training: snapshot, train, evaluate, gate, register."""

from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowSkipException

from trimtab.operators.model import Json, ModelOperator, as_json

if TYPE_CHECKING:
    from airflow.sdk import Context

    from trimtab.adapters.stores import Stores


class SnapshotOperator(ModelOperator):
    """Pin down the versions of the tables that a training will see.

    Args:
        reason: Why a training was asked for, templated.
        window_days: Overrides the windows of the candidates, templated; empty: as in the spec.

    XCom: the snapshot. Skipped, with what is missing, if there are too few labelled rows.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "reason", "window_days")  # type: ignore[misc]

    def __init__(self, *, reason: str, window_days: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reason, self.window_days = reason, window_days

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `snapshot`."""
        from trimtab.stages.snapshot import snapshot, snapshot_payload  # noqa: PLC0415

        spec = stores.folder.spec
        result = snapshot(
            day,
            lake=stores.lake,
            ledger=stores.ledger,
            train=spec.train,
            label=spec.label,
            reason=self.reason,
            window_days=int(self.window_days) if self.window_days else None,
        )
        if result.snapshot is None:
            raise AirflowSkipException(f"No training as of {day}: {result.reason}.")
        return {**snapshot_payload(result.snapshot), "rows": result.rows, "reason": result.reason}


class SnapshotStepOperator(ModelOperator):
    """Base of the steps that read a snapshot.

    Args:
        snapshot: What SnapshotOperator pushed.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "snapshot")  # type: ignore[misc]

    def __init__(self, *, snapshot: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot


class TrainOperator(SnapshotStepOperator):
    """Fit every candidate of the spec and log each as a run.

    XCom: the runs. A training that is in the registry already is not repeated. Retried while the registry is down.
    """

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `train` for each candidate."""
        from trimtab.stages.snapshot import snapshot_from  # noqa: PLC0415
        from trimtab.stages.train import train  # noqa: PLC0415

        spec = stores.folder.spec
        runs = [
            train(
                snapshot_from(self.snapshot),
                candidate,
                lake=stores.lake,
                registry=stores.registry,
                trainer=stores.trainer,
                rows=spec.rows,
                features=spec.features,
                label=spec.label,
                slices=spec.slices,
                seed=spec.train.seed,
                reason=str(self.snapshot["reason"]),
            )
            for candidate in spec.train.candidates
        ]
        return {"runs": [as_json(run) for run in runs]}


class EvaluateOperator(SnapshotStepOperator):
    """Compare the candidates with champion and trivial baseline on the hold-out.

    Args:
        runs: What TrainOperator pushed.

    XCom: the best candidate with its run and metrics.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "snapshot", "runs")  # type: ignore[misc]

    def __init__(self, *, runs: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.runs = runs

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `evaluate`."""
        from trimtab.domain.ports import TrainingRun  # noqa: PLC0415
        from trimtab.stages.evaluate import evaluate  # noqa: PLC0415
        from trimtab.stages.snapshot import snapshot_from  # noqa: PLC0415

        spec = stores.folder.spec
        result = evaluate(
            snapshot_from(self.snapshot),
            [TrainingRun(**run) for run in self.runs["runs"]],
            lake=stores.lake,
            ledger=stores.ledger,
            registry=stores.registry,
            trainer=stores.trainer,
            plotter=stores.plotter,
            candidates=spec.train.candidates,
            rows=spec.rows,
            slices=spec.slices,
            label=spec.label,
            gate=spec.gate,
        )
        return as_json(result)


class GateOperator(SnapshotStepOperator):
    """Decide whether the best candidate may be released.

    Args:
        best: What EvaluateOperator pushed.

    XCom: `promote`, and every check with its reason. A refusal is a result, not a failure.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "snapshot", "best")  # type: ignore[misc]

    def __init__(self, *, best: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.best = best

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `gate`."""
        from trimtab.stages.gate import gate  # noqa: PLC0415
        from trimtab.stages.snapshot import snapshot_from  # noqa: PLC0415

        spec = stores.folder.spec
        decision = gate(
            snapshot_from(self.snapshot),
            self.best["training_id"],
            next(one for one in spec.train.candidates if one.name == self.best["candidate"]),
            lake=stores.lake,
            ledger=stores.ledger,
            registry=stores.registry,
            trainer=stores.trainer,
            rows=spec.rows,
            slices=spec.slices,
            label=spec.label,
            gate_spec=spec.gate,
            seed=spec.train.seed,
        )
        self.log.info(decision.summary)
        return {**as_json(decision), "summary": decision.summary}


class RegisterOperator(ModelOperator):
    """Register the best candidate as a version, tagged with the gate's decision and reason.

    Args:
        best: What EvaluateOperator pushed.
        decision: What GateOperator pushed.

    XCom: the version. A version that the gate refused is registered too, and what follows is skipped.
    """

    template_fields: ClassVar[tuple[str, ...]] = ("model", "as_of", "best", "decision")  # type: ignore[misc]

    def __init__(self, *, best: Any, decision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.best, self.decision = best, decision

    def run(self, stores: "Stores", day: date, context: "Context") -> Json:
        """Call the stage `register`."""
        from trimtab.stages.register import register  # noqa: PLC0415

        version = register(
            self.best["run_id"], self.best["training_id"], ledger=stores.ledger, registry=stores.registry
        )
        if not self.decision["promote"]:
            raise AirflowSkipException(f"Version {version} is registered as refused. {self.decision['summary']}")
        return {"version": version, "reason": self.decision["summary"]}
