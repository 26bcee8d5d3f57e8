"""A level of automation from the ledger to the answer, to the queue, and back by an alarm, with the real service."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from doubles import tiny_package
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.model_package import digest, open_package
from trimtab.adapters.outcome_log import FileOutcomeLog, OutcomeWriter
from trimtab.adapters.traffic_log import FileTrafficLog, TrafficWriter
from trimtab.domain.automation import sureness
from trimtab.domain.columns import Columns
from trimtab.domain.journal import Draft
from trimtab.domain.ports import Predictor
from trimtab.serving.client import PredictionClient
from trimtab.serving.messages import RowAnswer
from trimtab.serving.model_server import ModelServer
from trimtab.stages.automation import demote_on_alarm, set_level
from trimtab.stages.collect import collect
from trimtab.stages.review import Case, agreements, referred, waiting
from unit.serving_doubles import MODEL, TOKEN, Row, Service, flights, new_service

pytestmark = pytest.mark.integration

DAY = date(2013, 12, 31)
REFRESH_S = 0.05


def no_feature(_: Columns) -> Columns:
    raise AssertionError("no slice is one of a feature")


@dataclass
class Office:
    """The service of a binary model, and the stores behind it."""

    service: Service
    model: Predictor
    lake: DeltaLake

    @property
    def logs(self) -> tuple[FileTrafficLog, FileOutcomeLog]:
        return FileTrafficLog(self.service.traffic, MODEL), FileOutcomeLog(self.service.traffic, MODEL)

    @property
    def queue(self) -> list[Case]:
        return waiting(lake=self.lake, logs=self.logs, part="online")

    def set(self, level: str, capacity: float | None = None, of: str = "all") -> None:
        spec = self.model.spec
        set_level(
            level, actor="ann", reason="a test", as_of=DAY, ledger=self.service.ledger, lake=self.lake,
            label=spec.label, rows=spec.rows, slices=spec.slices, features=no_feature, part="online", of=of,
            capacity=capacity,
        )  # fmt: skip

    def collect(self) -> None:
        """Until nothing is left in the logs: a segment ends by its age."""

        def moved() -> bool:
            collect(logs=self.logs, lake=self.lake)
            return not any(self.service.traffic.rglob("*.jsonl"))

        _until(moved)


def _until(fact: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    service = new_service(tmp_path)
    files = tiny_package(task="binary")
    model = open_package(files, expected_digest=digest(files), name="a binary model")
    service.registry.special["1"] = model
    clock = lambda: datetime.now(UTC)  # noqa: E731
    log = TrafficWriter(service.traffic, MODEL, "w", clock, segment_s=0.2)
    outcomes = OutcomeWriter(service.traffic, MODEL, "w", clock, segment_s=0.2)
    service.server = ModelServer(model.spec, service.ledger, service.registry, log, outcomes)
    service.go_live("1")
    service.server.refresh()
    yield Office(service, model, DeltaLake(str(tmp_path / "lake"), MODEL))
    service.server.close()


@contextmanager
def listening(service: Service) -> Iterator[PredictionClient]:
    config = uvicorn.Config(service.app(refresh_s=REFRESH_S), port=0, log_level="error", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    _until(lambda: server.started)
    with PredictionClient(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", TOKEN) as client:
        yield client
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def asked(client: PredictionClient, rows: list[Row], request_id: str) -> list[RowAnswer]:
    answer = client.predict(MODEL, rows, request_id=request_id)
    assert answer.problems == []
    return answer.predictions


def test_level_is_obeyed_until_an_alarm_lowers_it(office: Office) -> None:
    rows = [{**row, "month": DAY.month, "day": DAY.day} for row in flights(400, seed=5)]
    with listening(office.service) as client:
        before = asked(client, rows, "before")
        assert {(row.decided_by, row.level) for row in before} == {("model", "full")}
        office.collect()

        office.set("partial", capacity=100)
        _until(lambda: asked(client, rows[:1], "probe")[0].level == "partial")
        found = asked(client, rows, "partial")
        left = [place for place, row in enumerate(found) if row.decided_by == "person"]
        sure = sureness(np.array([row.prediction for row in before], dtype=np.float64), 0.5)
        assert 0 < len(left) <= 100, "ties at the threshold are decided by the model"
        assert max(sure[left]) < min(np.delete(sure, left))
        assert all((row.prediction is not None) and row.effects for row in found if row.waits)
        assert not any(row.effects for row in found if not row.waits)

        queue = [case for case in office.queue if case.request_id == "partial"]
        assert [case.row for case in queue] == left
        assert [case.proposal for case in queue] == [found[place].prediction for place in left]
        assert queue[0].values["distance"] == rows[left[0]]["distance"]
        said = [{"request_id": "partial", "row": place, "kind": "decision", "value": 1.0} for place in left[1:]]
        client.feedback(MODEL, said)
        assert [case.row for case in office.queue if case.request_id == "partial"] == left[:1]
        office.collect()
        assert [case.row for case in office.queue if case.request_id == "partial"] == left[:1]
        (agreed,) = agreements(referred(lake=office.lake, logs=office.logs, part="online"), office.model.spec.label)
        yes = np.mean([found[place].prediction >= 0.5 for place in left[1:]])
        assert (agreed.level, agreed.decided, agreed.share) == ("partial", len(left) - 1, pytest.approx(yes))

        decay = Draft(stream="verdict", subject=str(DAY), kind="decay", as_of=DAY, payload={"summary": "errors grew"})
        office.service.ledger.append(decay, after=0)
        start = time.monotonic()
        assert demote_on_alarm(DAY, ledger=office.service.ledger) == ["all"]
        _until(lambda: asked(client, rows[:1], "probe")[0].level == "assist")
        assert time.monotonic() - start < REFRESH_S + 2
        lowered = asked(client, rows, "lowered")
        assert {(row.decided_by, row.level) for row in lowered} == {("person", "assist")}
        assert [row.prediction for row in lowered] == [row.prediction for row in before]

        office.set("human", of="carrier=UA")
        united = [row for row in rows if row["carrier"] == "UA"]
        _until(lambda: asked(client, united[:1], "probe")[0].level == "human")
        assert {row.prediction for row in asked(client, united, "united")} == {None}
