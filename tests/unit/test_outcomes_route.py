"""What became of answers, as clients tell it."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.adapters.model_folder import parse_spec
from trimtab.domain.spec import ModelSpec
from trimtab.serving import outcomes
from unit.serving_doubles import MODEL, Running, folder, new_service

PATH = f"/models/{MODEL}/feedback"
LABEL: dict[str, Any] = {"request_id": "r-1", "row": 0, "kind": "label", "value": 151.0}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with closing(Running(new_service(tmp_path))) as running:
        yield running


def tell(service: Running, body: object, **more: Any) -> httpx.Response:  # of httpx
    return service.post(PATH, **({"json": body} if body is not None else more))


def written(service: Running) -> list[dict[str, Any]]:
    lines = [
        line for file in sorted(service.service.traffic.rglob("outcomes/*")) for line in file.read_bytes().splitlines()
    ]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "outcome",
    [
        LABEL,
        {**LABEL, "value": 151, "row": None},
        {"request_id": "r-1", "kind": "correction", "value": -1.5, "feedback_id": "second"},
        {"request_id": "r-1", "kind": "override", "value": "hold the flight"},
        {"request_id": "r-1", "kind": "override", "value": 1.0},
        {"request_id": "r-1", "row": 999, "kind": "retry"},
        {"request_id": "batch:2013-05-12:17", "row": 0, "kind": "decision", "value": 151.5},
        {"request_id": "r-1", "kind": "click", "value": None},
    ],
)
def test_outcome_is_in_the_log_when_it_is_answered(service: Running, outcome: dict[str, Any]) -> None:
    answer = tell(service, {"outcomes": [outcome]})
    assert (answer.status_code, answer.json()["taken"], answer.json()["problems"]) == (202, 1, []), answer.text
    (line,) = written(service)
    expected = {"row": None, "value": None, "feedback_id": "", **outcome}
    assert {name: line[name] for name in expected} == expected


KINDS = "must be an object whose kind is label, decision, correction, override, retry or click"


@pytest.mark.parametrize(
    ("outcome", "column", "problem"),
    [
        ({**LABEL, "value": "far"}, "value", "must be a valid number"),
        ({**LABEL, "value": True}, "value", "must be a valid number"),
        ({**LABEL, "value": None}, "value", "must be a valid number"),
        ({**LABEL, "row": -1}, "row", "must be greater than or equal to 0"),
        ({**LABEL, "row": 1000}, "row", "must be less than 1000"),
        ({**LABEL, "row": 0.5}, "row", "must be a valid integer"),
        ({**LABEL, "request_id": "not a good id"}, "request_id", "must match pattern"),
        ({**LABEL, "feedback_id": "x" * 101}, "feedback_id", "must have at most 100 characters"),
        ({**LABEL, "more": 1}, "more", "Extra inputs are not permitted"),
        ({**LABEL, "m" * 500: 1}, "m" * 160, "Extra inputs are not permitted"),
        ({"kind": "click"}, "request_id", "Field required"),
        ({"request_id": "r-1", "kind": "click", "value": 1}, "value", "must be null"),
        ({"request_id": "r-1", "kind": "override", "value": "x" * 1001}, "value", "must be a valid number"),
        ({**LABEL, "kind": "like"}, None, KINDS),
        ({"request_id": "r-1"}, None, KINDS),
        (5, None, KINDS),
        (None, None, KINDS),
    ],
)
def test_outcome_that_is_not_right_has_its_reason_and_the_others_are_taken(
    service: Running, outcome: object, column: str | None, problem: str
) -> None:
    answer = tell(service, {"outcomes": [LABEL, outcome, LABEL]})
    assert (answer.status_code, answer.json()["taken"], len(written(service))) == (202, 2, 2)
    told = answer.json()["problems"]
    assert {place["row"] for place in told} == {1}
    assert told[0]["column"] == column
    assert told[0]["problem"].startswith(problem)
    assert "pydantic" not in answer.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"outcomes": []}, 422),
        ({"outcomes": [LABEL] * 1001}, 422),
        ({"outcomes": [LABEL], "more": 1}, 422),
        ({"outcomes": [{}]}, 422),
        ([], 422),
    ],
)
def test_body_that_makes_no_sense_is_refused_and_nothing_is_written(
    service: Running, body: object, status: int
) -> None:
    answer = tell(service, body)
    assert (answer.status_code, set(answer.json())) == (status, {"request_id", "reason", "rows"})
    assert written(service) == []


def test_body_that_is_no_json_is_refused(service: Running) -> None:
    assert tell(service, None, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    assert tell(service, None, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_outcomes_are_not_acknowledged_if_the_log_does_not_take_them(service: Running) -> None:
    service.service.traffic.parent.joinpath("traffic").write_text("a file where the folder should be")
    answer = tell(service, {"outcomes": [LABEL]})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert str(service.service.traffic) not in answer.text


def test_feedback_needs_no_version_that_answers_and_no_known_request(service: Running) -> None:
    assert service.service.server.state.version is None
    assert tell(service, {"outcomes": [LABEL]}).status_code == 202


def binary_spec(**label: Any) -> ModelSpec:  # of the spec's section
    document = folder().spec.model_dump(mode="json", by_alias=True)
    document["label"] = {"column": "late", "task": "binary", **label}
    return parse_spec(json.dumps(document), "binary.yaml")


@pytest.mark.parametrize(("label", "taken"), [({}, [0, 1, 1.0]), ({"above": 15}, [0, 1, 1.0, 2, -3.5])])
def test_label_of_a_yes_or_no_is_0_or_1_unless_a_number_decides(label: dict[str, Any], taken: list[float]) -> None:
    from pydantic import TypeAdapter

    adapter: TypeAdapter[Any] = TypeAdapter(outcomes._outcome_type(binary_spec(**label)))
    told, _ = outcomes._checked([{**LABEL, "value": value} for value in (0, 1, 1.0, 2, -3.5)], adapter)
    assert [outcome.value for outcome in told] == taken
    decided = [{**LABEL, "kind": "decision", "value": value} for value in (0, 1, 2, -3.5)]
    assert [outcome.value for outcome in outcomes._checked(decided, adapter)[0]] == [0, 1], "a yes or no, however told"


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([*LABEL, "feedback_id", "more"]), value=ODD, whole=ODD, pick=st.integers(0, 3))
def test_no_outcome_whatever_is_the_services_fault(
    service: Running, name: str, value: object, whole: object, pick: int
) -> None:
    body = {"outcomes": [LABEL, {**LABEL, name: value}]} if pick else {"outcomes": whole}
    content = json.dumps(body).encode()
    answer = tell(service, None, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in (202, 400, 422)
