"""The compose file runs what `trimtab up` runs."""

import re
import tomllib
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

from trimtab.cli.topology import PREPARATIONS, Home, environment, processes

ROOT = Path(__file__).parents[2]
OF_THE_MACHINE = {"PATH"}
"""Variables that a container has from its image."""
OF_THE_NETWORK = {"MLFLOW_SERVER_ALLOWED_HOSTS"}
"""Variables that only servers with more than one name need."""
SAME_EVERYWHERE = re.compile(
    "AIRFLOW__CORE__(LOAD_EXAMPLES|EXECUTOR|PARALLELISM|SIMPLE_AUTH_MANAGER_USERS)|AIRFLOW__API__WORKERS"
    "|AIRFLOW__(WORKERS|DAG_PROCESSOR|USAGE).*|MLFLOW_(WORKERS|TRACKING_USERNAME|SERVER_ENABLE.*)"
    "|TRIMTAB_WARM_WORKERS|TRIMTAB_SERVE_PORT|MLFLOW_PORT|AIRFLOW__API__PORT|PYTHON.*|OMP.*|DO_NOT_TRACK"
)
"""Variables that neither are addresses nor secrets."""


Services: TypeAlias = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def services() -> Services:
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("home"), "postgresql+psycopg2://trimtab:secret@postgres:5432")
    home.prepare()
    return home


def of_all(services: Services) -> dict[str, str]:
    every = [service["environment"] for name, service in services.items() if name != "postgres"]
    return {name: value for variables in every for name, value in variables.items()}


def test_each_server_is_a_service_with_the_same_command_line(services: Services, home: Home) -> None:
    commands = {process.name: list(process.argv) for process in processes(home)}
    assert commands == {name: service["command"] for name, service in services.items() if name in commands}


def test_the_first_service_runs_the_preparations_in_their_order(services: Services) -> None:
    script = services["airflow-init"]["command"][-1].strip().splitlines()
    assert script[-1] == " && ".join(" ".join(process.argv) for process in PREPARATIONS)


def test_there_is_no_other_service(services: Services, home: Home) -> None:
    assert set(services) == {"postgres", "airflow-init", *(process.name for process in processes(home))}


def test_the_services_have_the_variables_of_the_processes(services: Services, home: Home) -> None:
    expected = set(environment(home)) - OF_THE_MACHINE | OF_THE_NETWORK | {"AIRFLOW_ADMIN_PASSWORD"}
    assert set(of_all(services)) == expected


def test_variables_that_are_no_addresses_have_the_same_values(services: Services, home: Home) -> None:
    there, here = of_all(services), environment(home)
    same = [name for name in here if SAME_EVERYWHERE.fullmatch(name)]
    assert len(same) > 15
    assert {name: there[name] for name in same} == {name: here[name] for name in same}


def test_what_is_secret_comes_from_outside(services: Services) -> None:
    secret = [name for name in of_all(services) if re.search("PASSWORD$|SECRET|FERNET|_URI$|SQL_ALCHEMY", name)]
    assert len(secret) > 5
    assert all("${" in of_all(services)[name] for name in secret)


def test_every_variable_of_the_compose_file_is_in_the_example(services: Services) -> None:
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")))
    asked |= {"PREDICTION_TOKEN_SHA256"}
    offered = re.findall("^([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(offered) == asked


def test_published_ports_are_for_this_machine_only(services: Services) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_one_version_of_uv() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    locked = next(one for one in project["dependency-groups"]["dev"] if one.startswith("uv=="))
    assert f"UV_VERSION := {locked.removeprefix('uv==')}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"pip install --no-cache-dir {locked}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
