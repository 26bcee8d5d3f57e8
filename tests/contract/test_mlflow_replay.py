"""A replay in a real MLflow: a run for each policy, once."""

from datetime import date, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from mlflow_servers import MlflowServer
from trimtab.adapters.mlflow_connection import MlflowConnection
from trimtab.adapters.mlflow_replay import log_outcomes
from trimtab.domain.replaying import DayLoss, Event, Outcome

FIRST = date(2013, 3, 31)


def outcome(policy: str, level: float) -> Outcome:
    days = tuple(DayLoss(day=FIRST + timedelta(days=number), rows=10, loss=level + number) for number in range(3))
    return Outcome(
        policy=policy,
        description="",
        loss_name="log loss",
        days=days,
        events=(Event(day=FIRST, kind="promotion", reason=""),),
        fits=2,
        seconds=1.0,
    )


def log(server: MlflowServer, report: Path) -> str:
    return log_outcomes(
        MlflowConnection(server.uri, server.user, server.password),
        "flights",
        ("2013-03-31", "2013-04-02"),
        [outcome("static", 2.0), outcome("guarded", 1.0)],
        keys={"static": "static-1", "guarded": "guarded-1"},
        policies={"static": "{}", "guarded": "{}"},
        report=report,
    )


@pytest.mark.integration
def test_each_policy_is_a_run_however_often_it_is_logged(mlflow_server: MlflowServer, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("<html></html>", encoding="utf-8")
    assert log(mlflow_server, report) == log(mlflow_server, report) == "flights.replay"
    client: MlflowClient = MlflowConnection(mlflow_server.uri, mlflow_server.user, mlflow_server.password).client
    experiment = client.get_experiment_by_name("flights.replay")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"static", "guarded"}
    guarded = runs["guarded"]
    assert guarded.info.status == "FINISHED"
    assert guarded.data.metrics["log_loss"] == 2.0
    assert guarded.data.metrics["log_loss_2013-04"] == 2.5
    assert (guarded.data.metrics["fits"], guarded.data.metrics["promotions"]) == (2.0, 1.0)
    points = client.get_metric_history(guarded.info.run_id, "daily_log_loss")
    assert [(point.step, point.value) for point in points] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert [file.path for file in client.list_artifacts(guarded.info.run_id)] == ["report.html"]
