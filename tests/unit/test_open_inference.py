"""The Open Inference Protocol."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unit.serving_doubles import MODEL, Row, Running, columns_of, flights, folder, new_service, version_of

COLUMNS = folder().spec.rows.columns
INFER = f"/v2/models/{MODEL}/infer"
Tensor = dict[str, Any]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = new_service(tmp_path_factory.mktemp("service"))
    made.go_live("1")
    made.server.refresh()
    with closing(Running(made)) as running:
        yield running


def ask(service: Running, path: str, body: object = None) -> httpx.Response:
    return service.get(path) if body is None else service.post(path, json=body)


def tensors(rows: Sequence[Row], **changes: Tensor) -> list[Tensor]:
    types = {"number": "FP64", "integer": "INT64", "text": "BYTES"}
    return [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": types[kind.rstrip("?")],
            "data": [row.get(name) for row in rows],
            **changes.get(name, {}),
        }
        for name, kind in COLUMNS.items()
    ]


def outputs(answer: httpx.Response) -> dict[str, list[Any]]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


def test_rows_are_predicted_as_the_model_itself_predicts_them(service: Running) -> None:
    rows = flights(20, seed=5)
    answer = ask(service, INFER, {"id": "it", "inputs": tensors(rows)})
    predictor = service.service.registry.load(version="1", expected_digest=None)
    assert answer.json() == {
        "model_name": MODEL,
        "model_version": "1",
        "id": "it",
        "outputs": [
            {
                "name": "prediction",
                "shape": [20],
                "datatype": "FP64",
                "data": predictor.predict(columns_of(rows, folder().spec)).tolist(),
            },
            {"name": "version", "shape": [20], "datatype": "BYTES", "data": ["1"] * 20},
            {"name": "arm", "shape": [20], "datatype": "BYTES", "data": ["champion"] * 20},
            {"name": "problem", "shape": [20], "datatype": "BYTES", "data": [""] * 20},
            {"name": "decided_by", "shape": [20], "datatype": "BYTES", "data": ["model"] * 20},
            {"name": "level", "shape": [20], "datatype": "BYTES", "data": ["full"] * 20},
            {"name": "effects", "shape": [20], "datatype": "BYTES", "data": [""] * 20},
        ],
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"distance": {"datatype": "FP32"}},
        {"year": {"datatype": "INT32"}, "month": {"datatype": "UINT8"}},
        {"year": {"datatype": "FP64"}},
        {"distance": {"datatype": "INT64", "data": [500, 500, 500]}},
        {"distance": {"shape": [3, 1]}},
        {"distance": {"shape": [3, 1], "data": [[500.0], [500.0], [500.0]]}},
        {"seats": {"datatype": "BOOL", "data": [True, False, None]}},
        {"distance": {"parameters": {"content_type": "np"}, "more": 1}},
    ],
)
def test_column_may_come_in_every_type_and_shape_that_fits(service: Running, changes: dict[str, Tensor]) -> None:
    answer = ask(service, INFER, {"inputs": tensors(flights(3), **changes)})
    assert outputs(answer)["problem"] == ["", "", ""]


def test_columns_may_come_in_any_order_and_optional_ones_not_at_all(service: Running) -> None:
    rows = flights(2)
    some = [
        tensor
        for tensor in tensors(rows)[::-1]
        if not COLUMNS[tensor["name"]].endswith("?") or tensor["name"] == "seats"
    ]
    few = [{**row, "plane_year": None, "tailnum": None} for row in rows]
    assert outputs(ask(service, INFER, {"inputs": some})) == outputs(ask(service, INFER, {"inputs": tensors(few)}))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"year": {"datatype": "INT8"}}, "row {}: year must be INT8, got 2013"),
        ({"distance": {"data": [500.0, "far", 500.0]}}, "row 1: distance must be FP64, got 'far'"),
        ({"distance": {"data": [500.0, None, 500.0]}}, "row 1: distance must be a number, got null"),
        ({"distance": {"data": [500.0, True, 500.0]}}, "row 1: distance must be FP64, got true"),
        ({"distance": {"data": [500.0, [1.0], 500.0]}}, "row 1: distance must be FP64, got a list"),
        ({"flight": {"data": [1, 1.5, 1]}}, "row 1: flight must be INT64, got 1.5"),
        ({"carrier": {"data": ["UA", 5, "UA"]}}, "row 1: carrier must be BYTES, got 5"),
        ({"month": {"data": [1, 13, 1]}}, "row 1: year, month and day must be a day of the calendar"),
    ],
)
def test_row_that_is_not_right_has_its_reason_among_the_outputs(
    service: Running, changes: dict[str, Tensor], problem: str
) -> None:
    answer = ask(service, INFER, {"inputs": tensors(flights(3), **changes)})
    if "{}" in problem:
        assert answer.status_code == 422
        assert all(problem.format(row) in answer.json()["error"] for row in range(3))
        return
    found = outputs(answer)
    assert found["problem"] == ["", problem, ""]
    assert [value is None for value in found["prediction"]] == [False, True, False]
    assert (found["version"], found["arm"]) == (["1", "", "1"], ["champion", "", "champion"])


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 422, "inputs: Field required"),
        ({"inputs": []}, 422, "inputs: must have at least 1 item"),
        ({"inputs": [{"name": "a"}]}, 422, "inputs.0.shape: Field required"),
        ({"inputs": tensors(flights(1)), "outputs": [{"name": "other"}]}, 422, "outputs.0.name: must be"),
        ({"inputs": tensors(flights(2), distance={"datatype": "FP128"})}, 422, "datatype: must be"),
        ({"inputs": tensors(flights(2), distance={"shape": [3]})}, 400, "Input 'distance' must have the shape [rows]"),
        ({"inputs": tensors(flights(2), distance={"shape": [1, 2]})}, 400, "Input 'distance' must have the shape"),
        ({"inputs": tensors(flights(2), distance={"shape": [-2]})}, 400, "Input 'distance' must have the shape"),
        ({"inputs": tensors(flights(2), distance={"shape": [1], "data": [1.0]})}, 400, "the same number of rows"),
        ({"inputs": tensors(flights(2), distance={"datatype": "BYTES"})}, 400, "'distance' must be FP64. Got BYTES."),
        ({"inputs": tensors(flights(2), carrier={"datatype": "FP64"})}, 400, "'carrier' must be BYTES. Got FP64."),
        ({"inputs": tensors(flights(2)) * 2}, 400, "Each input must have another name"),
        ({"inputs": tensors([])}, 400, "1 to 1000"),
        ({"inputs": tensors(flights(1001))}, 400, "1 to 1000"),
        ({"inputs": tensors(flights(2), distance={"name": "distanc"})}, 422, "did you mean 'distance'?"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_request_that_makes_no_sense_is_refused_with_an_error(
    service: Running, body: object, status: int, error: str
) -> None:
    answer = ask(service, INFER, body)
    assert (answer.status_code, set(answer.json())) == (status, {"error"}), answer.text
    assert error in answer.json()["error"]


def test_only_the_outputs_that_are_asked_for_come_back(service: Running) -> None:
    body = {"inputs": tensors(flights(2)), "outputs": [{"name": "version"}, {"name": "prediction"}]}
    assert list(outputs(ask(service, INFER, body))) == ["version", "prediction"]


@pytest.mark.parametrize("name", ["any id at all", "ü", "", "plain-1"])
def test_id_comes_back_whatever_it_is(service: Running, name: str) -> None:
    answer = ask(service, INFER, {"id": name, "inputs": tensors(flights(1))})
    assert answer.json()["id"] == name
    assert (answer.headers["X-Request-Id"] == name) == (name == "plain-1")


def test_request_without_an_id_has_that_of_the_service(service: Running) -> None:
    answer = ask(service, INFER, {"inputs": tensors(flights(1))})
    assert answer.json()["id"] == answer.headers["X-Request-Id"]


def test_metadata_name_the_columns_and_the_outputs(service: Running) -> None:
    metadata = ask(service, f"/v2/models/{MODEL}").json()
    assert metadata == ask(service, f"/v2/models/{MODEL}/versions/1").json()
    assert (metadata["name"], metadata["versions"]) == (MODEL, ["1"])
    assert [tensor["name"] for tensor in metadata["inputs"]] == list(COLUMNS)
    assert metadata["inputs"][0] == {"name": "year", "datatype": "INT64", "shape": [-1]}
    assert metadata["outputs"][0] == {"name": "prediction", "datatype": "FP64", "shape": [-1]}
    assert set(ask(service, "/v2").json()) == {"name", "version", "extensions"}


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/other",
        "/v2/models/other/ready",
        f"/v2/models/{MODEL}/versions/2",
        f"/v2/models/{MODEL}/versions/2/ready",
    ],
)
def test_unknown_model_or_version_is_not_found(service: Running, path: str) -> None:
    answer = ask(service, path)
    assert (answer.status_code, set(answer.json())) == (404, {"error"})


def test_version_that_answers_may_be_named_and_no_other(service: Running) -> None:
    body = {"inputs": tensors(flights(1))}
    assert ask(service, f"/v2/models/{MODEL}/versions/1/infer", body).status_code == 200
    assert ask(service, f"/v2/models/{MODEL}/versions/2/infer", body).status_code == 404
    assert ask(service, "/v2/models/other/infer", body).status_code == 404


def test_no_version_can_be_named_while_two_share_the_traffic(tmp_path: Path) -> None:
    shared = new_service(tmp_path)
    shared.go_live("1")
    shared.step("2", 0.5)
    shared.server.refresh()
    with closing(Running(shared)) as running:
        answer = ask(running, INFER, {"inputs": tensors(flights(100))})
        named = ask(running, f"/v2/models/{MODEL}/versions/1/infer", {"inputs": tensors(flights(1))})
        versions = ask(running, f"/v2/models/{MODEL}").json()["versions"]
    assert (named.status_code, versions) == (404, [])
    assert answer.json()["model_version"] == "1,2"
    assert [version_of(value) for value in outputs(answer)["prediction"]] == outputs(answer)["version"]


def test_state_says_whether_there_is_something_to_predict_with(service: Running, tmp_path: Path) -> None:
    paths = ["/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}/ready"]
    assert [ask(service, path).status_code for path in paths] == [200, 200, 200]
    with closing(Running(new_service(tmp_path))) as empty:
        assert [ask(empty, path).status_code for path in paths] == [200, 503, 503]
        assert ask(empty, INFER, {"inputs": tensors(flights(1))}).status_code == 503


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(list(COLUMNS)),
    field=st.sampled_from(["name", "shape", "datatype", "data"]),
    value=ODD,
    whole=ODD,
    pick=st.integers(0, 4),
)
def test_no_tensor_whatever_is_the_services_fault(
    service: Running, name: str, field: str, value: object, whole: object, pick: int
) -> None:
    body = {"inputs": tensors(flights(2), **{name: {field: value}})} if pick else {"inputs": whole}
    assert ask(service, INFER, body).status_code in (200, 400, 422)
