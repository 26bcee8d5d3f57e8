"""The status page as an app that Airflow mounts. Airflow does not protect what plugins mount, so the app does."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from airflow.api_fastapi.core_api.security import get_user
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse

from trimtab.errors import LedgerUnavailableError, NotFoundError
from trimtab.ui.pages import HEADERS, Pages
from trimtab.ui.queries import StatusReader

PREFIX = "/trimtab"
"""Where Airflow mounts the app."""

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def create_app(reader: StatusReader, clock: Callable[[], datetime] = utc_now) -> FastAPI:
    """The app: every route needs a user that Airflow knows, and none changes anything.

    Args:
        reader: Finds the models and reads their ledgers.
        clock: The wall clock (UTC).
    """
    app = FastAPI(
        title="Trimtab",
        dependencies=[Depends(get_user)],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        default_response_class=HTMLResponse,
    )

    def pages(request: Request, now: datetime) -> Pages:
        root = str(request.scope.get("root_path", "")).rstrip("/")
        return Pages(airflow=root.removesuffix(PREFIX), root=root, now=now)

    # No coroutines: reading the ledger blocks, and a plain function runs in a thread of its own.
    @app.get("/")
    def board(request: Request) -> HTMLResponse:
        now = clock()
        return HTMLResponse(pages(request, now).board(reader.board(now)), headers=HEADERS)

    @app.get("/model/{name}")
    def model(request: Request, name: str) -> HTMLResponse:
        now = clock()
        return HTMLResponse(pages(request, now).model(reader.model(name, now)), headers=HEADERS)

    @app.get("/dag/{dag_id}")
    def dag(request: Request, dag_id: str) -> HTMLResponse:
        now, name = clock(), dag_id.rpartition(".")[0]
        if name not in reader.names():
            text = f"DAG {dag_id!r} is not one of Trimtab's."
            return HTMLResponse(pages(request, now).notice("No model", text), headers=HEADERS)
        return HTMLResponse(pages(request, now).model(reader.model(name, now)), headers=HEADERS)

    @app.exception_handler(NotFoundError)
    def not_found(request: Request, error: Exception) -> HTMLResponse:
        text = pages(request, clock()).notice("No such model", str(error))
        return HTMLResponse(text, status_code=404, headers=HEADERS)

    @app.exception_handler(LedgerUnavailableError)
    def unavailable(request: Request, error: Exception) -> HTMLResponse:
        log.warning("%s", error, exc_info=error)
        text = pages(request, clock()).notice("The ledger does not answer", str(error))
        return HTMLResponse(text, status_code=503, headers=HEADERS)

    return app
