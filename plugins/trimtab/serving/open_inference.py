"""The Open Inference Protocol, version 2, over HTTP: a tensor for each column, the rows along its first dimension.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md. Beyond it, a value
may be null: in an input of a column that may be missing, and in the output of a row that could not be predicted, or
whose prediction the person who decides must not see.
"""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, JsonValue, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from trimtab.domain.spec import ModelSpec
from trimtab.serving.answering import answer
from trimtab.serving.desk import Desk
from trimtab.serving.messages import REQUEST_ID, InferenceError, example_row
from trimtab.serving.model_server import ModelServer
from trimtab.serving.published import TOKEN, add_post, json_body, parsed, refusals, refused
from trimtab.serving.readiness import readiness
from trimtab.serving.refusals import RefusalError
from trimtab.serving.row_check import RowCheck
from trimtab.serving.tensors import (
    OUTPUTS,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ModelReady,
    ServerMetadata,
    ServerState,
    TensorMetadata,
    datatype_of,
    rows_of,
    written,
)

TAG = "open inference protocol"
VERSION = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}


def add_routes(app: FastAPI, models: Mapping[str, ModelServer], desk: Desk) -> None:
    """Add the routes of all models."""
    _add_state(app, models)
    _add_models(app, models)
    for server in models.values():
        _add_infer(app, server, desk)


def _add_state(app: FastAPI, models: Mapping[str, ModelServer]) -> None:
    @app.get("/v2", tags=[TAG], dependencies=TOKEN, responses=refusals(InferenceError, (401,)))
    async def server_metadata() -> ServerMetadata:
        return ServerMetadata(name="trimtab", version=app.version, extensions=[])

    @app.get("/v2/health/live", tags=[TAG])
    async def server_live() -> ServerState:
        return ServerState(live=True, ready=readiness(models).ready)

    @app.get(
        "/v2/health/ready",
        tags=[TAG],
        response_model=ServerState,
        responses={503: {"model": ServerState, "description": "A released model, or every model, has no version."}},
    )
    async def server_ready() -> Response:
        ready = readiness(models).ready
        return _json(ServerState(live=True, ready=ready), 200 if ready else 503)


def _add_models(app: FastAPI, models: Mapping[str, ModelServer]) -> None:
    published: dict[str, Any] = {
        "tags": [TAG],
        "dependencies": TOKEN,
        "responses": refusals(InferenceError, (401, 404)),
    }

    def served(name: str, version: str | None) -> ModelServer:
        if name not in models:
            raise RefusalError(404, f"There is no model {name[:40]!a}. Served here: {', '.join(sorted(models))}.")
        _only(models[name], version)
        return models[name]

    @app.get("/v2/models/{model}", operation_id="model_metadata", **published)
    async def model_metadata(model: str) -> ModelMetadata:
        return _metadata(served(model, None))

    @app.get("/v2/models/{model}/versions/{version}", operation_id="version_metadata", **published)
    async def version_metadata(model: str, version: str) -> ModelMetadata:
        return _metadata(served(model, version))

    published["responses"] = {**published["responses"], 503: {"model": ModelReady, "description": "It cannot."}}

    @app.get("/v2/models/{model}/ready", operation_id="model_ready", response_model=ModelReady, **published)
    async def model_ready(model: str) -> Response:
        return _ready(served(model, None))

    @app.get(
        "/v2/models/{model}/versions/{version}/ready",
        operation_id="version_ready",
        response_model=ModelReady,
        **published,
    )
    async def version_ready(model: str, version: str) -> Response:
        return _ready(served(model, version))


def _add_infer(app: FastAPI, server: ModelServer, desk: Desk) -> None:
    spec, check = server.spec, RowCheck(server.spec)

    async def infer(request: Request) -> Response:
        _only(server, request.path_params.get("version"))
        asked = _read(await json_body(request))
        if asked.id is not None and re.fullmatch(REQUEST_ID, asked.id):
            request.state.request_id = asked.id
        checked = check.check(rows_of(asked, spec.rows))
        answered = await answer(desk, server, checked, request.state.request_id)
        return _json(written(answered, asked, model=spec.name, request_id=request.state.request_id))

    for path, extra in (("", {}), ("/versions/{version}", {"parameters": [VERSION]})):
        add_post(
            app,
            f"/v2/models/{spec.name}{path}/infer",
            infer,
            InferenceRequest,
            examples=[_example(spec)],
            response_model=InferenceResponse,
            responses=refusals(InferenceError),
            tags=[TAG],
            operation_id=f"infer_{spec.name}{'_version' if path else ''}",
            summary=f"Predict rows of {spec.name} as tensors",
            openapi_extra=extra,
        )


def _read(body: bytes) -> InferenceRequest:
    try:
        return InferenceRequest.model_validate(parsed(body))
    except ValidationError as exc:
        raise refused(exc) from exc


def _only(server: ModelServer, version: str | None) -> None:
    """Refuse a version that is not the one that answers all rows: the routing decides, not the client."""
    if version is not None and version not in _by_name(server):
        raise RefusalError(
            404, f"Version {version[:40]!a} is not the one that answers all requests. Leave the version out."
        )


def _by_name(server: ModelServer) -> list[str]:
    state = server.state
    return [state.version] if state.version and not state.share else []


def _metadata(server: ModelServer) -> ModelMetadata:
    columns = server.spec.rows.columns
    return ModelMetadata(
        name=server.spec.name,
        versions=_by_name(server),
        platform="trimtab",
        inputs=[TensorMetadata(name=name, datatype=datatype_of(kind), shape=[-1]) for name, kind in columns.items()],
        outputs=[TensorMetadata(name=name, datatype=datatype, shape=[-1]) for name, datatype in OUTPUTS.items()],
    )


def _ready(server: ModelServer) -> Response:
    ready = server.state.version is not None
    return _json(ModelReady(name=server.spec.name, ready=ready), 200 if ready else 503)


def _example(spec: ModelSpec) -> dict[str, JsonValue]:
    tensors: list[JsonValue] = [
        {"name": name, "shape": [1], "datatype": datatype_of(spec.rows.columns[name]), "data": [value]}
        for name, value in example_row(spec).items()
    ]
    return {"id": "42", "inputs": tensors, "outputs": [{"name": "prediction"}]}


def _json(message: BaseModel, status: int = 200) -> Response:
    return Response(message.model_dump_json(), status, media_type="application/json")
