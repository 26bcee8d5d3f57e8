"""The prediction service as an ASGI application."""

import gc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from trimtab.serving import invocations, open_inference, outcomes, typed_predict
from trimtab.serving.desk import Desk
from trimtab.serving.docs_page import add_docs
from trimtab.serving.edge import Edge
from trimtab.serving.messages import MAX_ROWS, Health, Readiness
from trimtab.serving.model_server import ModelServer
from trimtab.serving.peers import Peers
from trimtab.serving.published import TOKEN, direct_handlers, refusals
from trimtab.serving.readiness import readiness
from trimtab.serving.refusals import RefusalError
from trimtab.serving.telemetry import Telemetry
from trimtab.serving.tokens import TokenCheck

API_VERSION = "1"
NOTHING_HERE = "There is nothing here. The API is described at /docs."
LONGEST_WAIT_S = 5.0
"""Between two tries to follow the ledger while it, or the registry, does not answer."""

DESCRIPTION = f"""
Predictions of the released versions of the models below, in three protocols: typed rows, MLflow's `/invocations`, and
the Open Inference Protocol. A request holds 1 to {MAX_ROWS} rows; those that are not right are left out, each with its
reason. Every prediction is logged under the request's id, which may be given in the body or in the header
`X-Request-Id`, and is sent back in the header.

Everything but the probes needs a token: `Authorization: Bearer TOKEN`, or Basic with the token as password. A token may
have the scopes `predict`, `feedback` and `admin`.
"""


def create_app(
    models: Mapping[str, ModelServer],
    tokens: TokenCheck,
    *,
    refresh_s: float = 0.25,
    load_first_s: float = 0.0,
    shared: Path | None = None,
    max_body_bytes: int = 2**20,
    body_timeout_s: float = 10.0,
    answer_timeout_s: float = 30.0,
    docs_assets: Path | None = None,
) -> FastAPI:
    """The service for some models; it follows their releases as long as it runs.

    Args:
        models: By name; their routes are typed by their specs.
        tokens: Who may ask.
        refresh_s: Seconds between two looks at the ledger.
        load_first_s: If not 0, the service answers nothing before it has loaded what is released, unless ledger or
            registry have failed for as long and no other worker answers.
        shared: Folder of all workers of the service, for what `/metrics` tells of them; None: there is only this one.
        max_body_bytes: Largest body of a request.
        body_timeout_s: Longest time that a body may take to arrive.
        answer_timeout_s: Longest time that an answer may take; who asked is told to try again.
        docs_assets: Folder of Swagger UI's files; None: `/docs` takes them from a CDN.
    """
    telemetry = Telemetry(models, shared)
    desk = Desk(models, telemetry)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        limiter = CapacityLimiter(max(len(models), 1))
        async with anyio.create_task_group() as group:
            loaded = [anyio.Event() for _ in models]
            for server, is_loaded in zip(models.values(), loaded, strict=True):
                group.start_soon(_follow, server, telemetry.peers, refresh_s, load_first_s, limiter, is_loaded)
            if load_first_s:
                for is_loaded in loaded:
                    await is_loaded.wait()
            yield
            group.cancel_scope.cancel()
        await desk.close()
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
    for server in models.values():
        typed_predict.add_routes(app, server, desk)
        outcomes.add_routes(app, server, telemetry)
    invocations.add_routes(app, models, desk)
    open_inference.add_routes(app, models, desk)
    _add_state(app, models, telemetry)
    add_docs(app, docs_assets)
    _add_refusals(app, models)
    app.add_middleware(
        Edge,
        direct=direct_handlers(app),
        tokens=tokens,
        telemetry=telemetry,
        models=frozenset(models),
        max_body_bytes=max_body_bytes,
        body_timeout_s=body_timeout_s,
        answer_timeout_s=answer_timeout_s,
    )
    return app


async def _follow(
    server: ModelServer,
    peers: Peers,
    refresh_s: float,
    load_first_s: float,
    limiter: CapacityLimiter,
    is_loaded: anyio.Event,
) -> None:
    wait, begun = refresh_s, anyio.current_time()
    while True:
        if await to_thread.run_sync(server.refresh, limiter=limiter, abandon_on_cancel=True):
            # Else a full collection looks through models and libraries, and every answer waits a tenth of a second.
            # Before it, what loading has left behind goes: what is frozen stays for ever.
            gc.collect()
            gc.freeze()
        is_late = anyio.current_time() - begun >= load_first_s
        if (server.has_followed and not server.is_missed) or (is_late and not server.is_answered_elsewhere):
            is_loaded.set()
        peers.tell()
        wait = min(wait * 2, max(LONGEST_WAIT_S, refresh_s)) if not server.has_followed else refresh_s
        await anyio.sleep(wait)


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
        body = readiness(models)
        return Response(body.model_dump_json(), 200 if body.ready else 503, media_type="application/json")

    @app.get(
        "/metrics",
        tags=["state"],
        summary="Counters for Prometheus; needs the scope `admin`",
        dependencies=TOKEN,
        response_class=Response,
        responses=refusals(statuses=(401, 403)),
    )
    async def metrics() -> Response:
        return Response(telemetry.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_refusals(app: FastAPI, models: Mapping[str, ModelServer]) -> None:
    served = ", ".join(sorted(models))

    async def unknown_model(model: str) -> None:
        raise RefusalError(
            404, NOTHING_HERE if model in models else f"There is no model {model[:40]!a}. Served here: {served}."
        )

    for path in ("/models/{model}/{what}", "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        app.add_api_route(path, unknown_model, methods=["POST"], include_in_schema=False)

    @app.exception_handler(HTTPException)
    async def not_here(_request: Request, exc: HTTPException) -> None:
        reason = NOTHING_HERE if exc.status_code == 404 else exc.detail  # noqa: PLR2004
        raise RefusalError(exc.status_code, reason, headers=exc.headers) from exc
