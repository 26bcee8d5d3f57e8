"""`/invocations` as MLflow's scoring server has it, with its input forms; and its `/ping`, `/health` and `/version`.

Other than there, an unknown column is an error and not passed over, and rows that are not right do not take the others
with them: their prediction is null, and `problems` has the reasons.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import Field, create_model
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from trimtab.domain.automation import Decider, Level
from trimtab.domain.explanation import FeatureEffect
from trimtab.serving.answering import AnsweredRows, answer
from trimtab.serving.desk import Desk
from trimtab.serving.messages import MAX_ROWS, InvocationsError, Message, RowMessage, RowProblem, example_row
from trimtab.serving.mlflow_forms import csv_rows, json_rows
from trimtab.serving.model_server import ModelServer
from trimtab.serving.published import add_post, content_type, parsed, refusals
from trimtab.serving.refusals import RefusalError
from trimtab.serving.row_check import CheckedRows, RowCheck


class Predictions(Message):
    """The answer in MLflow's form, and with what else is known of it."""

    predictions: list[float | None] = Field(
        description="In the order of the rows; null: see `problems`, or a person decides and must not see it."
    )
    request_id: str
    model: str
    versions: list[str | None] = Field(description="Version that predicted each row.")
    arms: list[str | None] = Field(description="Whether that is the champion or the challenger.")
    decided_by: list[Decider | None] = Field(description="Who decides about each row, the model or a person.")
    levels: list[Level | None] = Field(description="Level of automation that says so.")
    effects: list[tuple[FeatureEffect, ...]] = Field(
        description="Of each row, what single features do to what is proposed to the person who decides."
    )
    problems: list[RowProblem] = Field(default=[], description="Why rows have no prediction.")


def add_routes(app: FastAPI, models: Mapping[str, ModelServer], desk: Desk) -> None:
    """Add the routes of all models."""
    for server in models.values():
        _add_model(app, f"/models/{server.spec.name}/invocations", server, desk)
    if len(models) == 1:
        _add_model(app, "/invocations", next(iter(models.values())), desk)
    _add_state(app, models)


def _add_model(app: FastAPI, path: str, server: ModelServer, desk: Desk) -> None:
    spec, check = server.spec, RowCheck(server.spec)

    async def invoke(request: Request) -> Response:
        checked = _read(await request.body(), content_type(request.headers), check)
        answered = await answer(desk, server, checked, request.state.request_id)
        return Response(_written(answered, spec.name, request.state.request_id), media_type="application/json")

    row = example_row(spec)
    add_post(
        app,
        path,
        invoke,
        _body_type(check.row),
        examples=[{"dataframe_records": [row]}, {"inputs": {column: [value] for column, value in row.items()}}],
        response_model=Predictions,
        responses=refusals(InvocationsError),
        tags=["mlflow"],
        operation_id=f"invocations_{spec.name}" if path.startswith("/models") else "invocations",
        summary=f"Predict rows of {spec.name} in MLflow's forms",
        description="JSON as described here, or `text/csv` with a header line.",
        openapi_extra={"requestBody": {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    )


def _add_state(app: FastAPI, models: Mapping[str, ModelServer]) -> None:
    async def ping() -> Response:
        is_up = any(server.state.version for server in models.values())
        return Response("\n", 200 if is_up else 404, media_type="application/json")

    for path in ("/ping", "/health"):
        app.add_api_route(
            path,
            ping,
            tags=["mlflow"],
            operation_id=path[1:],
            summary="Whether there is a model that answers",
            response_class=Response,
            responses={404: {"description": "There is none."}},
        )

    @app.get("/version", tags=["mlflow"], summary="Version of MLflow whose forms are spoken", response_class=Response)
    async def mlflow_version() -> Response:
        return Response(version("mlflow"), media_type="application/json")


def _body_type(row: type[RowMessage]) -> Any:  # a union of types
    class Split(Message):
        """Rows without the names of the columns, which stand once."""

        columns: list[str]
        data: list[list[float | str | None]]
        index: list[int | str] | None = Field(default=None, description="Passed over.")

    rows: Any = Annotated[list[row], Field(min_length=1, max_length=MAX_ROWS)]  # type: ignore[valid-type]
    types: dict[str, Any] = {
        "dataframe_split": Split,
        "dataframe_records": rows,
        "inputs": rows | dict[str, list[float | str | None]],
        "instances": rows,
    }
    model = row.__name__.removesuffix("Row")
    forms = []
    for form, kind in types.items():
        fields: dict[str, Any] = {form: (kind, ...)}
        forms.append(create_model(f"{model}{form.title().replace('_', '')}", __base__=Message, **fields))
    return forms[0] | forms[1] | forms[2] | forms[3]


def _read(body: bytes, kind: str, check: RowCheck) -> CheckedRows:
    if kind == "application/json":
        read = json_rows(parsed(body))
    elif kind == "text/csv":
        read = csv_rows(body, check.spec.columns)
    else:
        raise RefusalError(415, "The body must be application/json or text/csv, and its header must say which.")
    if not 1 <= len(read.rows) <= MAX_ROWS:
        raise RefusalError(422, f"A request has 1 to {MAX_ROWS} rows. Got {len(read.rows)}.")
    return check.check(read)


def _written(answered: AnsweredRows, model: str, request_id: str) -> bytes:
    """`Predictions`, without making one, which takes longer than all else here."""
    outcomes = answered.outcomes
    return to_json(
        {
            "predictions": [row.prediction for row in outcomes],
            "request_id": request_id,
            "model": model,
            "versions": [row.version for row in outcomes],
            "arms": [row.arm for row in outcomes],
            "decided_by": [row.decided_by for row in outcomes],
            "levels": [row.level for row in outcomes],
            "effects": [row.effects for row in outcomes],
            "problems": answered.problems,
        },
        inf_nan_mode="null",
    )
