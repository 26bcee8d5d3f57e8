"""The prediction service as a process: every model folder that there is, on one port."""

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
from fastapi import FastAPI

from trimtab.adapters.model_folder import ModelFolder, load_all
from trimtab.adapters.outcome_log import OutcomeWriter
from trimtab.adapters.stores import Addresses, Stores
from trimtab.adapters.traffic_log import TrafficWriter
from trimtab.domain.ports import Predictor
from trimtab.errors import NotFoundError
from trimtab.serving.app import create_app
from trimtab.serving.cutover import SUFFIX, Cutover, left_behind
from trimtab.serving.docs_page import bundled_assets
from trimtab.serving.model_server import ModelServer
from trimtab.serving.tokens import TokenCheck
from trimtab.serving.workers import Workers, listen, reserve

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 65
"""Longer than load balancers keep an idle connection, so that it is they who close it."""
GOODBYE_S = 1.0
"""For the next request on each connection, before those that are quiet are closed."""
SHUTDOWN_S = 20
"""For the requests that are under way when the process is asked to stop."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # a folder of our own in it
"""Where workers count together, if it is there: a process that counts in a mapped file dies when its disk is full."""
REFRESH_S = 0.25
"""Between two looks at the ledger: within that and the loading of a version, all workers follow it."""
SWITCH_S = 0.0005
"""For which one thread may keep Python's lock from another: the event loop gets it back from the shadow, and from the
look at the ledger, ten times as soon as by default."""
LOAD_FIRST_S = 30.0
"""Of failing to load what is released, before one of several workers listens all the same if no other answers."""


def build(
    addresses: Addresses,
    tokens_file: Path,
    *,
    refresh_s: float = REFRESH_S,
    load_first_s: float = 0.0,
    shared: Path | None = None,
    cutover: Callable[[str], Cutover] = lambda _model: Cutover(),
) -> FastAPI:
    """The service for all model folders that can be read. Nothing is connected to yet; see `create_app`.

    `cutover` gives each model the agreement of all workers about its routing.

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
    models = {folder.spec.name: _server(folder, addresses, worker, cutover(folder.spec.name)) for folder in good}
    assets = bundled_assets()
    return create_app(models, tokens, refresh_s=refresh_s, load_first_s=load_first_s, shared=shared, docs_assets=assets)


def run(
    addresses: Addresses, tokens_file: Path, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1
) -> None:
    """Serve until the process is asked to stop; requests under way are answered first.

    Raises:
        NotFoundError: As `build`.
        SpecError: As `build`.
        StartupError: If several workers cannot have the port.
    """
    # Two threads make a small prediction slower, and it must be said before scikit-learn is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    _log_to_stderr()
    app = build(addresses, tokens_file)
    if workers == 1:
        _Server(_config(app, host, port)).run()
        return
    memory = str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    with reserve(host, port) as kept, TemporaryDirectory(prefix="trimtab-serve-", dir=memory) as shared:
        # prometheus_client wants to know it before it is imported, as it will be in the workers.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        chosen = kept.getsockname()[1]
        logger.info("%d workers on http://%s:%d", workers, host, chosen)
        work = partial(_work, addresses, tokens_file, host, chosen, Path(shared), workers)
        Workers(work, workers, partial(left_behind, Path(shared))).run()


def _work(
    addresses: Addresses, tokens_file: Path, host: str, port: int, shared: Path, workers: int, number: int
) -> None:
    """One of several workers."""
    _log_to_stderr()

    def cutover(model: str) -> Cutover:
        return Cutover(shared / f"{model}{SUFFIX}", number, workers)

    app = build(addresses, tokens_file, load_first_s=LOAD_FIRST_S, shared=shared, cutover=cutover)
    _Server(_config(app, host, port)).run(sockets=[listen(host, port)])


class _Server(uvicorn.Server):
    """One whose loop soon gets Python's lock back, and that lets its clients know when it ends."""

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the process is asked to stop."""
        sys.setswitchinterval(SWITCH_S)
        super().run(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, answer what still comes on those there are, each for the last time, and end."""
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(GOODBYE_S)
        await super().shutdown(sockets)


def _config(app: FastAPI, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


class _LateVersions:
    """The registry, whose library is imported when a model must be loaded: the port is open seconds earlier."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    def load(self, *, version: str, expected_digest: str | None) -> Predictor:
        return self._stores.registry.load(version=version, expected_digest=expected_digest)


def _server(folder: ModelFolder, addresses: Addresses, worker: str, cutover: Cutover) -> ModelServer:
    name = folder.spec.name
    stores = Stores(addresses, name, _no_source)
    log = TrafficWriter(addresses.traffic, name, worker, _now)
    outcomes = OutcomeWriter(addresses.traffic, name, worker, _now)
    return ModelServer(folder.spec, stores.ledger, _LateVersions(stores), log, outcomes, cutover=cutover)


def _now() -> datetime:
    return datetime.now(UTC)


def _no_source(connection: str) -> str:
    raise NotFoundError(f"The prediction service reads no source, so it does not know connection {connection!r}.")
