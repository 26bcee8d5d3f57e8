"""`/models/{model}/predict`: rows with the model's own columns in, predictions in their order out."""

import re
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field, ValidationError
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from trimtab.serving.answering import AnsweredRows, answer
from trimtab.serving.desk import Desk
from trimtab.serving.messages import MAX_ROWS, REQUEST_ID, Answer, Message, RequestId, example
from trimtab.serving.model_server import ModelServer
from trimtab.serving.published import add_post, json_body, parsed, refusals, refused
from trimtab.serving.row_check import CheckedRows, ReadRows, RowCheck


class _Loose(Message):
    """A request of which some rows may be wrong."""

    rows: Annotated[list[Any], Field(min_length=1, max_length=MAX_ROWS)]
    request_id: RequestId | None = None


def add_routes(app: FastAPI, server: ModelServer, desk: Desk) -> None:
    """Add the model's route."""
    spec, check = server.spec, RowCheck(server.spec)

    async def predict(request: Request) -> Response:
        checked = _read(await json_body(request), check, request)
        answered = await answer(desk, server, checked, request.state.request_id)
        return Response(_written(answered, spec.name, request.state.request_id), media_type="application/json")

    add_post(
        app,
        f"/models/{spec.name}/predict",
        predict,
        check.body,
        examples=[example(spec)],
        response_model=Answer,
        responses=refusals(),
        tags=["predict"],
        operation_id=f"predict_{spec.name}",
        summary=f"Predict rows of {spec.name}",
        description=f"{spec.description} Owner: {spec.owner}. Rows that are not right are left out, with reasons.",
    )


def _read(body: bytes, check: RowCheck, request: Request) -> CheckedRows:
    """The rows; the id that the body gives the request is noted, and the edge sends it back whatever comes of it."""
    try:
        asked = check.body.model_validate_json(body)
    except ValidationError:
        return _read_row_by_row(body, check, request)
    if asked.request_id:
        request.state.request_id = asked.request_id
    rows = [row.values() for row in asked.rows]
    return CheckedRows(count=len(rows), values=rows, positions=range(len(rows)))


def _read_row_by_row(body: bytes, check: RowCheck, request: Request) -> CheckedRows:
    document = parsed(body)
    wished = document.get("request_id") if isinstance(document, dict) else None
    if isinstance(wished, str) and re.fullmatch(REQUEST_ID, wished):
        request.state.request_id = wished
    try:
        return check.check(ReadRows(rows=_Loose.model_validate(document).rows))
    except ValidationError as exc:
        raise refused(exc) from exc


def _written(answered: AnsweredRows, model: str, request_id: str) -> bytes:
    """An `Answer`, without making one, which takes four times as long."""
    outcomes = answered.outcomes
    rows = [
        {
            "prediction": row.prediction,
            "version": row.version,
            "arm": row.arm,
            "decided_by": row.decided_by,
            "level": row.level,
            "effects": row.effects,
        }
        for row in outcomes
    ]
    return to_json(
        {
            "request_id": request_id,
            "model": model,
            "routing": next((row.route for row in outcomes if row.route is not None), None),
            "predictions": rows,
            "problems": answered.problems,
        },
        inf_nan_mode="null",
    )
