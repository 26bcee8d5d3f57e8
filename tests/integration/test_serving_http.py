"""The prediction service on a real port, and its client."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import uvicorn

from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.sql_ledger import open_engine
from trimtab.adapters.stores import Addresses
from trimtab.domain.columns import Columns
from trimtab.domain.metrics import FloatArray
from trimtab.errors import NotFoundError, RequestError
from trimtab.serving.client import PredictionClient
from trimtab.serving.server import build
from unit.serving_doubles import (
    BEARER,
    FOLDER,
    MODEL,
    TOKEN,
    Service,
    SpoiledPredictor,
    flights,
    new_service,
    token_file,
    version_of,
)

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


@contextmanager
def listening(service: Service) -> Iterator[tuple[str, uvicorn.Server]]:
    """The service on a port of its own: its address, and the server."""
    config = uvicorn.Config(service.app(), port=0, log_level="error", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    _until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def _until(fact: Callable[[], bool], seconds: float = 30) -> None:  # a question
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = new_service(tmp_path)
    made.go_live("1")
    made.server.refresh()
    return made


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    with listening(service) as (address, _):
        yield address


def test_client_gets_predictions_with_version_and_id(url: str) -> None:
    with PredictionClient(url, TOKEN) as client:
        answer = client.predict(MODEL, flights(3), request_id="from-the-client")
        unnamed = client.predict(MODEL, flights(1))
    assert (answer.request_id, answer.model) == ("from-the-client", MODEL)
    assert [(row.version, row.arm, version_of(row.prediction)) for row in answer.predictions] == [
        ("1", "champion", "1")
    ] * 3
    assert len(unnamed.request_id) == 36


def test_client_says_what_is_wrong_with_single_rows_and_has_the_others(url: str) -> None:
    rows = [flights(1)[0], {**flights(1)[0], "distance": "far"}]
    with PredictionClient(url, TOKEN) as client:
        answer = client.predict(MODEL, rows)
    assert [str(problem) for problem in answer.problems] == ["row 1: distance must be a number, got 'far'"]
    assert [row.prediction is None for row in answer.predictions] == [False, True]


def test_client_says_what_is_wrong_with_all_rows(url: str) -> None:
    rows = [{**flights(1)[0], "distance": "far"}]
    with PredictionClient(url, TOKEN) as client, pytest.raises(RequestError) as caught:
        client.predict(MODEL, rows, request_id="bad-one")
    assert str(caught.value) == (
        "Prediction of 'flight_air_time' was refused with status 422 (request bad-one): The row cannot be predicted. "
        "Mend and send again. row 0: distance must be a number, got 'far'."
    )


def test_client_tells_what_became_of_answers(service: Service, url: str) -> None:
    with PredictionClient(url, TOKEN) as client:
        asked = client.predict(MODEL, flights(2))
        known = {"request_id": asked.request_id, "row": 0}
        told = client.feedback(MODEL, [{**known, "kind": "label", "value": 150.0}, {**known, "kind": "odd"}])
        with pytest.raises(RequestError, match="Feedback on 'flight_air_time' was refused with status 422 .*None of"):
            client.feedback(MODEL, [{"kind": "click"}])
    assert (told.taken, [problem.row for problem in told.problems]) == (1, [1])
    assert any(asked.request_id in file.read_text() for file in service.traffic.rglob("outcomes/*"))


@pytest.mark.parametrize(
    ("token", "model", "count", "message"),
    [
        ("wrong", MODEL, 1, "status 401 .*Give a token"),
        (TOKEN, "other", 1, "There is no model 'other'. Served here: flight_air_time. Ask for a model that is served."),
        (TOKEN, MODEL, 20_000, "status 413 .*Send fewer"),
        (TOKEN, MODEL, 1001, "status 422 .*The body is not right. rows: must have at most 1000 items"),
    ],
)
def test_client_says_what_to_do(url: str, token: str, model: str, count: int, message: str) -> None:
    with PredictionClient(url, token) as client, pytest.raises(RequestError, match=message):
        client.predict(model, flights(1) * count)


def test_client_says_that_a_number_that_is_not_finite_cannot_be_sent(url: str) -> None:
    with PredictionClient(url, TOKEN) as client, pytest.raises(RequestError, match="Write a missing value as None"):
        client.predict(MODEL, [{**flights(1)[0], "seats": float("nan")}])


def test_client_says_that_nobody_answers() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with (
            PredictionClient(url, TOKEN) as client,
            pytest.raises(RequestError, match=r"does not answer .*trimtab serve"),
        ):
            client.predict(MODEL, flights(1))


class _Stranger(BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # the name that the library asks for
        self.send_response(int(self.path.split("/")[2]))
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(("status", "message"), [(200, "not as a prediction service"), (502, "status 502. Look into")])
def test_client_says_that_somebody_else_answers(status: int, message: str) -> None:
    stranger = HTTPServer(("127.0.0.1", 0), _Stranger)
    threading.Thread(target=stranger.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{stranger.server_port}"
    with PredictionClient(url, TOKEN) as client, pytest.raises(RequestError, match=message):
        client.predict(str(status), flights(1))
    stranger.server_close()


def test_release_over_the_wire_drops_no_request(service: Service, url: str) -> None:
    def load(number: int) -> list[set[str]]:
        seen = []
        with PredictionClient(url, TOKEN) as client:
            while service.server.state.version != "3":
                seen.append({row.version for row in client.predict(MODEL, flights(5, seed=number)).predictions})
        return seen

    with ThreadPoolExecutor(8) as pool:
        loads = [pool.submit(load, number) for number in range(8)]
        for version, previous in (("2", "1"), ("3", "2")):
            time.sleep(0.5)
            service.go_live(version, previous=previous)
            _until(lambda expected=version: service.server.state.version == expected)  # type: ignore[misc]
    seen = [versions for done in loads for versions in done.result()]
    assert len(seen) > 20
    assert all(len(versions) == 1 for versions in seen)
    assert {"1", "2"} <= set.union(*seen)


def test_request_under_way_is_answered_when_the_service_is_asked_to_stop(tmp_path: Path) -> None:
    entered = threading.Event()

    def slow(_rows: Columns, values: FloatArray) -> FloatArray:
        entered.set()
        time.sleep(1)
        return values

    service = new_service(tmp_path)
    service.registry.special["1"] = SpoiledPredictor(1, slow)
    service.go_live("1")
    service.server.refresh()
    with listening(service) as (url, server), PredictionClient(url, TOKEN) as client, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.predict, MODEL, flights(1))
        assert entered.wait(10)
        server.should_exit = True
        assert len(asked.result().predictions) == 1


def test_connection_is_good_for_another_request_after_a_refusal(url: str) -> None:
    with httpx.Client(base_url=url, headers=BEARER) as http:
        for body in (b"{", b" " * 5_000_000, b"{}"):
            answer = http.post(f"/models/{MODEL}/predict", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (400, 413, 422)
        assert http.post(f"/models/{MODEL}/predict", json={"rows": flights(1)}).status_code == 200


def addresses(path: Path) -> Addresses:
    return Addresses(
        models=(FOLDER.parent,),
        lake=str(path / "lake"),
        ledger=f"sqlite:///{path / 'ledger.db'}",
        registry="http://127.0.0.1:9",
        traffic=path / "traffic",
    )


def test_service_without_a_model_folder_does_not_start(tmp_path: Path) -> None:
    where = Addresses(
        models=(tmp_path,), lake="", ledger="sqlite://", registry="http://127.0.0.1:9", traffic=tmp_path / "traffic"
    )
    with pytest.raises(NotFoundError, match="There is no model folder to serve"):
        build(where, token_file(tmp_path))


PRELUDE = f"""
import sys
from pathlib import Path
from trimtab.adapters.stores import Addresses
from trimtab.serving.server import build, run
path = Path(sys.argv[1])
where = Addresses(models=(Path({str(FOLDER.parent)!r}),), lake="", ledger=f"sqlite:///{{path / 'ledger.db'}}",
                  registry="http://127.0.0.1:9", traffic=path / "traffic")
"""
START = PRELUDE + "run(where, path / 'tokens', port=int(sys.argv[2]))"
BUILD = PRELUDE + "build(where, path / 'tokens'); print(*sys.modules)"


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_nothing_heavy_is_imported_before_a_model_must_be_loaded(tmp_path: Path) -> None:
    token_file(tmp_path)
    out, err = python(BUILD, str(tmp_path)).communicate(timeout=60)
    assert "trimtab.serving.server" in out.split(), err
    heavy = {"airflow", "mlflow", "sklearn", "pandas", "great_expectations", "deltalake"}
    assert heavy & set(out.split()) == set()


def test_process_is_up_within_seconds_and_stops_when_asked(tmp_path: Path) -> None:
    token_file(tmp_path)
    migrate(open_engine(addresses(tmp_path).ledger))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    process = python(START, str(tmp_path), str(port))
    try:
        _until(lambda: _status(port, "/healthz") == 200, 60)
        assert _status(port, "/readyz") == 503
        assert _status(port, "/metrics") == 401
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert "Application shutdown complete" in err
    assert process.returncode == -signal.SIGTERM


def _status(port: int, path: str) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except httpx.TransportError:
        return 0
