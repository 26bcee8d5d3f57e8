"""DAG files as Airflow's DAG processor reads them, in a process of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
READ = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
fields = lambda param: {"description": param.description, **param.schema}
print("@@" + json.dumps({
    "errors": {file.rpartition("/")[2]: error for file, error in bag.import_errors.items()},
    "dags": {
        dag.dag_id: {
            "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
            "params": {name: fields(dag.params.get_param(name)) for name in dag.params},
        }
        for dag in bag.dags.values()
    },
}))
"""


@pytest.fixture(scope="session")
def read_dags(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Reads a folder of DAG files with given model folders."""
    home = tmp_path_factory.mktemp("airflow")

    def read(dags: Path, models: Path) -> dict[str, Any]:
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "TRIMTAB_MODELS": str(models),
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", READ, str(dags)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        content: dict[str, Any] = json.loads(done.stdout.rpartition("@@")[2])
        return content

    return read
