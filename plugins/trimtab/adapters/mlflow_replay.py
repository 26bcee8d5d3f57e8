"""A replay in MLflow: an experiment for the model, a run for each policy."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from pathlib import Path

from mlflow.entities import Metric, Param

from trimtab.adapters.mlflow_connection import MlflowConnection
from trimtab.domain.replaying import DayLoss, Outcome

KEY = "trimtab.replay"
"""Tag that names a policy's replay by all that it follows from, so that a repetition finds its run."""
BATCH = 1000
"""Metrics that MLflow takes in one request."""
MILLISECONDS = 1000


def log_outcomes(
    connection: MlflowConnection,
    model: str,
    days: tuple[str, str],
    outcomes: Sequence[Outcome],
    *,
    keys: Mapping[str, str],
    policies: Mapping[str, str],
    report: Path,
) -> str:
    """Log each outcome as a run of the experiment '<model>.replay', once however often it is logged; its name.

    Args:
        connection: The server.
        model: Name of the model.
        days: First and last day of the replay, ISO.
        outcomes: What the policies came to.
        keys: By name of the policy, what names its replay.
        policies: By name, the policy as JSON.
        report: HTML file that goes with each run.

    Raises:
        RegistryUnavailableError: If the server does not answer.
    """
    name = f"{model}.replay"
    with connection.answering():
        experiment_id = _experiment(connection, name)
        for outcome in outcomes:
            key = f"{keys[outcome.policy]} {days[0]} {days[1]}"
            run_id = _run(connection, experiment_id, key, outcome.policy)
            params = [Param("policy", policies[outcome.policy]), Param("first", days[0]), Param("last", days[1])]
            connection.client.log_batch(run_id, params=params)
            metrics = _metrics(outcome)
            for begin in range(0, len(metrics), BATCH):
                connection.client.log_batch(run_id, metrics=metrics[begin : begin + BATCH])
            connection.client.log_artifact(run_id, str(report))
            connection.client.set_terminated(run_id)
    return name


def _experiment(connection: MlflowConnection, name: str) -> str:
    found = connection.client.get_experiment_by_name(name)
    return str(found.experiment_id if found else connection.client.create_experiment(name))


def _run(connection: MlflowConnection, experiment_id: str, key: str, policy: str) -> str:
    found = connection.client.search_runs([experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {KEY: key, "mlflow.runName": policy}
    return str(connection.client.create_run(experiment_id, tags=tags).info.run_id)


def _metrics(outcome: Outcome) -> list[Metric]:
    """Totals, and the loss of each day at the day's own time: MLflow draws it over the replay's calendar."""
    loss = outcome.loss_name.lower().replace(" ", "_")
    totals = {
        loss: outcome.loss,
        "fits": float(outcome.fits),
        **{f"{kind}s": float(outcome.count(kind)) for kind in ("promotion", "refusal", "rollback", "alarm")},
        **{f"{loss}_{month}": value for month, value in outcome.loss_by_month.items()},
    }
    last = _milliseconds(outcome.days[-1]) if outcome.days else 0
    return [
        *(Metric(name, value, last, 0) for name, value in totals.items()),
        *(Metric(f"daily_{loss}", one.loss, _milliseconds(one), step) for step, one in enumerate(outcome.days)),
    ]


def _milliseconds(one: DayLoss) -> int:
    return int(datetime.combine(one.day, time(), UTC).timestamp()) * MILLISECONDS
