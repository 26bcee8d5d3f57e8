"""`/invocations` beside MLflow's own scoring server: the same bodies, the same predictions."""

import asyncio
import json
from typing import Any

import httpx
import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.models import Model
from mlflow.pyfunc import scoring_server

from trimtab.adapters import logged_model
from trimtab.domain.ports import Training
from unit.serving_doubles import Service, client, flights, folder, new_service, package

JSON, CSV = "application/json", "text/csv"
COLUMNS = list(folder().spec.rows.columns)
ROWS = [{**row, "tailnum": "N1" if place else None} for place, row in enumerate(flights(8))]
FRAME = pd.DataFrame(ROWS)[COLUMNS]


@pytest.fixture(scope="module")
def mlflow_app(tmp_path_factory: pytest.TempPathFactory) -> Any:  # an ASGI application
    """MLflow's scoring server with version 1 as the registry would keep it."""
    path = tmp_path_factory.mktemp("mlflow")
    integers = {name: "int64" for name, kind in folder().spec.rows.columns.items() if kind == "integer"}
    training = Training(
        training_id="t",
        candidate="c",
        package=package(1),
        params={},
        metrics={},
        tags={},
        dataset=FRAME,
        dataset_source="x",
        example=FRAME.astype(integers),
        figures={},
    )
    logged_model.save(training, path / "model", Model())
    return scoring_server.init(mlflow.pyfunc.load_model(str(path / "model")))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    made = new_service(tmp_path_factory.mktemp("service"))
    made.go_live("1")
    made.server.refresh()
    return made


def ask_both(
    mlflow_app: Any, service: Service, body: bytes, kind: str
) -> tuple[httpx.Response, httpx.Response]:  # MLflow's answer, and ours
    async def ask() -> tuple[httpx.Response, httpx.Response]:
        headers = {"Content-Type": kind}
        transport = httpx.ASGITransport(app=mlflow_app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://mlflow") as theirs,
            client(service.app()) as ours,
        ):
            return await theirs.post("/invocations", content=body, headers=headers), await ours.post(
                "/invocations", content=body, headers=headers
            )

    return asyncio.run(ask())


def csv_of(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def plain(frame: pd.DataFrame, orient: Any) -> Any:  # one of pandas's words; JSON
    return json.loads(frame.to_json(orient=orient))


SPLIT = plain(FRAME, "split")
FORMS: dict[str, tuple[bytes, str]] = {
    "split": (json.dumps({"dataframe_split": SPLIT}).encode(), JSON),
    "split without index": (json.dumps({"dataframe_split": {k: SPLIT[k] for k in ("columns", "data")}}).encode(), JSON),
    "split in another order": (json.dumps({"dataframe_split": plain(FRAME[COLUMNS[::-1]], "split")}).encode(), JSON),
    "records": (json.dumps({"dataframe_records": plain(FRAME, "records")}).encode(), JSON),
    "records with nan": (json.dumps({"dataframe_records": FRAME.to_dict("records")}).encode(), JSON),
    "records and params": (
        json.dumps({"dataframe_records": plain(FRAME, "records"), "params": {"a": 1}}).encode(),
        JSON,
    ),
    "inputs as records": (json.dumps({"inputs": plain(FRAME, "records")}).encode(), JSON),
    "inputs as columns": (
        json.dumps(
            {"inputs": {name: FRAME[name].astype(object).where(FRAME[name].notna(), None).tolist() for name in COLUMNS}}
        ).encode(),
        JSON,
    ),
    "inputs as one row": (json.dumps({"inputs": plain(FRAME, "records")[1]}).encode(), JSON),
    "instances": (json.dumps({"instances": plain(FRAME, "records")}).encode(), JSON),
    "csv": (csv_of(FRAME), CSV),
    "csv in another order": (csv_of(FRAME[COLUMNS[::-1]]), CSV),
    "csv with whole numbers as floats": (csv_of(FRAME.astype({"distance": float})), "text/csv; charset=utf-8"),
    "csv with text in quotes and empty lines": (csv_of(FRAME).replace(b"AA", b'"AA"').replace(b"\n", b"\r\n\r\n"), CSV),
    "csv with other missing values": (FRAME.to_csv(index=False, na_rep="NULL").encode(), CSV),
    "without an optional column": (csv_of(FRAME.drop(columns="tailnum")), CSV),
}


@pytest.mark.parametrize("form", FORMS)
def test_form_is_answered_with_the_predictions_of_mlflow(mlflow_app: Any, service: Service, form: str) -> None:
    theirs, ours = ask_both(mlflow_app, service, *FORMS[form])
    assert (theirs.status_code, ours.status_code) == (200, 200), (theirs.text, ours.text)
    assert ours.json()["predictions"] == theirs.json()["predictions"]
    assert ours.json()["problems"] == []


REFUSED: dict[str, tuple[bytes, str, int]] = {
    "no JSON": (b"{", JSON, 400),
    "wrong encoding": (b"\xff\xfe", JSON, 400),
    "a list": (b"[]", JSON, 400),
    "no form": (b"{}", JSON, 400),
    "two forms": (b'{"inputs": [], "instances": []}', JSON, 400),
    "records that are none": (b'{"dataframe_records": {"a": 1}}', JSON, 400),
    "split without data": (b'{"dataframe_split": {"columns": ["a"]}}', JSON, 400),
    "split with more": (b'{"dataframe_split": {"columns": [], "data": [], "more": 1}}', JSON, 400),
    "columns of other lengths": (b'{"inputs": {"a": [1], "b": [1, 2]}}', JSON, 400),
    "missing column": (csv_of(FRAME.drop(columns="carrier")), CSV, 422),
    "text for a number": (csv_of(FRAME.astype({"distance": object}).assign(distance="far")), CSV, 422),
    "csv in another encoding": ("ä\n1".encode("latin-1"), CSV, 400),
    "empty csv": (b"", CSV, 400),
    "other content": (b"<a/>", "application/xml", 415),
    "other charset": (csv_of(FRAME), "text/csv; charset=latin-1", 415),
}


@pytest.mark.parametrize("name", REFUSED)
def test_body_that_mlflow_refuses_is_refused(mlflow_app: Any, service: Service, name: str) -> None:
    body, kind, status = REFUSED[name]
    theirs, ours = ask_both(mlflow_app, service, body, kind)
    assert 400 <= theirs.status_code < 500, theirs.text
    assert (ours.status_code, set(ours.json())) == (status, {"error_code", "message"}), ours.text


def test_column_that_there_is_not_is_refused_where_mlflow_passes_it_over(mlflow_app: Any, service: Service) -> None:
    theirs, ours = ask_both(mlflow_app, service, csv_of(FRAME.assign(distanc=1.0)), CSV)
    assert (theirs.status_code, ours.status_code) == (200, 422)
    assert "row 0: distanc there is no such column; did you mean 'distance'?" in ours.json()["message"]


def test_row_that_is_not_right_leaves_the_others_their_predictions(mlflow_app: Any, service: Service) -> None:
    lines = FRAME.astype({"distance": object}).assign(distance=["far", *FRAME["distance"].tolist()[1:]])
    theirs, ours = ask_both(mlflow_app, service, csv_of(lines), CSV)
    alone, _ = ask_both(mlflow_app, service, csv_of(FRAME[1:]), CSV)
    assert theirs.status_code == 400
    assert ours.json()["predictions"] == [None, *alone.json()["predictions"]]
    assert ours.json()["versions"] == [None] + ["1"] * 7
    assert ours.json()["problems"] == [{"row": 0, "column": "distance", "problem": "must be a number, got 'far'"}]


@pytest.mark.parametrize("path", ["/ping", "/health", "/version"])
def test_state_is_told_as_mlflow_tells_it(mlflow_app: Any, service: Service, path: str) -> None:
    async def ask() -> list[tuple[int, str]]:
        transport = httpx.ASGITransport(app=mlflow_app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://mlflow") as theirs,
            client(service.app()) as ours,
        ):
            answers = [await theirs.get(path), await ours.get(path)]
        return [(answer.status_code, answer.text) for answer in answers]

    theirs, ours = asyncio.run(ask())
    assert theirs == ours
