"""The whole loop for real: Airflow, MLflow, Great Expectations, the service, the demo's own days."""

import os
import signal
import time
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from trimtab.adapters.stores import Addresses, Stores
from trimtab.cli.airflow_api import AirflowApi
from trimtab.cli.demo import MODEL, Demo, Plan
from trimtab.cli.processes import Supervisor
from trimtab.cli.topology import AIRFLOW_USER, HOST, Home, environment
from trimtab.domain.release import releases, routing

if TYPE_CHECKING:
    from mlflow import MlflowClient

pytestmark = [pytest.mark.system, pytest.mark.timeout(840)]

PLAN = Plan(loaded=date(2013, 5, 3))
"""As the demo, but only the last days before the decay is found, and the days after, are runs in Airflow."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Home:
    """A home on PostgreSQL where that is installed, else on SQLite."""
    return Home(Path(tmp_path_factory.mktemp("home")), postgres_url)


@pytest.fixture(scope="module")
def servers(home: Home) -> Iterator[Supervisor]:
    """Everything that `make up` starts, after the demo has run on it."""
    with Supervisor(home) as supervisor:
        Demo(home, hands_on=False, plan=PLAN).run(supervisor)
        yield supervisor


@pytest.fixture(scope="module")
def stores(home: Home, servers: Supervisor) -> Stores:
    """The stores that the demo has filled."""
    return Stores(Addresses.from_environment(environment(home)), MODEL, str)


@pytest.fixture
def promoted(stores: Stores) -> str:
    """The version that the gate let through."""
    champion = routing(stores.ledger.entries("release")).champion
    assert champion not in (None, "1")
    return str(champion)


def test_decay_leads_to_retrainings_until_the_gate_is_content(stores: Stores) -> None:
    """Labels ask for the first one within a week of the onset; the cooldown and the gate decide about the others."""
    retrained = [entry.as_of for entry in stores.ledger.entries("retraining") if entry.kind == "retrain"]
    assert date(2013, 4, 29) <= retrained[0] <= date(2013, 5, 6)
    assert all((later - day).days >= 7 for day, later in pairwise(retrained))
    judged = [(entry.as_of, entry.kind) for entry in stores.ledger.entries("gate")][1:]
    kinds = ["refused"] * (len(retrained) - 1) + ["promoted"]
    assert judged[: len(retrained)] == list(zip(retrained, kinds, strict=True))


def test_release_goes_through_every_step(stores: Stores, promoted: str) -> None:
    """Approval, shadow, canaries, live and bake stand in the ledger in their order."""
    entries = stores.ledger.entries("release", promoted)
    steps = [entry.payload.get("step") or entry.kind for entry in entries]
    assert steps == ["requested", "approved", "shadow", "canary_5", "canary_50", "live", "done"]
    assert entries[1].payload["actor"] == "admin"
    assert releases(stores.ledger.entries("release"))[promoted].state == "done"


def test_new_version_errs_less_on_the_same_rows(stores: Stores, promoted: str) -> None:
    """Both versions predicted the days of the bake; the new one has the lower error on all of them together."""
    both = [entry.payload for entry in stores.ledger.entries("feedback") if {"1", promoted} <= set(entry.payload)]
    assert len(both) >= 3
    mean = {version: sum(payload[version]["loss"] for payload in both) for version in ("1", promoted)}  # type: ignore[index,call-overload]
    assert mean[promoted] < mean["1"]


def test_online_predictions_reach_the_lake(stores: Stores) -> None:
    """What the service answered stands in the lake with request id and version, and equals the batch's predictions."""
    rows = stores.lake.read("predictions", date(2013, 5, 7), date(2013, 5, 7))
    online, batch = rows[rows["_part"] == "online"], rows[rows["_part"] == "batch"]
    assert len(online) > 50  # a day passes in seconds, and its flights are asked for while it does
    assert online["request_id"].notna().all()
    same = online.merge(batch, on=["_key", "version"], suffixes=("", "_batch"))
    assert len(same) > 25
    assert (same["prediction"] - same["prediction_batch"]).abs().max() < 1e-9


@pytest.fixture
def mlflow_client(home: Home, servers: Supervisor, monkeypatch: pytest.MonkeyPatch) -> "MlflowClient":
    """A client of the server that the loop used."""
    from mlflow import MlflowClient

    variables = environment(home)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, variables[name])
    return MlflowClient(tracking_uri=variables["TRIMTAB_REGISTRY"])


def versions(client: "MlflowClient") -> set[str]:
    """Versions of the model that there are."""
    return {version.version for version in client.search_model_versions(f"name = '{MODEL}'")}


def test_registry_mirrors_the_ledger(stores: Stores, promoted: str, mlflow_client: "MlflowClient") -> None:
    """The aliases of MLflow say what the ledger says."""
    assert stores.registry.load(version=promoted).spec.name == MODEL
    assert mlflow_client.get_model_version_by_alias(MODEL, "champion").version == promoted
    tags = mlflow_client.get_model_version(MODEL, promoted).tags
    assert tags["trimtab.gate"] == "promoted"
    assert tags["trimtab.release"] == "done"


def test_training_outlives_a_registry_that_hangs_for_a_minute(
    home: Home, servers: Supervisor, mlflow_client: "MlflowClient"
) -> None:
    """The task is retried within bounds, and the training leaves one run and one version."""
    with AirflowApi(
        f"http://{HOST}:{home.ports.airflow}", AIRFLOW_USER, home.secret("airflow_admin_password")
    ) as airflow:
        _outage(airflow, servers, mlflow_client)


def _outage(airflow: AirflowApi, servers: Supervisor, mlflow_client: "MlflowClient") -> None:
    before = versions(mlflow_client)
    registry = servers.pid("mlflow")
    os.killpg(registry, signal.SIGSTOP)
    try:
        run_id = airflow.run(f"{MODEL}.train", "outage", {"as_of": "2013-05-06", "reason": "registry outage"})
        time.sleep(60)
        assert airflow.run_state(f"{MODEL}.train", run_id) == "running"
    finally:
        os.killpg(registry, signal.SIGCONT)
    assert airflow.wait_for_run(f"{MODEL}.train", run_id, timeout_s=240) == "success"
    assert len(versions(mlflow_client) - before) == 1
    experiment = mlflow_client.get_experiment_by_name(MODEL)
    assert experiment is not None
    runs = mlflow_client.search_runs([experiment.experiment_id], "tags.`trimtab.reason` = 'registry outage'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    attempts = [task for task in airflow.tasks(f"{MODEL}.train", run_id) if task["task_id"] == "train"]
    assert attempts[0]["try_number"] > 1
    assert attempts[0]["duration"] < 30
