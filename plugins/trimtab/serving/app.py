"""The prediction service as an ASGI application."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import Body, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBasic, HTTPBearer
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from trimtab.errors import NotFoundError
from trimtab.serving.docs_page import add_docs
from trimtab.serving.edge import Edge, refuse
from trimtab.serving.messages import (
    MAX_PROBLEMS,
    MAX_ROWS,
    REQUEST_ID,
    Answer,
    Health,
    PredictionRequest,
    Readiness,
    Refusal,
    RowProblem,
    example,
    problems,
    request_type,
)
from trimtab.serving.model_server import Attempt, ModelServer
from trimtab.serving.rows import as_rows, day_form
from trimtab.serving.telemetry import Telemetry
from trimtab.serving.tokens import TokenCheck

API_VERSION = "1"
PREDICT_THREADS = 2
"""Predictions at a time. Most of one holds Python's lock: on two cores 1, 2 and 4 answered equally many requests."""
SHADOWS_WAITING = 64
"""Requests that may wait for the shadow; those beyond are not predicted by it."""
LONGEST_WAIT_S = 5.0
"""Between two tries to follow the ledger while it, or the registry, does not answer."""

DESCRIPTION = f"""
Predictions of the released versions of the models below. A request holds 1 to {MAX_ROWS} rows; if one of them is not
right, the request is refused with the reasons. Every prediction is logged under the request's id, which may be given
in the body or in the header `X-Request-Id`, and is sent back in both.

Everything but `/healthz` and `/readyz` needs a token: `Authorization: Bearer TOKEN`, or Basic with the token as
password.
"""

REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body is not JSON that can be read."},
    401: {"model": Refusal, "description": "No token, or none that is known."},
    408: {"model": Refusal, "description": "The body did not arrive in time."},
    413: {"model": Refusal, "description": "The body is too large."},
    422: {"model": Refusal, "description": "Rows that cannot be predicted, and why."},
    503: {"model": Refusal, "description": "No released version is loaded, or the log takes nothing. Try again later."},
}


def create_app(
    models: Mapping[str, ModelServer],
    tokens: TokenCheck,
    *,
    refresh_s: float = 1.0,
    max_body_bytes: int = 2**20,
    body_timeout_s: float = 10.0,
    docs_assets: Path | None = None,
) -> FastAPI:
    """The service for some models; it follows their releases as long as it runs.

    Args:
        models: By name; their routes are typed by their specs.
        tokens: Who may ask.
        refresh_s: Seconds between two looks at the ledger.
        max_body_bytes: Largest body of a request.
        body_timeout_s: Longest time that a body may take to arrive.
        docs_assets: Folder of Swagger UI's files; None: `/docs` takes them from a CDN.
    """
    telemetry = Telemetry(models)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        limiter = CapacityLimiter(max(len(models), 1))
        async with anyio.create_task_group() as group:
            for server in models.values():
                group.start_soon(_follow, server, refresh_s, limiter)
            yield
            group.cancel_scope.cancel()
        for server in models.values():
            server.close()

    app = FastAPI(
        title="Trimtab predictions",
        version=API_VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(
        Edge,
        tokens=tokens,
        telemetry=telemetry,
        models=frozenset(models),
        max_body_bytes=max_body_bytes,
        body_timeout_s=body_timeout_s,
    )
    desk = _Desk(telemetry)
    for server in models.values():
        _add_model(app, server, desk)
    _add_state(app, models, telemetry)
    add_docs(app, docs_assets)
    _add_refusals(app, models)
    return app


async def _follow(server: ModelServer, refresh_s: float, limiter: CapacityLimiter) -> None:
    wait = refresh_s
    while True:
        await to_thread.run_sync(server.refresh, limiter=limiter, abandon_on_cancel=True)
        wait = min(wait * 2, max(LONGEST_WAIT_S, refresh_s)) if server.problem else refresh_s
        await anyio.sleep(wait)


class _Desk:
    """Takes requests to the threads that predict."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._threads = CapacityLimiter(PREDICT_THREADS)
        # One, so that the shadow never takes the place of an answer.
        self._shadow_thread = CapacityLimiter(1)
        self._waiting = 0

    async def predict(self, server: ModelServer, body: PredictionRequest, request_id: str) -> Response:
        return await to_thread.run_sync(self._answer, server, body, request_id, limiter=self._threads)

    def _answer(self, server: ModelServer, body: PredictionRequest, request_id: str) -> Response:
        rows = as_rows([row.values() for row in body.rows], server.spec.rows)
        lost = [position for position, day in enumerate(rows.days) if day is None]
        if lost:
            return _refuse_rows(lost, day_form(server.spec.rows), request_id)
        try:
            answered = server.answer(rows, request_id)
        except NotFoundError as exc:
            return _try_later(str(exc), request_id)
        except OSError as exc:
            return _try_later(f"The log of predictions does not take them ({exc.strerror}).", request_id)
        for attempt in answered.attempts:
            self._telemetry.tried(server.spec.name, attempt)
        if answered.answer is None:
            last = answered.attempts[-1]
            reason = f"version {last.version} has no prediction for it ({last.error or 'not a finite number'})"
            return _refuse_rows(last.failed.tolist(), reason, request_id)
        shadow = BackgroundTask(self._shadow, server, answered.shadow) if answered.shadow else None
        return Response(answered.answer.model_dump_json(), media_type="application/json", background=shadow)

    async def _shadow(self, server: ModelServer, predict: Callable[[], Attempt]) -> None:
        if self._waiting >= SHADOWS_WAITING:
            self._telemetry.skipped(server.spec.name)
            return
        self._waiting += 1
        try:
            attempt = await to_thread.run_sync(predict, limiter=self._shadow_thread)
        finally:
            self._waiting -= 1
        self._telemetry.tried(server.spec.name, attempt)


def _refuse_rows(positions: list[int], problem: str, request_id: str) -> Response:
    listed = [RowProblem(row=position, problem=problem) for position in positions]
    return _refuse_problems(listed, len(positions), request_id)


def _refuse_problems(found: list[RowProblem], count: int, request_id: str) -> Response:
    reason = f"{count} problem{'s' if count > 1 else ''}; nothing was predicted. Mend the rows and send them again."
    return refuse(422, reason, request_id, found[:MAX_PROBLEMS])


def _try_later(reason: str, request_id: str) -> Response:
    return refuse(503, reason, request_id, headers={"Retry-After": "1"})


# What a route demands stands in the published description; that it is kept is the matter of `Edge`.
_TOKEN = [
    Depends(HTTPBearer(auto_error=False, scheme_name="token")),
    Depends(HTTPBasic(auto_error=False, scheme_name="token_as_password")),
]


def _add_model(app: FastAPI, server: ModelServer, desk: _Desk) -> None:
    spec = server.spec

    async def predict(request: Request, body: PredictionRequest) -> Response:
        request_id = body.request_id or request.state.request_id
        request.state.request_id = request_id
        return await desk.predict(server, body, request_id)

    predict.__annotations__["body"] = Annotated[request_type(spec), Body(examples=[example(spec)])]
    app.add_api_route(
        f"/models/{spec.name}/predict",
        predict,
        methods=["POST"],
        response_model=Answer,
        responses=REFUSALS,
        dependencies=_TOKEN,
        tags=["predict"],
        operation_id=f"predict_{spec.name}",
        summary=f"Predict rows of {spec.name}",
        description=f"{spec.description} Owner: {spec.owner}.",
    )


def _add_state(app: FastAPI, models: Mapping[str, ModelServer], telemetry: Telemetry) -> None:
    @app.get("/healthz", tags=["state"], summary="Whether the process is up")
    async def healthz() -> Health:
        return Health()

    @app.get(
        "/readyz",
        tags=["state"],
        summary="Whether every released model has a version that answers",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "A released model, or every model, has no version."}},
    )
    async def readyz() -> Response:
        states = {name: server.state for name, server in models.items()}
        answering = [state.version is not None for state in states.values()]
        # A model that was never released is nothing to wait for; one that cannot be loaded has a problem.
        ready = any(answering) and not any(state.version is None and state.problem for state in states.values())
        body = Readiness(ready=ready, models=states)
        return Response(body.model_dump_json(), 200 if ready else 503, media_type="application/json")

    @app.get(
        "/metrics", tags=["state"], summary="Counters for Prometheus", dependencies=_TOKEN, response_class=Response
    )
    async def metrics() -> Response:
        return Response(telemetry.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_refusals(app: FastAPI, models: Mapping[str, ModelServer]) -> None:
    served = ", ".join(sorted(models))
    specs = {f"/models/{name}/predict": server.spec for name, server in models.items()}

    @app.post("/models/{model}/predict", include_in_schema=False)
    async def unknown_model(model: str, request: Request) -> Response:
        shown = ascii(model[:40])
        return refuse(404, f"There is no model {shown}. Served here: {served}.", request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, exc: RequestValidationError) -> Response:
        found = exc.errors()
        rows = specs[request.scope["path"]].rows
        wished = exc.body.get("request_id") if isinstance(exc.body, dict) else None
        if isinstance(wished, str) and re.fullmatch(REQUEST_ID, wished):
            request.state.request_id = wished
        return _refuse_problems(problems(found, rows), len(found), request.state.request_id)

    @app.exception_handler(HTTPException)
    async def not_here(request: Request, exc: HTTPException) -> Response:
        reason = exc.detail if exc.status_code != 404 else "There is nothing here. The API is described at /docs."  # noqa: PLR2004
        return refuse(exc.status_code, reason, request.state.request_id, headers=dict(exc.headers or {}))
