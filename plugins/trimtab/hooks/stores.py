"""The stores of a model, at the addresses that Airflow's connections hold."""

import os
from functools import cache
from pathlib import Path

from airflow.sdk import BaseHook, Connection

from trimtab.adapters.model_folder import ModelFolder, load_all
from trimtab.adapters.stores import Stores
from trimtab.errors import NotFoundError, SpecError

BUNDLE = Path(__file__).resolve().parents[3]
LAKE, LEDGER, REGISTRY, TRAFFIC = "trimtab_lake", "trimtab_ledger", "trimtab_registry", "trimtab_traffic"


def model_search_path() -> tuple[Path, ...]:
    """Folders that hold model folders: $TRIMTAB_MODELS, or include/models of this bundle."""
    configured = os.environ.get("TRIMTAB_MODELS")
    return tuple(map(Path, configured.split(":"))) if configured else (BUNDLE / "include" / "models",)


def model_folders() -> list[ModelFolder]:
    """All model folders that can be read; `broken_model_folders` has the others."""
    return load_all(model_search_path())[0]


def broken_model_folders() -> list[SpecError]:
    """What is wrong with the model folders that cannot be read."""
    return load_all(model_search_path())[1]


class StoresHook(BaseHook):
    """Opens lake, ledger, registry and traffic log of one model.

    The connections `trimtab_lake`, `trimtab_ledger`, `trimtab_registry` and `trimtab_traffic` may be of any type;
    each has its address as `uri` in its extra field, and the registry's has login and password.
    """

    def __init__(self, model: str) -> None:
        """Bind to a model; nothing is opened yet."""
        super().__init__()
        self.model = model

    def stores(self) -> Stores:
        """The ports of the model."""
        return Stores(ConnectionAddresses(), self.model, uri_of)


class ConnectionAddresses:
    """The addresses that Airflow's connections hold. A step looks up what it needs: each takes some milliseconds."""

    @property
    def models(self) -> tuple[Path, ...]:
        """Folders that hold model folders."""
        return model_search_path()

    @property
    def lake(self) -> str:
        """Folder or object-store URI."""
        return uri_of(LAKE)

    @property
    def ledger(self) -> str:
        """SQLAlchemy URL; may hold a password."""
        return uri_of(LEDGER)

    @property
    def registry(self) -> str:
        """MLflow tracking URI."""
        return uri_of(REGISTRY)

    @property
    def registry_user(self) -> str:
        """Empty: the registry asks for none."""
        return connection(REGISTRY).login or ""

    @property
    def registry_password(self) -> str:
        """The user's."""
        return connection(REGISTRY).password or ""

    @property
    def traffic(self) -> Path:
        """Folder that the prediction services write their logs to."""
        return Path(uri_of(TRAFFIC))


@cache
def connection(connection_id: str) -> Connection:
    """A connection, looked up once."""
    return BaseHook.get_connection(connection_id)


def uri_of(connection_id: str) -> str:
    """Address that a connection holds.

    Raises:
        NotFoundError: If its extra field has no `uri`.
    """
    uri = connection(connection_id).extra_dejson.get("uri")
    if not uri:
        raise NotFoundError(
            f"Airflow connection {connection_id!r} has no 'uri' in its extra field. Add it; docs/configuration.md has "
            "an example."
        )
    return str(uri)
