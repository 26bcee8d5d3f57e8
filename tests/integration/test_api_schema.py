"""The published API held against itself: whatever is sent, no fault of the service, and no look inside it."""

import os
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from integration.test_serving_http import listening
from unit.serving_doubles import BEARER, MODEL, flights, new_service

pytestmark = pytest.mark.integration

CASES = int(os.environ.get("TRIMTAB_API_CASES", "600"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
LEAK = re.compile(
    r"Traceback|site-packages|\.py\b|pydantic|errors\.|0x[0-9a-f]{6}|object at |/tmp|sqlite", re.IGNORECASE
)
"""What an answer would hold that shows the inside of the service."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    service = new_service(tmp_path_factory.mktemp("service"))
    service.go_live("1")
    service.server.refresh()
    with listening(service) as (address, _):
        yield address


def operations(url: str) -> list[Any]:
    document = httpx.get(f"{url}/openapi.json", headers=BEARER).json()
    return [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]


def test_everything_is_published(url: str) -> None:
    paths = {operation.path for operation in operations(url)}
    post = {f"/models/{MODEL}/{what}" for what in ("predict", "feedback", "invocations")}
    assert paths >= post | {f"/v2/models/{MODEL}/infer", "/invocations", "/metrics", "/readyz", "/v2/models/{model}"}


def try_out(operation: Any, mode: GenerationMode, cases: int, url: str) -> int:  # an APIOperation
    """Send up to so many requests, check each answer, and return how many were sent."""
    sent = 0

    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        nonlocal sent
        sent += 1
        answer = case.call(base_url=url, headers=BEARER)
        case.validate_response(answer, checks=CHECKS)
        assert operation.path == "/metrics" or not LEAK.search(answer.text), answer.text

    send()
    return sent


@pytest.mark.timeout(3600)
def test_whatever_is_sent_is_answered_as_published(url: str) -> None:
    tried = operations(url)
    with_body = [operation for operation in tried if operation.method == "post"]
    wrong = with_body + [operation for operation in tried if operation.path_parameters]
    # Nothing can vary where there is neither a body nor a parameter.
    sent = sum(try_out(operation, GenerationMode.POSITIVE, 5, url) for operation in tried)
    each = CASES // (len(with_body) + len(wrong))
    sent += sum(try_out(operation, GenerationMode.POSITIVE, each, url) for operation in with_body)
    sent += sum(try_out(operation, GenerationMode.NEGATIVE, each, url) for operation in wrong)
    print(f"{sent} requests")  # noqa: T201  # the figure
    assert sent >= CASES


HOSTILE: dict[str, bytes] = {
    "cut": b'{"rows": [{"year": 2013, "mon',
    "nothing": b"",
    "zeros": b"\x00" * 5000,
    "random": bytes(range(256)) * 20,
    "deep list": b"[" * 400_000,
    "deep object": b'{"a":' * 150_000,
    "deep and closed": b'{"rows": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "as deep as can be": b'{"rows": [' + b"[" * 190 + b"]" * 190 + b"]}",
    "many rows": b'{"rows": [' + b"{}," * 300_000 + b"{}]}",
    "many keys": b'{"rows": [{' + b",".join(b'"k%d": 1' % number for number in range(50_000)) + b"}]}",
    "the same key": b'{"rows": [{' + b",".join([b'"year": 2013'] * 50_000) + b"}]}",
    "long key": b'{"' + b"k" * 900_000 + b'": 1}',
    "long column": b'{"rows": [{"' + b"k" * 900_000 + b'": 1}]}',
    "long text": b'{"rows": [{"carrier": "' + b"x" * 900_000 + b'"}]}',
    "long number": b'{"rows": [{"distance": ' + b"9" * 4000 + b"}]}",
    "longer number": b'{"rows": [{"distance": ' + b"9" * 900_000 + b"}]}",
    "large exponent": b'{"rows": [{"distance": 1e999999999}]}',
    "nan": b'{"rows": [{"distance": NaN, "seats": -Infinity}]}',
    "surrogate": b'{"rows": [{"carrier": "\\ud800"}]}',
    "latin-1": '{"rows": [{"carrier": "ä"}]}'.encode("latin-1"),
    "utf-16": '{"rows": []}'.encode("utf-16"),
    "utf-32": '{"rows": []}'.encode("utf-32"),
    "overlong": b'{"rows": [{"carrier": "\xc0\xaf"}]}',
    "byte order mark": b'\xef\xbb\xbf{"rows": []}',
    "two documents": b'{"rows": []}{"rows": []}',
    "comments": b'{"rows": [] /* no */}',
    "yaml": b"rows:\n- year: 2013\n",
    "xml": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "pickle": b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "prototype": b'{"__class__": {"__init__": 1}, "rows": [{"__dict__": 1, "model_config": 2, "column_0": 3}]}',
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\x56\x2a\xca\x2f\x2f\x56\xb2\x8a\xae\x8d\xad\x05\x00",
    "large": b'{"rows": "' + b"x" * 3_000_000 + b'"}',
    "csv with open quotes": b'a,b\n"' + b"x" * 500_000,
    "csv of nothing but commas": b"," * 500_000,
}
PATHS = [f"/models/{MODEL}/{what}" for what in ("predict", "feedback", "invocations")] + [
    "/invocations",
    f"/v2/models/{MODEL}/infer",
    f"/v2/models/{MODEL}/versions/1/infer",
]
KINDS = ["application/json", "text/csv", "application/xml", "", "application/json; charset=utf-16", "a" * 5000]


@pytest.mark.parametrize("body", HOSTILE)
def test_hostile_body_is_refused_everywhere_in_time_and_without_a_look_inside(url: str, body: str) -> None:
    with httpx.Client(base_url=url, headers=BEARER, timeout=10) as http:
        for path in PATHS:
            for kind in KINDS:
                answer = http.post(path, content=HOSTILE[body], headers={"Content-Type": kind})
                assert 400 <= answer.status_code < 500, (path, kind, answer.text)
                assert not LEAK.search(answer.text), (path, kind, answer.text)
                assert len(answer.content) < 1_000_000
                assert set(answer.json()) in ({"request_id", "reason", "rows"}, {"error"}, {"error_code", "message"})
        assert http.post(PATHS[0], json={"rows": flights(1)}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Transfer-Encoding": "chunked", "Content-Length": "5"},
        {"Content-Encoding": "gzip"},
        {"X-Request-Id": "a\tb" * 50},
        {"Authorization": "Bearer " + "x" * 10_000},
        {"Authorization": "Basic " + "=" * 1000},
        {"Accept": "application/xml"},
        {"Expect": "a miracle"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_odd_headers_are_no_fault_of_the_service(url: str, headers: dict[str, str]) -> None:
    with httpx.Client(base_url=url, timeout=10) as http:
        answer = http.post(PATHS[0], json={"rows": flights(1)}, headers={**BEARER, **headers})
        assert answer.status_code < 500
        assert not LEAK.search(answer.text)
