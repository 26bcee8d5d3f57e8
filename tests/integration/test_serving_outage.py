"""The registry and the ledger's database go away under load: the service goes on, and catches up when they return."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest

from doubles import tiny_training
from mlflow_servers import PASSWORD, USER, MlflowServer, free_port
from postgres_servers import PostgresServer, postgres_programs
from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.domain.journal import Draft
from unit.serving_doubles import BEARER, FOLDER, MODEL, flights, token_file

pytestmark = [
    pytest.mark.integration,
    # About MLflow's own code; the adapter silences it for users, and pytest brings it back.
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

ROOT = Path(__file__).parents[2]
OUTAGE_S = float(os.environ.get("TRIMTAB_TEST_OUTAGE_SECONDS", "8"))
READY_S = 60
NOTICED_WITHIN_S = 15
"""Two looks at the ledger 5 s apart, and 5 s for a connection."""
CAUGHT_UP_WITHIN_S = 15
"""The longest wait between two looks is 5 s, and a look that has begun gives the registry up after some more."""
PAUSE_S = 0.1


@dataclass(slots=True)
class Load:
    """A client that asks ten times a second, and a probe that does as often."""

    url: str
    statuses: list[int] = field(default_factory=list)
    readiness: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield
        finally:
            self.is_over.set()
            thread.join()

    def _ask(self) -> None:
        with httpx.Client(base_url=self.url, headers=BEARER, timeout=30) as http:
            while not self.is_over.wait(PAUSE_S):
                name = f"request-{len(self.statuses)}"
                start = time.monotonic()
                answer = http.post(f"/models/{MODEL}/predict", json={"rows": flights(1), "request_id": name})
                self.seconds.append(time.monotonic() - start)
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    self.acknowledged.append(name)
                    self.versions.append(answer.json()["predictions"][0]["version"])
                outcome = {"request_id": name, "row": 0, "kind": "label", "value": 200.0}
                told = http.post(f"/models/{MODEL}/feedback", json={"outcomes": [outcome]})
                self.statuses.append(told.status_code)
                self.readiness.append(http.get("/readyz").status_code)


def until(fact: Callable[[], bool], seconds: float) -> float:
    """Seconds until the fact was so."""
    start = time.monotonic()
    while not fact():
        assert time.monotonic() < start + seconds
        time.sleep(0.05)
    return time.monotonic() - start


def state(url: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = httpx.get(f"{url}/readyz", timeout=5).json()["models"][MODEL]
    except httpx.TransportError:
        return {"version": None, "problem": None}
    return found


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed. Run `apt-get install postgresql`.")
    folder = Path(tempfile.mkdtemp(prefix="trimtab-postgres-"))
    server = PostgresServer(programs, folder)
    server.create(["trimtab"])
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[MlflowServer]:
    """A server that has two versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns about type hints of its own when it is imported
        from trimtab.adapters.mlflow_connection import MlflowConnection
        from trimtab.adapters.mlflow_registry import MlflowRegistry

    server = MlflowServer(tmp_path)
    server.start()
    registry = MlflowRegistry(lambda: MlflowConnection(server.uri, USER, PASSWORD), MODEL)
    for seed in (1, 2):
        assert registry.register(registry.log_training(tiny_training(seed)).run_id, {}) == str(seed)
    yield server
    server.stop()


def release(ledger: SqlLedger, version: str, previous: str | None) -> None:
    for kind in ("requested", "approved", "live", "done"):
        payload = {"previous": previous} if kind == "requested" else {}
        draft = Draft(stream="release", subject=version, kind=kind, as_of=date(2013, 3, 1), payload=payload)
        ledger.append(draft, after=ledger.head("release"))


@contextmanager
def serving(path: Path, database: PostgresServer, registry: MlflowServer) -> Iterator[str]:
    """`trimtab serve`; without a copy of any package on the disk."""
    port = free_port()
    variables = {
        "TRIMTAB_MODELS": str(FOLDER.parent),
        "TRIMTAB_LEDGER": f"{database.url}/trimtab",
        "TRIMTAB_LAKE": str(path / "lake"),
        "TRIMTAB_TRAFFIC": str(path / "traffic"),
        "TRIMTAB_REGISTRY": registry.uri,
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "XDG_CACHE_HOME": str(path / "cache"),
        "PYTHONPATH": str(ROOT / "plugins"),
    }
    command = [str(Path(sys.executable).with_name("trimtab")), "serve", "--port", str(port)]
    command += ["--tokens", str(token_file(path))]
    with (path / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def logged(folder: Path) -> list[str]:
    """Ids of the requests in the segments of a log."""
    return [
        json.loads(line)["request_id"]
        for segment in sorted(folder.rglob("*.jsonl"))
        for line in segment.read_bytes().splitlines()
    ]


def test_service_outlives_registry_and_ledger_and_catches_up(
    tmp_path: Path, database: PostgresServer, registry: MlflowServer
) -> None:
    engine = open_engine(f"{database.url}/trimtab")
    migrate(engine)
    ledger = SqlLedger(engine, MODEL)
    release(ledger, "1", None)
    with serving(tmp_path, database, registry) as url:
        until(lambda: state(url)["version"] == "1", READY_S)
        load = Load(url)
        with load.running():
            registry.stop()
            database.stop()
            down = time.monotonic()
            until(lambda: "Ledger" in (state(url)["problem"] or ""), NOTICED_WITHIN_S)
            time.sleep(max(down + OUTAGE_S - time.monotonic(), 0))
            assert state(url)["problem"].startswith("LedgerUnavailableError")

            database.start()
            release(ledger, "2", "1")
            until(lambda: "MLflow" in (state(url)["problem"] or ""), CAUGHT_UP_WITHIN_S)
            assert state(url)["version"] == "1"

            registry.start()
            caught_up_s = until(lambda: state(url)["version"] == "2", CAUGHT_UP_WITHIN_S)
            assert state(url)["problem"] is None
            until(lambda: load.versions[-1] == "2", 5)
    slowest_s = max(load.seconds)
    print(f"{len(load.acknowledged)} predictions, slowest {slowest_s:.3f} s, caught up in {caught_up_s:.1f} s")  # noqa: T201
    assert set(load.statuses) == {200, 202}
    assert set(load.readiness) == {200}
    assert load.versions == sorted(load.versions)
    assert len(load.acknowledged) > OUTAGE_S / PAUSE_S / 10
    assert sorted(logged(tmp_path / "traffic" / MODEL)) == sorted(load.acknowledged * 2)
