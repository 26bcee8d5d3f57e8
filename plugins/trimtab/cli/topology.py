"""Everything that runs, as data: folders, secrets, ports, environment variables and command lines."""

import base64
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from trimtab.cli.port_claims import PortClaims
from trimtab.errors import NotFoundError

REPOSITORY = Path(__file__).resolve().parents[3]
MODELS = REPOSITORY / "include" / "models"
HOST = "127.0.0.1"
AIRFLOW_USER = "admin"
MLFLOW_USER = "admin"


QUIET = (
    "ignore:GitWildMatchPattern",
    "ignore:Pydantic serializer warnings",  # of Airflow, whenever somebody reads the log of a task
    "ignore:Using `httpx` with",
    "ignore:starlette.middleware.wsgi is deprecated",
    # It looks at every loaded module for functions of NumPy, and meets Airflow's deprecated names.
    "ignore:::skops.io._utils",
)
"""Warnings of other people's code that nobody here can act on."""


SCOPES = "predict,feedback,admin"
"""What the token of a home may do."""


def _random_text() -> str:
    return secrets.token_urlsafe(48)


def _fernet_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


SECRETS: Mapping[str, Callable[[], str]] = {
    "airflow_admin_password": lambda: secrets.token_urlsafe(12),
    "fernet_key": _fernet_key,
    "api_secret": _random_text,
    "jwt_secret": _random_text,
    "mlflow_admin_password": lambda: secrets.token_urlsafe(15),
    "flask_secret": _random_text,
    "prediction_token": lambda: secrets.token_urlsafe(32),
}
"""Name of each secret, and how it is made."""


Database = Literal["airflow", "mlflow", "mlflow_users", "ledger"]
DATABASES: Mapping[Database, str] = {
    "airflow": "airflow",
    "mlflow": "mlflow",
    "mlflow_users": "mlflow",
    "ledger": "trimtab",
}
"""Where each is on a PostgreSQL server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the servers listen, on this machine only."""

    airflow: int = 8080
    mlflow: int = 5000
    serving: int = 8000


@dataclass(frozen=True, slots=True)
class Home:
    """The folder that holds what a deployment on one machine writes."""

    path: Path
    postgres: str = field(default="", repr=False)
    """Such as 'postgresql+psycopg2://user:password@host:5432', where the databases airflow, mlflow and trimtab are;
    empty: SQLite files in the folder."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Home":
        """TRIMTAB_HOME, or `.trimtab` of this repository; TRIMTAB_POSTGRES, or SQLite."""
        path = Path(environment.get("TRIMTAB_HOME") or REPOSITORY / ".trimtab")
        return cls(path.resolve(), environment.get("TRIMTAB_POSTGRES", "").rstrip("/"))

    @property
    def airflow(self) -> Path:
        """Airflow's configuration, database and task logs."""
        return self.path / "airflow"

    @property
    def mlflow(self) -> Path:
        """MLflow's database, users and artifacts."""
        return self.path / "mlflow"

    @property
    def lake(self) -> Path:
        """The rows."""
        return self.path / "lake"

    @property
    def traffic(self) -> Path:
        """What the prediction service has answered."""
        return self.path / "traffic"

    @property
    def logs(self) -> Path:
        """Output of each process."""
        return self.path / "logs"

    @property
    def secrets(self) -> Path:
        """Secrets, each in a file that only its owner may read."""
        return self.path / "secrets"

    @property
    def token_file(self) -> Path:
        """The token for the prediction service."""
        return self.secrets / "prediction_token"

    @property
    def tokens_file(self) -> Path:
        """What the prediction service checks tokens with: their SHA-256."""
        return self.secrets / "prediction_token.sha256"

    @property
    def is_prepared(self) -> bool:
        """Whether `prepare` has come to its end here before."""
        return self.tokens_file.is_file()

    def prepare(self) -> None:
        """Make folders and secrets that are not there yet. Repeating it changes nothing."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.airflow, self.mlflow, self.lake, self.traffic, self.logs, self.secrets):
            folder.mkdir(mode=0o700, exist_ok=True)
        for name, make in SECRETS.items():
            if not (self.secrets / name).is_file():
                _write_private(self.secrets / name, make())
        derived = {
            self.secrets / "airflow_passwords.json": json.dumps({AIRFLOW_USER: self.secret("airflow_admin_password")}),
            self.tokens_file: f"{hashlib.sha256(self.secret('prediction_token').encode()).hexdigest()}  {SCOPES}\n",
        }
        for file, text in derived.items():
            if not file.is_file():  # users and tokens may have been added
                _write_private(file, text)
        _write_private(self.secrets / "mlflow_users.ini", _mlflow_users(self))

    def secret(self, name: str) -> str:
        """Value of a secret.

        Raises:
            NotFoundError: If there is none yet.
        """
        try:
            return (self.secrets / name).read_text(encoding="utf-8")
        except OSError as exc:
            raise NotFoundError(
                f"{self.secrets / name} cannot be read ({exc.strerror}). Run `trimtab up` first."
            ) from exc

    def database(self, name: Database) -> str:
        """SQLAlchemy URL of a database."""
        if self.postgres:
            return f"{self.postgres}/{DATABASES[name]}"
        files = {
            "airflow": self.airflow / "airflow.db",
            "mlflow": self.mlflow / "mlflow.db",
            "mlflow_users": self.mlflow / "users.db",
            "ledger": self.path / "ledger.db",
        }
        return f"sqlite:///{files[name]}"

    @property
    def ports(self) -> Ports:
        """The ports that were chosen last; the usual ones, if none were."""
        file = self.path / "ports.json"
        return Ports(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else Ports()

    def choose_ports(self, claims: PortClaims) -> Ports:
        """Keep the ports of last time where they are free, else take the next free ones, and remember them.

        Raises:
            NotFoundError: If a hundred ports in a row are taken.
        """
        chosen = {name: claims.claim(port) for name, port in asdict(self.ports).items()}
        _write_private(self.path / "ports.json", json.dumps(chosen))
        return Ports(**chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A server and how to see that it is ready, or a command that comes to an end."""

    name: str
    argv: tuple[str, ...]
    ready: str = ""
    """URL that answers with status 200; empty for a command that ends."""
    component: str = ""
    """Part of Airflow whose health that answer tells; empty if the status is enough."""
    ends_last: bool = False
    """Whether others still talk to it while they end."""
    asked_again: bool = False
    """Whether it first waits for what it runs when it is asked to end."""


PREPARATIONS = (
    Process(name="airflow-migrate", argv=("airflow", "db", "migrate")),
    Process(name="trimtab-migrate", argv=("trimtab", "migrate")),
)
"""What must have ended well before the servers start."""


def processes(home: Home) -> list[Process]:
    """The servers. Addresses are in the environment, so that the command lines are the same everywhere."""
    ports = home.ports
    airflow = f"http://{HOST}:{ports.airflow}/api/v2/monitor/health"
    quiet = "--skip-serve-logs"  # the api-server reads the logs from disk
    return [
        Process(
            name="mlflow",
            argv=("mlflow", "server", "--app-name", "basic-auth"),
            ready=f"http://{HOST}:{ports.mlflow}/health",
            ends_last=True,
        ),
        Process(
            name="api-server",
            argv=("airflow", "api-server"),
            ready=airflow,
            component="metadatabase",
            ends_last=True,
        ),
        Process(
            name="scheduler",
            argv=("airflow", "scheduler", quiet),
            ready=airflow,
            component="scheduler",
            asked_again=True,
        ),
        Process(name="dag-processor", argv=("airflow", "dag-processor"), ready=airflow, component="dag_processor"),
        Process(name="triggerer", argv=("airflow", "triggerer", quiet), ready=airflow, component="triggerer"),
        Process(name="serve", argv=("trimtab", "serve"), ready=f"http://{HOST}:{ports.serving}/healthz"),
    ]


def variables_of(caller: Mapping[str, str]) -> Mapping[str, str]:
    """The caller's environment, or, if it names no ledger, that of a prepared home: never a mixture of both."""
    home = Home.from_environment(caller)
    return environment(home) if "TRIMTAB_LEDGER" not in caller and home.is_prepared else caller


def environment(home: Home) -> dict[str, str]:
    """Environment variables of all processes, on top of the caller's.

    Args:
        home: A prepared home.

    Raises:
        NotFoundError: If the home is not prepared.
    """
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": ",".join(QUIET),
        "OMP_NUM_THREADS": "1",
        **_of_trimtab(home),
        **_of_airflow(home),
        **_of_mlflow(home),
    }


def _of_trimtab(home: Home) -> dict[str, str]:
    ports = home.ports
    lake, traffic = str(home.lake), str(home.traffic)
    ledger, registry = home.database("ledger"), f"http://{HOST}:{ports.mlflow}"
    password = home.secret("mlflow_admin_password")
    return {
        "TRIMTAB_HOME": str(home.path),
        "TRIMTAB_MODELS": os.environ.get("TRIMTAB_MODELS") or str(MODELS),
        "TRIMTAB_LAKE": lake,
        "TRIMTAB_LEDGER": ledger,
        "TRIMTAB_REGISTRY": registry,
        "TRIMTAB_TRAFFIC": traffic,
        "TRIMTAB_TOKENS": str(home.tokens_file),
        "TRIMTAB_SERVE_HOST": HOST,
        "TRIMTAB_SERVE_PORT": str(ports.serving),
        "TRIMTAB_WARM_WORKERS": "1",
        # The same facts for Airflow's tasks.
        "AIRFLOW_CONN_TRIMTAB_LAKE": _connection(lake),
        "AIRFLOW_CONN_TRIMTAB_LEDGER": _connection(ledger),
        "AIRFLOW_CONN_TRIMTAB_REGISTRY": _connection(registry, login=MLFLOW_USER, password=password),
        "AIRFLOW_CONN_TRIMTAB_TRAFFIC": _connection(traffic),
    }


def _connection(uri: str, **fields: str) -> str:
    return json.dumps({"conn_type": "generic", **fields, "extra": {"uri": uri}})


def _of_airflow(home: Home) -> dict[str, str]:
    url = f"http://{HOST}:{home.ports.airflow}"
    return {
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",  # more writers than this, and SQLite is locked too often
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": home.secret("fernet_key"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{AIRFLOW_USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.secrets / "airflow_passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": home.database("airflow"),
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(home.ports.airflow),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": home.secret("api_secret"),
        "AIRFLOW__API_AUTH__JWT_SECRET": home.secret("jwt_secret"),
        # The default of 5 s loses tasks while everything starts at once.
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def _of_mlflow(home: Home) -> dict[str, str]:
    return {
        "MLFLOW_HOST": HOST,
        "MLFLOW_PORT": str(home.ports.mlflow),
        "MLFLOW_WORKERS": "1",
        "MLFLOW_BACKEND_STORE_URI": home.database("mlflow"),
        "MLFLOW_ARTIFACTS_DESTINATION": str(home.mlflow / "artifacts"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_AUTH_CONFIG_PATH": str(home.secrets / "mlflow_users.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": home.secret("mlflow_admin_password"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": home.secret("flask_secret"),
        "MLFLOW_TRACKING_USERNAME": MLFLOW_USER,
        "MLFLOW_TRACKING_PASSWORD": home.secret("mlflow_admin_password"),
        "DO_NOT_TRACK": "true",
    }


def _mlflow_users(home: Home) -> str:
    return "\n".join(
        [
            "[mlflow]",
            "default_permission = READ",
            f"database_uri = {home.database('mlflow_users').replace('%', '%%')}",
            f"admin_username = {MLFLOW_USER}",
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
            # Without it every request pays for a password hash.
            "auth_cache_ttl_seconds = 60",
            "",
        ]
    )


def _write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read; a killed try leaves the old one, or none."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    draft.replace(file)
