"""The prediction service as a process: every model folder that there is, on one port."""

import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from trimtab.adapters.model_folder import ModelFolder, load_all
from trimtab.adapters.stores import Addresses, Stores
from trimtab.adapters.traffic_log import TrafficWriter
from trimtab.domain.ports import Predictor
from trimtab.errors import NotFoundError
from trimtab.serving.app import create_app
from trimtab.serving.docs_page import bundled_assets
from trimtab.serving.model_server import ModelServer
from trimtab.serving.tokens import TokenCheck

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 65
"""Longer than load balancers keep an idle connection, so that it is they who close it."""
SHUTDOWN_S = 20
"""For the requests that are under way when the process is asked to stop."""


def build(addresses: Addresses, tokens_file: Path, *, refresh_s: float = 1.0) -> FastAPI:
    """The service for all model folders that can be read. Nothing is connected to yet.

    Raises:
        NotFoundError: If there is no model folder, or no token file.
        SpecError: If the token file is not right.
    """
    tokens = TokenCheck(tokens_file)
    good, bad = load_all(addresses.models)
    for error in bad:
        logger.warning("not served: %s", error)
    if not good:
        places = ", ".join(map(str, addresses.models))
        raise NotFoundError(f"There is no model folder to serve in {places}. Set TRIMTAB_MODELS, or mend model.yaml.")
    worker = f"{socket.gethostname()}-{os.getpid()}"
    models = {folder.spec.name: _server(folder, addresses, worker) for folder in good}
    return create_app(models, tokens, refresh_s=refresh_s, docs_assets=bundled_assets())


def run(addresses: Addresses, tokens_file: Path, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until the process is asked to stop; requests under way are answered first.

    Raises:
        NotFoundError: As `build`.
        SpecError: As `build`.
    """
    # Two threads make a small prediction slower, and it must be said before scikit-learn is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorn.run(
        build(addresses, tokens_file),
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


class _LateVersions:
    """The registry, whose library is imported when a model must be loaded: the port is open seconds earlier."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def load(self, *, version: str, expected_digest: str | None) -> Predictor:
        return self._stores.registry.load(version=version, expected_digest=expected_digest)


def _server(folder: ModelFolder, addresses: Addresses, worker: str) -> ModelServer:
    name = folder.spec.name
    stores = Stores(addresses, name, _no_source)
    log = TrafficWriter(addresses.traffic, name, worker, lambda: datetime.now(UTC))
    return ModelServer(folder.spec, stores.ledger, _LateVersions(stores), log)


def _no_source(connection: str) -> str:
    raise NotFoundError(f"The prediction service reads no source, so it does not know connection {connection!r}.")
