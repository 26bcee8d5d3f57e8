"""Folders, secrets, ports and variables of a deployment on one machine."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import asdict
from pathlib import Path

import pytest

from trimtab.adapters.stores import Addresses
from trimtab.cli.port_claims import PortClaims
from trimtab.cli.topology import HOST, PREPARATIONS, REPOSITORY, SECRETS, Home, environment, processes
from trimtab.errors import NotFoundError
from trimtab.serving.tokens import TokenCheck

FIRST_PORT = 43210
CLAIMING = f"""
import sys
from trimtab.cli.port_claims import PortClaims
claims = PortClaims("{HOST}")
print(claims.claim({FIRST_PORT}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


def content(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir()}


def test_the_home_is_that_of_the_environment_or_lies_in_the_repository(tmp_path: Path) -> None:
    assert Home.from_environment({"TRIMTAB_HOME": str(tmp_path)}).path == tmp_path
    assert Home.from_environment({}).path == REPOSITORY / ".trimtab"


def test_only_the_owner_may_read_the_home_and_its_secrets(home: Home) -> None:
    assert home.path.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in home.secrets.iterdir()} == {0o600}


def test_preparing_again_keeps_every_secret(home: Home) -> None:
    before = content(home.secrets)
    home.prepare()
    assert content(home.secrets) == before


def test_preparing_again_keeps_users_and_tokens_that_were_added(home: Home) -> None:
    added = home.tokens_file.read_text(encoding="utf-8") + "0" * 64 + "\n"
    home.tokens_file.write_text(added, encoding="utf-8")
    home.prepare()
    assert home.tokens_file.read_text(encoding="utf-8") == added


def test_no_two_homes_share_a_secret(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.prepare()
    assert [name for name in SECRETS if home.secret(name) == other.secret(name)] == []


def test_secrets_are_long_enough_for_those_who_take_them(home: Home) -> None:
    """Airflow wants 64 bytes for its tokens, and MLflow twelve characters for its administrator."""
    assert len(home.secret("jwt_secret")) >= 64
    assert len(home.secret("mlflow_admin_password")) >= 12
    assert len(home.secret("airflow_admin_password")) >= 12


def test_the_fernet_key_is_one(home: Home) -> None:
    from cryptography.fernet import Fernet

    cipher = Fernet(home.secret("fernet_key"))
    assert cipher.decrypt(cipher.encrypt(b"text")) == b"text"


def test_the_prediction_service_accepts_the_token_of_the_home(home: Home) -> None:
    scopes = TokenCheck(home.tokens_file).scopes(home.secret("prediction_token"))
    assert scopes == {"predict", "feedback", "admin"}


def test_airflow_s_passwords_are_in_the_form_that_it_reads(home: Home) -> None:
    file = Path(environment(home)["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    assert json.loads(file.read_text(encoding="utf-8")) == {"admin": home.secret("airflow_admin_password")}


def test_a_home_that_is_not_prepared_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as raised:
        environment(Home(tmp_path))
    missing = tmp_path / "secrets" / "mlflow_admin_password"
    assert str(raised.value) == f"{missing} cannot be read (No such file or directory). Run `trimtab up` first."


@pytest.fixture
def claims() -> Iterator[PortClaims]:
    claims = PortClaims(HOST)
    yield claims
    claims.release()


def test_a_taken_port_is_passed_over_and_the_choice_is_remembered(home: Home, claims: PortClaims) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        (home.path / "ports.json").write_text(json.dumps({"airflow": port, "mlflow": port, "serving": 8000}))
        chosen = home.choose_ports(claims)
    assert chosen.airflow > port
    assert len(set(asdict(chosen).values())) == 3
    assert Home(home.path).ports == chosen


def test_free_ports_are_kept(home: Home, claims: PortClaims) -> None:
    first = home.choose_ports(claims)
    claims.release()
    assert home.choose_ports(claims) == first


def test_ports_that_another_trimtab_has_claimed_are_passed_over(claims: PortClaims) -> None:
    """Its servers take half a minute to listen."""
    argv = [sys.executable, "-c", CLAIMING]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        theirs = int(other.stdout.readline())
        ours = claims.claim(FIRST_PORT)
        other.kill()
    assert ours > theirs
    assert claims.claim(FIRST_PORT) == theirs


def test_the_service_and_the_tasks_are_told_the_same_addresses(home: Home) -> None:
    variables = environment(home)
    addresses = Addresses.from_environment(variables)
    stores = {"lake": addresses.lake, "ledger": addresses.ledger, "registry": addresses.registry}
    for name, uri in {**stores, "traffic": str(addresses.traffic)}.items():
        assert json.loads(variables[f"AIRFLOW_CONN_TRIMTAB_{name.upper()}"])["extra"] == {"uri": uri}
    registry = json.loads(variables["AIRFLOW_CONN_TRIMTAB_REGISTRY"])
    assert (registry["login"], registry["password"]) == (addresses.registry_user, addresses.registry_password)


def test_everything_listens_on_this_machine_only(home: Home) -> None:
    variables = environment(home)
    hosts = [variables[name] for name in ("AIRFLOW__API__HOST", "MLFLOW_HOST", "TRIMTAB_SERVE_HOST")]
    assert hosts == ["127.0.0.1"] * 3
    assert all(process.ready.startswith("http://127.0.0.1:") for process in processes(home))


def test_no_secret_is_on_a_command_line(home: Home) -> None:
    """Everybody on the machine can see command lines."""
    words = {word for process in (*PREPARATIONS, *processes(home)) for word in process.argv}
    assert words.isdisjoint({home.secret(name) for name in SECRETS})


def test_postgres_takes_the_place_of_every_file(tmp_path: Path) -> None:
    server = "postgresql+psycopg2://me:100%25@db:5432"
    home = Home.from_environment({"TRIMTAB_HOME": str(tmp_path), "TRIMTAB_POSTGRES": f"{server}/"})
    home.prepare()
    variables = environment(home)
    assert variables["TRIMTAB_LEDGER"] == f"{server}/trimtab"
    assert variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == f"{server}/airflow"
    assert variables["MLFLOW_BACKEND_STORE_URI"] == f"{server}/mlflow"
    users = ConfigParser()
    users.read(variables["MLFLOW_AUTH_CONFIG_PATH"])
    assert users["mlflow"]["database_uri"] == f"{server}/mlflow"
    assert "sqlite" not in json.dumps(variables)


def test_a_password_of_a_database_is_not_printed() -> None:
    assert "secret" not in repr(Home(Path("/home"), "postgresql+psycopg2://me:secret@db:5432"))
