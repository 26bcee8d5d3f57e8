"""The stores of a model, at the addresses that Airflow's connections hold."""

import os
from functools import cache
from pathlib import Path

from airflow.sdk import BaseHook

from trimtab.adapters.model_folder import ModelFolder, load_all
from trimtab.adapters.stores import Addresses, Stores
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
        registry = self.get_connection(REGISTRY)
        addresses = Addresses(
            models=model_search_path(),
            lake=uri_of(LAKE),
            ledger=uri_of(LEDGER),
            registry=uri_of(REGISTRY),
            registry_user=registry.login or "",
            registry_password=registry.password or "",
            traffic=Path(uri_of(TRAFFIC)),
        )
        return Stores(addresses, self.model, uri_of)


@cache
def uri_of(connection_id: str) -> str:
    """Address that a connection holds.

    Raises:
        NotFoundError: If its extra field has no `uri`.
    """
    uri = BaseHook.get_connection(connection_id).extra_dejson.get("uri")
    if not uri:
        raise NotFoundError(
            f"Airflow connection {connection_id!r} has no 'uri' in its extra field. Add it; docs/configuration.md has "
            "an example."
        )
    return str(uri)
