"""What is loaded by what must be light, seen in a process of its own."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-module-level-imports"]
LOADED = """
import json, runpy, sys
for name in sys.argv[2:]:
    if name.endswith(".py"):
        runpy.run_path(name)
    else:
        __import__(name)
    print(json.dumps([name, sorted(set(json.loads(sys.argv[1])) & set(sys.modules))]))
"""


def loaded(names: list[str], watched: list[str], folder: Path) -> dict[str, list[str]]:
    """Which of the watched modules are loaded after each of the names has been imported, or run as a file."""
    variables = {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "TRIMTAB_MODELS": str(ROOT / "include" / "models"),
        "PYTHONPATH": str(ROOT / "plugins"),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOADED, json.dumps(watched), *names],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


def modules(folder: str) -> list[str]:
    files = sorted((ROOT / "plugins" / "trimtab" / folder).glob("*.py"))
    return [f"trimtab.{folder}.{file.stem}" for file in files if file.stem != "__init__"]


def test_dag_files_and_plugin_and_what_they_use_load_no_heavy_library(tmp_path: Path) -> None:
    """The DAG processor runs the files every few seconds, and each task runs the plugin and its own file."""
    files = [ROOT / "plugins" / "trimtab_plugin.py", *sorted((ROOT / "dags").glob("*.py"))]
    assert len(files) > 1
    layers = ("operators", "sensors", "triggers", "hooks", "listeners")
    names = [*map(str, files), *(name for layer in layers for name in modules(layer))]
    assert loaded(names, HEAVY, tmp_path) == {name: [] for name in names}


def test_the_domain_loads_nothing_but_numpy_and_pydantic(tmp_path: Path) -> None:
    names = modules("domain")
    watched = [*HEAVY, "airflow", "sqlalchemy", "fastapi", "yaml"]
    assert loaded(names, watched, tmp_path) == {name: [] for name in names}


def test_the_prediction_service_loads_no_airflow(tmp_path: Path) -> None:
    names = modules("serving")
    assert loaded(names, ["airflow"], tmp_path) == {name: [] for name in names}


def test_help_of_the_command_line_loads_next_to_nothing(tmp_path: Path) -> None:
    watched = [*HEAVY, "airflow", "numpy", "fastapi", "sqlalchemy", "rich", "psutil", "httpx"]
    assert loaded(["trimtab.cli.main"], watched, tmp_path) == {"trimtab.cli.main": []}
