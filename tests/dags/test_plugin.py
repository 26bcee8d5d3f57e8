"""What Airflow finds in the plugin folder, in a real plugins manager and a real api-server.

Airflow runs every file that it finds below its plugin folder as a top-level module named by the file's stem: a file
named like a module of the standard library would take that module's place in every process of Airflow.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.sql_ledger import open_engine

PLUGINS = Path(__file__).parents[2] / "plugins"

LOAD = """
import json, sys
sys.argv = json.loads(sys.argv[1])
import airflow.settings
from airflow import plugins_manager
from pathlib import Path

before = dict(sys.modules)
plugins_manager.ensure_plugins_loaded()
folder = Path(airflow.settings.PLUGINS_FOLDER)


def is_ours(module):
    file = getattr(module, "__file__", None)
    return bool(file) and Path(file).is_relative_to(folder)


print(json.dumps({
    "plugins": [plugin["name"] for plugin in plugins_manager.get_plugin_info()],
    "errors": plugins_manager.get_import_errors(),
    "ours": sorted(name for name, module in sys.modules.items() if is_ours(module)),
    "replaced": sorted(name for name, module in before.items() if sys.modules.get(name) is not module),
    "stolen": sorted(name for name, module in sys.modules.items()
                     if name.partition(".")[0] in sys.stdlib_module_names and is_ours(module)),
    "loaded": sorted({name.partition(".")[0] for name in sys.modules.keys() - before.keys()}),
    "fastapi_apps": [app["url_prefix"] for app in plugins_manager.get_fastapi_plugins()[0]],
    "views": [[view["destination"], view["href"]] for view in plugins_manager._get_ui_plugins()[0]],
    "listeners": len(plugins_manager._get_plugins()[0][0].listeners),
}))
"""

SERVE = """
import json, os, sys
sys.argv = ["airflow", "api-server"]
import warnings
warnings.simplefilter("ignore")
os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
from airflow.utils.db import initdb
initdb()
from airflow.api_fastapi.app import create_app
from fastapi.testclient import TestClient

http = TestClient(create_app())
token = http.post("/auth/token", json={"username": "viewer", "password": "seen"}).json()["access_token"]
bearer = {"Authorization": f"Bearer {token}"}


def ask(path, **how):
    answer = TestClient(http.app, **how).get(path)
    return [answer.status_code, answer.text]


print(json.dumps({
    "anonymous": {path: ask(path) for path in
                  ("/trimtab/", "/trimtab/model/flight_air_time", "/trimtab/dag/x", "/trimtab/docs",
                   "/trimtab/openapi.json")},
    "bearer": ask("/trimtab/", headers=bearer),
    "cookie": ask("/trimtab/model/flight_air_time", cookies={"_token": token}),
    "forged": ask("/trimtab/", headers={"Authorization": f"Bearer {token[:-4]}AAAA"}),
    "errors": http.get("/api/v2/plugins/importErrors", headers=bearer).json()["import_errors"],
}))
"""


def run(program: str, folder: Path, argv: list[str], **environment: str) -> dict[str, Any]:
    """Run a program in a process of its own, and read the JSON of its last line."""
    process = subprocess.run(
        [sys.executable, "-c", program, json.dumps(argv)],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "TRIMTAB"))},
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    report: dict[str, Any] = json.loads(process.stdout.strip().splitlines()[-1])
    return report


@pytest.fixture(scope="module")
def in_task(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process sees that is not the api-server, such as a task's."""
    return run(LOAD, tmp_path_factory.mktemp("airflow"), ["airflow", "scheduler"])


@pytest.fixture(scope="module")
def in_api_server(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(LOAD, tmp_path_factory.mktemp("airflow"), ["airflow", "api-server", "--workers", "2"])


def test_there_is_exactly_one_plugin_and_it_loads(in_task: dict[str, Any], in_api_server: dict[str, Any]) -> None:
    for report in (in_task, in_api_server):
        assert (report["plugins"], report["errors"]) == (["trimtab"], {})


def test_only_the_plugin_file_is_loaded_and_not_the_package_beside_it(in_task: dict[str, Any]) -> None:
    assert in_task["ours"] == ["trimtab_plugin"]


def test_in_the_api_server_the_package_is_imported_under_its_own_name(in_api_server: dict[str, Any]) -> None:
    assert "trimtab.ui.routes" in in_api_server["ours"]
    assert {name.partition(".")[0] for name in in_api_server["ours"]} == {"trimtab", "trimtab_plugin"}


def test_no_module_is_replaced_least_of_all_of_the_standard_library(
    in_task: dict[str, Any], in_api_server: dict[str, Any]
) -> None:
    for report in (in_task, in_api_server):
        assert (report["replaced"], report["stolen"]) == ([], [])


def test_a_task_pays_for_nothing_but_the_plugin_file(in_task: dict[str, Any]) -> None:
    heavy = {"fastapi", "jinja2", "mlflow", "numpy", "pandas", "sklearn", "sqlalchemy", "trimtab", "yaml"}
    assert heavy.isdisjoint(in_task["loaded"])


def test_the_page_is_mounted_in_the_api_server_only(in_task: dict[str, Any], in_api_server: dict[str, Any]) -> None:
    assert (in_task["fastapi_apps"], in_api_server["fastapi_apps"]) == ([], ["/trimtab"])


def test_the_page_is_in_the_navigation_and_a_tab_of_each_dag(in_api_server: dict[str, Any]) -> None:
    assert in_api_server["views"] == [["nav", "trimtab/"], ["dag", "trimtab/dag/{DAG_ID}"]]


def test_warm_workers_listen_in_the_scheduler_if_they_are_asked_to(in_task: dict[str, Any], tmp_path: Path) -> None:
    asked = run(LOAD, tmp_path, ["airflow", "scheduler"], TRIMTAB_WARM_WORKERS="1")
    assert (in_task["listeners"], asked["listeners"]) == (0, 1)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a real api-server with Airflow's own users answers."""
    folder = tmp_path_factory.mktemp("airflow")
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps({"viewer": "seen"}))
    ledger = f"sqlite:///{folder}/ledger.db"
    engine = open_engine(ledger)
    migrate(engine)
    engine.dispose()
    return run(
        SERVE,
        folder,
        [],
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="viewer:viewer",
        AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=str(passwords),
        AIRFLOW__API_AUTH__JWT_SECRET="s" * 64,
        AIRFLOW_CONN_TRIMTAB_LEDGER=json.dumps({"conn_type": "generic", "extra": {"uri": ledger}}),
    )


def test_the_real_server_shows_nothing_to_anonymous_and_forged_requests(answers: dict[str, Any]) -> None:
    pages = {path: answer for path, answer in answers["anonymous"].items() if "docs" not in path and "open" not in path}
    assert {json.dumps(answer) for answer in pages.values()} == {json.dumps([401, '{"detail":"Not authenticated"}'])}
    assert {answers["anonymous"][path][0] for path in ("/trimtab/docs", "/trimtab/openapi.json")} == {404}
    assert answers["forged"][0] in (401, 403)
    assert "trimtab" not in answers["forged"][1].lower()


def test_the_real_server_reads_the_ledger_that_its_connection_names(answers: dict[str, Any]) -> None:
    for how in ("bearer", "cookie"):
        status, text = answers[how]
        assert status == 200
        assert "No version is live. Train a first one." in text
    assert answers["errors"] == []
