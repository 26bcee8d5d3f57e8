"""What the prediction service makes of bodies, good and bad."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.adapters.model_folder import parse_spec
from trimtab.adapters.outcome_log import OutcomeWriter
from trimtab.adapters.traffic_log import TrafficWriter
from trimtab.domain.columns import Columns
from trimtab.domain.metrics import FloatArray
from trimtab.domain.spec import ModelSpec
from trimtab.serving.app import create_app
from trimtab.serving.messages import example, request_type, row_type
from trimtab.serving.model_server import ModelServer
from unit.serving_doubles import (
    MODEL,
    NOW,
    Row,
    Running,
    Service,
    SpoiledPredictor,
    columns_of,
    content_digest,
    flights,
    folder,
    new_service,
    version_of,
)

PATH = f"/models/{MODEL}/predict"
BY_MODEL = {"decided_by": "model", "level": "full", "effects": []}
BY_NOBODY = {"decided_by": None, "level": None, "effects": []}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    service = new_service(tmp_path_factory.mktemp("service"))
    service.go_live("1")
    service.server.refresh()
    asked = Running(service)
    yield asked
    asked.close()


def problems_of(answer: httpx.Response) -> list[tuple[int | None, str | None, str]]:
    assert answer.status_code == 422, answer.text
    return [(row["row"], row["column"], row["problem"]) for row in answer.json()["rows"]]


def changed(**values: object) -> Row:
    return {**flights(1)[0], **values}


def without(name: str) -> Row:
    return {key: value for key, value in flights(1)[0].items() if key != name}


def test_rows_are_answered_in_their_order_as_the_model_itself_predicts_them(running: Running) -> None:
    rows = flights(50, seed=3)
    answer = running.post(json={"rows": rows, "request_id": "order-1"})
    predictor = running.service.registry.load(version="1")
    expected = predictor.predict(columns_of(rows, folder().spec)).tolist()
    assert answer.json() == {
        "request_id": "order-1",
        "model": MODEL,
        "routing": running.service.server.state.routing,
        "predictions": [{"prediction": value, "version": "1", "arm": "champion", **BY_MODEL} for value in expected],
        "problems": [],
    }


def test_request_id_comes_from_the_body_then_from_the_header_then_from_the_service(running: Running) -> None:
    body = {"rows": flights(1)}
    both = running.post(json={**body, "request_id": "from-body"}, headers={"X-Request-Id": "from-header"})
    header = running.post(json=body, headers={"X-Request-Id": "from-header"})
    made = [running.post(json=body) for _ in range(2)]
    odd = running.post(json=body, headers={"X-Request-Id": "not a good id"})
    assert [answer.headers["X-Request-Id"] for answer in (both, header)] == ["from-body", "from-header"]
    assert all(answer.json()["request_id"] == answer.headers["X-Request-Id"] for answer in (both, header, *made, odd))
    assert len({answer.json()["request_id"] for answer in (*made, odd)} - {"not a good id"}) == 3


def test_missing_optional_columns_may_be_null_or_left_out(running: Running) -> None:
    rows = [changed(tailnum=None, seats=None, plane_year=None), without("tailnum"), without("seats")]
    assert running.post(json={"rows": rows}).status_code == 200


def test_category_that_the_model_has_never_seen_is_answered(running: Running) -> None:
    answer = running.post(json={"rows": [changed(carrier="ZZ", dest="", origin="日本 😀")]})
    assert (answer.status_code, answer.json()["problems"]) == (200, [])


def test_whole_numbers_may_be_written_as_floats(running: Running) -> None:
    plain = running.post(json={"rows": [changed(sched_dep_time=900, distance=500)]}).json()
    floats = running.post(json={"rows": [changed(sched_dep_time=900.0, distance=500.0)]}).json()
    assert plain["predictions"] == floats["predictions"]


@pytest.mark.parametrize(
    ("row", "column", "problem"),
    [
        (changed(distance="far"), "distance", "must be a number, got 'far'"),
        (changed(distance="für"), "distance", "must be a number, got 'für'"),
        (changed(Größe=1), "Größe", "there is no such column"),
        (changed(distance="12"), "distance", "must be a number, got '12'"),
        (changed(distance=True), "distance", "must be a number, got true"),
        (changed(distance=None), "distance", "must be a number, got null"),
        (changed(distance=[1]), "distance", "must be a number, got a list"),
        (changed(year=2013.5), "year", "must be an integer of at most 2^53, got 2013.5"),
        (changed(flight=2**53 + 2), "flight", "must be an integer of at most 2^53, got 9007199254740994"),
        (changed(carrier=5), "carrier", "must be a text of at most 1000 characters, got 5"),
        (changed(carrier={}), "carrier", "must be a text of at most 1000 characters, got an object"),
        (without("carrier"), "carrier", "is missing"),
        (changed(distanc=1), "distanc", "there is no such column; did you mean 'distance'?"),
        (changed(qqq=1), "qqq", "there is no such column"),
        (changed(month=13), None, "year, month and day must be a day of the calendar"),
        (changed(month=2, day=30), None, "year, month and day must be a day of the calendar"),
        (changed(year=13), None, "year, month and day must be a day of the calendar"),
        (5, None, "must be an object of columns, got 5"),
        (None, None, "must be an object of columns, got null"),
    ],
)
def test_bad_row_gets_its_reason_and_the_others_are_answered(
    running: Running, row: Row, column: str | None, problem: str
) -> None:
    good = flights(2)
    answer = running.post(json={"rows": [good[0], row, good[1]]})
    assert answer.status_code == 200, answer.text
    body, alone = answer.json(), running.post(json={"rows": good}).json()
    assert body["problems"] == [{"row": 1, "column": column, "problem": problem}]
    assert [body["predictions"][place] for place in (0, 2)] == alone["predictions"]
    assert body["predictions"][1] == {"prediction": None, "version": None, "arm": None, **BY_NOBODY}


def test_nothing_is_logged_of_a_request_whose_rows_are_all_wrong(running: Running) -> None:
    before = content_digest(running.service.traffic)
    answer = running.post(json={"rows": [changed(distance="far"), without("carrier")], "request_id": "all-wrong"})
    assert problems_of(answer) == [(0, "distance", "must be a number, got 'far'"), (1, "carrier", "is missing")]
    assert answer.json()["reason"] == "None of the 2 rows can be predicted. Mend and send again."
    assert answer.headers["X-Request-Id"] == answer.json()["request_id"] == "all-wrong"
    assert content_digest(running.service.traffic) == before


def test_row_is_logged_under_its_place_in_the_request(tmp_path: Path) -> None:
    service = new_service(tmp_path)
    service.go_live("1")
    service.server.refresh()
    asked = Running(service)
    asked.post(json={"rows": [changed(distance="far"), flights(1)[0], {}, flights(1)[0]]})
    asked.close()
    lines = [json.loads(line) for file in service.traffic.rglob("*.jsonl") for line in file.read_text().splitlines()]
    assert [line["row"] for line in lines] == [1, 3]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"null", 422),
        (b"[]", 422),
        (b"7", 422),
        (b'"rows"', 422),
        (b"{}", 422),
        (b'{"rows": []}', 422),
        (b'{"rows": {}}', 422),
        (b'{"rows": 1}', 422),
        (b'{"rows": [NaN]}', 422),
        (b'{"rows": [{"distance": NaN}]}', 422),
        (b'{"rows": [{"distance": Infinity}]}', 422),
        (b'{"rows": [{"distance": 1e999}]}', 422),
        (b'{"rows": [{"distance": ' + b"9" * 4000 + b"}]}", 422),
        (b'{"rows": [{"distance": ' + b"9" * 9000 + b"}]}", 400),
        (b'{"rows": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"rows": ' + b"[" * 600 + b"]" * 600 + b"}", 400),
        (b'{"rows": [{"carrier": "\\ud800"}]}', 400),
        (b'{"rows": [{"\\ud800": 1}]}', 400),
        (b'{"\\ud800": 1}', 400),
        (b'{"rows": [{"carrier": "\xff"}]}', 400),
        (b"\xff\xfe\x00", 400),
        (b"\x00" * 100, 400),
        (b'\xef\xbb\xbf{"rows": [{}]}', 400),
        ('{"rows": [{}]}'.encode("utf-16"), 400),
        (b'{"rows": [{}]} {"rows": [{}]}', 400),
        (b'{"rows": [{"carrier": "a\x00b"}]}', 400),
        (b'{"rows": [{}], "rows": 5}', 422),
        (b'{"rows": [{}], "request_id": "' + b"x" * 101 + b'"}', 422),
        (b'{"rows": [{}], "request_id": 5}', 422),
        (b'{"rows": [{}], "more": 5}', 422),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_body_that_makes_no_sense_is_refused_as_the_clients_fault(running: Running, body: bytes, status: int) -> None:
    answer = running.post(content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"request_id", "reason", "rows"}
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "multipart/form-data", "application/xml", "nonsense", "", "application/json; charset=latin-1"],
)
def test_body_that_is_not_declared_as_json_in_utf8_is_refused(running: Running, kind: str) -> None:
    answer = running.post(content=json.dumps({"rows": flights(1)}), headers={"Content-Type": kind})
    assert (answer.status_code, set(answer.json())) == (415, {"request_id", "reason", "rows"})


@pytest.mark.parametrize(
    "kind", ["application/json; charset=UTF-8", 'APPLICATION/JSON;charset="utf-8"', "application/x+json"]
)
def test_json_may_be_declared_in_all_ways(running: Running, kind: str) -> None:
    body = json.dumps({"rows": flights(1)})
    assert running.post(content=body, headers={"Content-Type": kind}).status_code == 200


def test_of_a_column_that_is_written_twice_the_last_value_counts_in_good_and_bad_requests(running: Running) -> None:
    row = json.dumps(flights(1)[0])
    twice = row[:-1] + ', "distance": 700.0}'
    alone = running.post(content=f'{{"rows": [{twice}]}}', headers=JSON).json()
    beside = running.post(content=f'{{"rows": [{twice}, {{}}]}}', headers=JSON).json()
    plain = running.post(json={"rows": [changed(distance=700.0)]}).json()
    assert alone["predictions"][0] == beside["predictions"][0] == plain["predictions"][0]


def test_every_row_has_a_reason_and_none_has_more_than_three(running: Running) -> None:
    found = running.post(json={"rows": [{}] * 1000}).json()["rows"]
    assert [problem["row"] for problem in found] == [row for row in range(1000) for _ in range(3)]


@pytest.mark.parametrize(("count", "status"), [(1, 200), (1000, 200), (1001, 422)])
def test_request_has_up_to_a_thousand_rows(running: Running, count: int, status: int) -> None:
    assert running.post(json={"rows": flights(count)}).status_code == status


def test_values_out_of_all_bounds_are_answered_or_refused(running: Running) -> None:
    for value in (1.7e308, -1.7e308, 5e-324, 0.0):
        for column in ("distance", "seats", "plane_year"):
            assert running.post(json={"rows": [changed(**{column: value})]}).status_code in (200, 422)


def test_body_beyond_the_limit_is_refused_whether_or_not_its_length_is_declared(running: Running) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100_000

    declared = running.post(content=b" " * (2**20 + 1), headers=JSON)
    chunked = running.post(content=chunks(), headers=JSON)
    fits = running.post(content=b" " * 2**20, headers=JSON)
    lying = running.post(content=b"{}", headers={**JSON, "Content-Length": "9" * 30})
    assert [answer.status_code for answer in (declared, chunked, fits, lying)] == [413, 413, 400, 413]
    assert "at most 1048576 bytes" in chunked.json()["reason"]


def test_body_that_does_not_arrive_is_given_up(tmp_path: Path) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(1)
        yield b"}"

    asked = Running(new_service(tmp_path), body_timeout_s=0.05)
    answer = asked.post(content=trickle(), headers=JSON)
    asked.close()
    assert (answer.status_code, answer.json()["reason"]) == (408, "The body must arrive within 0.05 s. Send it again.")


def test_answer_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    def slow(_rows: Columns, values: FloatArray) -> FloatArray:
        time.sleep(1)
        return values

    service = new_service(tmp_path)
    service.registry.special["1"] = SpoiledPredictor(1, slow)
    service.go_live("1")
    service.server.refresh()
    asked = Running(service, answer_timeout_s=0.2)
    answer = asked.post(json={"rows": flights(1)})
    asked.close()
    assert (answer.status_code, answer.json()["reason"]) == (503, "There was no answer within 0.2 s.")
    assert answer.headers["Retry-After"] == "1"


def test_what_feature_code_raises_is_not_shown(tmp_path: Path) -> None:
    def secretive(_rows: Columns, _values: FloatArray) -> FloatArray:
        raise KeyError("/etc/secret")

    service = new_service(tmp_path)
    service.registry.special["1"] = SpoiledPredictor(1, secretive)
    service.go_live("1")
    service.server.refresh()
    asked = Running(service)
    answer = asked.post(json={"rows": flights(2)})
    asked.close()
    assert answer.status_code == 422
    assert "secret" not in answer.text
    assert "KeyError" not in answer.text
    assert any("/etc/secret" in file.read_text() for file in service.traffic.rglob("*.jsonl"))


def test_unknown_model_and_unknown_path_are_not_found(running: Running) -> None:
    model, path = running.post("/models/other/predict", json={}), running.post("/other", json={})
    assert (model.status_code, model.json()["reason"]) == (404, f"There is no model 'other'. Served here: {MODEL}.")
    assert (path.status_code, running.get(PATH).status_code) == (404, 405)


ODD_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)
ODD_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ODD_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
    max_leaves=5,
)
COLUMN = st.sampled_from(list(folder().spec.rows.columns))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(COLUMN | ODD_TEXT, ODD_VALUE, max_size=3), whole=ODD_VALUE, pick=st.integers(0, 5))
def test_no_body_whatever_is_the_services_fault(running: Running, changes: Row, whole: object, pick: int) -> None:
    body = {"rows": [flights(1)[0], {**flights(1)[0], **changes}]} if pick else whole
    answer = running.post(content=json.dumps(body).encode(), headers=JSON)
    assert answer.status_code in (200, 400, 422), answer.text
    if answer.status_code == 200:
        rows = answer.json()["predictions"]
        assert version_of(rows[0]["prediction"]) == "1"
        assert (rows[1]["prediction"] is None) == bool(answer.json()["problems"])
    else:
        assert answer.json()["reason"]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_no_bytes_whatever_are_the_services_fault(running: Running, body: bytes) -> None:
    assert running.post(content=body, headers=JSON).status_code in (400, 422)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.fixed_dictionaries(
        {
            name: st.floats(allow_nan=False, allow_infinity=False)
            if kind.startswith("number")
            else st.integers(-(2**53), 2**53)
            for name, kind in folder().spec.rows.columns.items()
            if not kind.startswith("text") and name not in folder().spec.rows.day_columns
        }
    )
)
def test_no_valid_numbers_whatever_are_the_services_fault(running: Running, numbers: Row) -> None:
    answer = running.post(json={"rows": [{**flights(1)[0], **numbers}]})
    assert answer.status_code in (200, 422), answer.text


def test_published_examples_are_answered_as_they_stand(running: Running) -> None:
    document = running.get("/openapi.json").json()
    examples = {
        path: operation["post"]["requestBody"]["content"]["application/json"]["schema"]["examples"]
        for path, operation in document["paths"].items()
        if "post" in operation
    }
    assert len(examples) == 6
    for path, bodies in examples.items():
        for body in bodies:
            answer = running.post(path.replace("{version}", "1"), json=body)
            assert answer.status_code == (202 if path.endswith("/feedback") else 200), answer.text


def test_published_schema_has_the_columns_of_the_model_with_their_types(running: Running) -> None:
    document = running.get("/openapi.json").json()
    row = document["components"]["schemas"]["FlightAirTimeRow"]
    assert list(row["properties"]) == list(folder().spec.rows.columns)
    assert set(row["required"]) == {name for name, kind in folder().spec.rows.columns.items() if not kind.endswith("?")}
    assert row["properties"]["year"]["type"] == "integer"
    assert [kind["type"] for kind in row["properties"]["seats"]["anyOf"]] == ["number", "null"]
    assert document["components"]["securitySchemes"].keys() == {"token", "token_as_password"}
    assert document["paths"]["/readyz"]["get"].get("security") is None


def odd_spec(columns: dict[str, str], event_day: dict[str, str]) -> ModelSpec:
    document = folder().spec.model_dump(mode="json", by_alias=True)
    document["rows"] = {"columns": columns, "key": [next(iter(columns))], "event_day": event_day}
    document["slices"], document["gate"] = [], {}
    return parse_spec(json.dumps(document), "odd.yaml")


def test_columns_may_have_names_that_fields_of_pydantic_may_not() -> None:
    names = ["schema", "model_config", "a b", "1", "copy", "self", "rows", "ü", "values"]
    spec = odd_spec({"when": "text", **dict.fromkeys(names, "number?")}, {"kind": "column", "column": "when"})
    body = request_type(spec, row_type(spec)).model_validate(
        {"rows": [{"when": "2024-01-15", **dict.fromkeys(names, 1.5)}]}
    )
    assert body.rows[0].values() == ("2024-01-15", *[1.5] * len(names))


@pytest.mark.parametrize(
    ("columns", "event_day", "expected"),
    [
        ({"when": "text"}, {"kind": "column", "column": "when", "format": "%d.%m.%Y"}, {"when": "15.01.2024"}),
        ({"when": "integer"}, {"kind": "column", "column": "when", "format": "%Y%m%d"}, {"when": 20240115}),
        (
            {"y": "text", "m": "text", "d": "integer", "n": "number", "t": "text?"},
            {"kind": "parts", "year": "y", "month": "m", "day": "d"},
            {"y": "2024", "m": "1", "d": 15, "n": 1.0, "t": "A"},
        ),
    ],
)
def test_example_has_a_day_in_the_models_own_form(
    columns: dict[str, str], event_day: dict[str, str], expected: Row
) -> None:
    assert example(odd_spec(columns, event_day)) == {"rows": [expected]}


@pytest.fixture
def two_models(tmp_path: Path) -> Iterator[Running]:
    service = new_service(tmp_path)
    service.go_live("1")
    service.server.refresh()
    spec = folder().spec.model_copy(update={"name": "another_model"})
    writers = TrafficWriter(tmp_path, "another_model", "w", lambda: NOW), OutcomeWriter(tmp_path, "a", "w", lambda: NOW)
    other = ModelServer(spec, service.ledger, service.registry, *writers)
    other.refresh()
    models = {MODEL: service.server, spec.name: other}
    asked = Running(cast(Service, SimpleNamespace(app=lambda: create_app(models, service.tokens))))
    yield asked
    asked.close()


def test_two_models_have_routes_of_their_own_and_none_together(two_models: Running) -> None:
    row = flights(1)[0]
    for name in (MODEL, "another_model"):
        assert two_models.post(f"/models/{name}/predict", json={"rows": [row]}).json()["model"] == name
        assert two_models.post(f"/models/{name}/invocations", json={"instances": [row]}).json()["model"] == name
        assert two_models.get(f"/v2/models/{name}").json()["name"] == name
    alone = two_models.post("/invocations", json={"instances": [row]})
    assert (alone.status_code, alone.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert "/invocations" not in two_models.get("/openapi.json").json()["paths"]
    assert f'model_name="{MODEL}"' in two_models.get("/metrics").text


def test_unknown_route_of_a_known_model_is_not_an_unknown_model(running: Running) -> None:
    answer = running.post(f"/models/{MODEL}/other", json={})
    assert (answer.status_code, answer.json()["reason"][:21]) == (404, "There is nothing here")


def test_compressed_body_is_refused(running: Running) -> None:
    body = gzip.compress(json.dumps({"rows": flights(1)}).encode())
    answer = running.post(content=body, headers={**JSON, "Content-Encoding": "gzip"})
    assert (answer.status_code, answer.json()["reason"]) == (415, "The body must not be compressed.")
