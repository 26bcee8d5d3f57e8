"""What the tasks of the daily DAG cost beside a no-op `@task` in the same Airflow.

    python benchmarks/daily_dag.py [DAYS]

Starts the servers on a home of its own, loads three weeks of flights, trains a champion, then runs the daily DAG for
some days, with a DAG of one no-op task after each. Prints for each task the median wall time (start to end, as Airflow
has it) and its ratio to the no-op, and the mean ratio.
"""

import json
import os
import statistics
import sys
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path

from trimtab.adapters.stores import Addresses, Stores
from trimtab.cli.airflow_api import AirflowApi
from trimtab.cli.history import load_day, release, train_first, watch_day
from trimtab.cli.processes import Supervisor
from trimtab.cli.topology import AIRFLOW_USER, HOST, Home, environment

MODEL = "flight_air_time"
FIRST, TRAINED, LOADED = date(2013, 1, 1), date(2013, 1, 21), date(2013, 1, 29)
NO_OP_DAG = """
from datetime import datetime, timezone
from airflow.sdk import DAG, task

with DAG("no_op", schedule=None, start_date=datetime(2013, 1, 1, tzinfo=timezone.utc), catchup=False):

    @task
    def no_op():
        return 1

    no_op()
"""


def main(days: int) -> None:
    """Run the benchmark and print its table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "dags").mkdir()
        (root / "dags" / "no_op.py").write_text(NO_OP_DAG)
        home = Home(root / "home")
        os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(
            [_bundle("trimtab", Path(__file__).parents[1] / "dags"), _bundle("no_op", root / "dags")]
        )
        with Supervisor(home) as supervisor:
            supervisor.start()
            supervisor.wait_ready()
            durations = _measure(home, days)
    _print(durations)


def _bundle(name: str, path: Path) -> dict[str, object]:
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return {"name": name, "classpath": classpath, "kwargs": {"path": str(path), "refresh_interval": 15}}


def _measure(home: Home, days: int) -> dict[str, list[float]]:
    addresses = Addresses.from_environment(environment(home))
    stores = Stores(addresses, MODEL, str)
    for offset in range((TRAINED - FIRST).days + 1):
        load_day(FIRST + timedelta(days=offset), stores)
    trained = train_first(TRAINED, stores, window_days=14, reason="benchmark")  # good or bad, it costs the same
    release(trained.version, stores, as_of=TRAINED, actor="benchmark", reason="benchmark")
    for offset in range(1, (LOADED - TRAINED).days + 1):
        load_day(TRAINED + timedelta(days=offset), stores)
        watch_day(TRAINED + timedelta(days=offset), stores)
    url = f"http://{HOST}:{home.ports.airflow}"
    airflow = AirflowApi(url, AIRFLOW_USER, home.secret("airflow_admin_password"))
    airflow.wait_for_dags(["no_op", f"{MODEL}.daily"])
    for dag_id in ("no_op", f"{MODEL}.daily"):
        airflow.unpause(dag_id)
    return _run_days(airflow, [LOADED + timedelta(days=offset) for offset in range(1, days + 2)])


def _run_days(airflow: AirflowApi, days: list[date]) -> dict[str, list[float]]:
    durations: dict[str, list[float]] = {}
    for day in days:
        for dag_id in (f"{MODEL}.daily", "no_op"):
            run_id = airflow.run_day(dag_id, day)
            state = airflow.wait_for_run(dag_id, run_id)
            if state != "success":
                raise SystemExit(f"{dag_id} {run_id} ended as {state}")
            if day > days[0]:  # the first run of an installation pays for what is made once
                for task_id, seconds in _durations(airflow, dag_id, run_id).items():
                    durations.setdefault(task_id, []).append(seconds)
    return durations


def _durations(airflow: AirflowApi, dag_id: str, run_id: str) -> dict[str, float]:
    return {
        task["task_id"]: (
            datetime.fromisoformat(task["end_date"]) - datetime.fromisoformat(task["start_date"])
        ).total_seconds()
        for task in airflow.tasks(dag_id, run_id)
        if task["start_date"] and task["end_date"]
    }


def _print(durations: dict[str, list[float]]) -> None:
    no_op = statistics.median(durations["no_op"])
    ratios = []
    print(f"{'task':<16}{'median s':>10}{'x no-op':>10}{'runs':>6}")
    for task_id, values in durations.items():
        median = statistics.median(values)
        if task_id != "no_op":
            ratios.append(median / no_op)
        print(f"{task_id:<16}{median:>10.3f}{median / no_op:>10.2f}{len(values):>6}")
    print(f"mean over the tasks of the daily DAG: {statistics.mean(ratios):.2f} x the no-op (2 x at most)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
