"""Several workers of `trimtab serve`, under load: releases, kills, and the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from trimtab.adapters.model_package import digest
from trimtab.adapters.package_copies import store_copy
from trimtab.domain.release import routing
from trimtab.errors import StartupError
from trimtab.serving.cutover import PATIENCE_S
from trimtab.serving.workers import Workers as Supervisor
from trimtab.serving.workers import reserve
from unit.serving_doubles import BEARER, FOLDER, MODEL, TOKEN, Service, flights, new_service, package

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
BODIES = "bodies.jsonl"
READY_S = 120


class Workers:
    """`trimtab serve --workers 2` on a ledger of its own, without a registry: packages are known by their digests."""

    def __init__(self, path: Path, service: Service) -> None:
        self.path, self.service = path, service
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> None:
        variables = {
            "TRIMTAB_MODELS": str(FOLDER.parent),
            "TRIMTAB_LEDGER": f"sqlite:///{self.path / 'ledger.db'}",
            "TRIMTAB_LAKE": str(self.path / "lake"),
            "TRIMTAB_TRAFFIC": str(self.service.traffic),
            "TRIMTAB_REGISTRY": "http://127.0.0.1:9",
            "PYTHONPATH": str(ROOT / "plugins"),
        }
        command = [str(Path(sys.executable).with_name("trimtab")), "serve", "--workers", "2", "--port", str(self.port)]
        command += ["--tokens", str(self.path / "tokens")]
        with (self.path / "serve.log").open("wb") as log:
            self.process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log)
        self.until_ready()

    def until_ready(self, version: int = 1) -> None:
        """Until two workers have loaded what is released."""
        end = time.monotonic() + READY_S
        loaded = f'trimtab_model_loaded{{model_name="{MODEL}",model_version="{version}",role="champion"}} 2.0'
        while loaded not in (text := self.metrics()):
            assert self.process.poll() is None, (self.path / "serve.log").read_text()
            assert time.monotonic() < end, text
            time.sleep(0.1)

    def metrics(self) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/metrics", headers=BEARER, timeout=5).text
        except httpx.TransportError:
            return ""

    def prepared(self, version: str) -> float:
        """Clock time at which the first worker said that it has the version."""
        lines = (self.path / "serve.log").read_text().splitlines()
        line = next(line for line in lines if line.endswith(f"champion {version}"))
        return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()

    def until_problem(self) -> str:
        """What `/readyz` says of a worker that is behind; such a one may not answer itself."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            with suppress(httpx.TransportError):
                state = httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=0.5).json()
                problem: str | None = state["models"][MODEL]["problem"]
                if problem:
                    return problem
            time.sleep(0.1)
        raise AssertionError("no problem")

    def load(self, seconds: float, connections: int = 8) -> subprocess.Popen[str]:
        """The load generator of the benchmarks at work."""
        command = [sys.executable, str(ROOT / "benchmarks" / "load_generator.py"), str(self.port)]
        command += [f"/models/{MODEL}/predict", str(self.path / BODIES), "--token", TOKEN, "--rate", "200"]
        command += ["--connections", str(connections), "--seconds", str(seconds)]
        command += ["--acknowledged", str(self.path / "acknowledged"), "--answers", str(self.path / "answers")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def pids(self) -> list[int]:
        """The workers, without the helper that multiprocessing starts."""
        children = Path("/proc", str(self.process.pid), "task", str(self.process.pid), "children").read_text().split()
        return [int(pid) for pid in children if b"spawn_main" in Path("/proc", pid, "cmdline").read_bytes()]

    def release(self, version: int) -> datetime:
        """Make a version champion, and say when."""
        self.service.move(str(version), "requested", digest=digest(package(version)))
        for kind in ("approved", "live", "done"):
            self.service.move(str(version), kind)
        return datetime.now(UTC)

    @property
    def acknowledged(self) -> list[str]:
        return (self.path / "acknowledged").read_text().split()

    @property
    def answers(self) -> list[dict[str, Any]]:
        """When each request was sent and answered, and its answer."""
        return [json.loads(line) for line in (self.path / "answers").read_text().splitlines()]

    @property
    def lines(self) -> list[dict[str, Any]]:
        files = sorted(self.service.traffic.glob(f"{MODEL}/*.jsonl"))
        whole = [line for file in files for line in file.read_bytes().split(b"\n")[:-1]]
        return [json.loads(line) for line in whole]


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for version in (1, 2):
        store_copy(digest(package(version)), package(version))
    (tmp_path / BODIES).write_text("\n".join(json.dumps({"rows": [row]}) for row in flights(500)))
    made = Workers(tmp_path, new_service(tmp_path))
    made.release(1)
    made.start()
    yield made
    made.process.kill()
    made.process.wait()


def outcome(load: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = load.communicate(timeout=120)
    report: dict[str, Any] = json.loads(out)
    return report


def test_release_and_rollback_under_load_fail_no_request_and_all_workers_follow(workers: Workers) -> None:
    with workers.load(8) as load:
        time.sleep(2.5)
        before = routing(workers.service.ledger.entries("release")).sequence
        released = workers.release(2)
        time.sleep(3)
        during = routing(workers.service.ledger.entries("release")).sequence
        workers.service.move("2", "rolled_back")
        back = datetime.now(UTC)
        report = outcome(load)
    assert set(report["statuses"]) == {"200"}
    assert report["sent"] == len(workers.acknowledged) > 1000
    lines = workers.lines
    counted = [line for line in workers.metrics().splitlines() if line.startswith("trimtab_predictions_total{")]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in counted) == len(lines), "of all workers together"
    versions = {before: "1", during: "2", routing(workers.service.ledger.entries("release")).sequence: "1"}
    assert [line for line in lines if line["version"] != versions[line["route"]]] == []
    assert Counter(line["request_id"] for line in lines) == Counter(workers.acknowledged)
    for since, old in ((released, before), (back, during)):
        late = [(datetime.fromisoformat(line["at"]) - since).total_seconds() for line in lines if line["route"] == old]
        assert max(late) < 2, "a worker follows within a second, or two where the machine is busy"


def by_a_routing_that_was_left(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Answers to requests that were sent after somebody had an answer by a later routing."""
    events = [(one["sent"], 1, one) for one in answers] + [(one["received"], 0, one) for one in answers]
    newest, found = 0, []
    for _, is_sent, one in sorted(events, key=lambda event: event[:2]):
        if is_sent:
            found += [one] if one["body"]["routing"] < newest else []
        else:
            newest = max(newest, one["body"]["routing"])
    return found


def test_all_workers_switch_in_the_same_moment_even_if_one_is_killed(workers: Workers) -> None:
    with workers.load(14, connections=32) as load:
        time.sleep(2.5)
        workers.service.move("2", "requested", previous="1", digest=digest(package(2)))
        workers.service.move("2", "approved")
        for number in range(8):
            workers.service.step("2", 0.1 + number / 10, request=False)
            if number == 3:
                os.kill(workers.pids()[0], signal.SIGKILL)
            time.sleep(1.2)
        report = outcome(load)
    assert set(report["statuses"]) <= {"200", "lost"}
    answers = workers.answers
    assert len({one["body"]["routing"] for one in answers}) == 9
    assert by_a_routing_that_was_left(answers) == []


def test_worker_that_hangs_holds_the_others_for_seconds_only_and_answers_nothing_before_it_has_caught_up(
    workers: Workers,
) -> None:
    hung = workers.pids()[0]
    with workers.load(12, connections=32) as load:
        time.sleep(2)
        os.kill(hung, signal.SIGSTOP)
        begun = time.time()
        workers.release(2)
        problem = workers.until_problem()
        os.kill(hung, signal.SIGCONT)
        report = outcome(load)
    assert f"not prepared in process {hung}" in problem
    assert set(report["statuses"]) <= {"200", "503"}
    answers = workers.answers
    by_new = [one["received"] for one in answers if one["body"]["predictions"][0]["version"] == "2"]
    prepared = workers.prepared("2")
    assert min(by_new) - prepared < PATIENCE_S + (prepared - begun) + 1
    assert by_a_routing_that_was_left(answers) == []
    workers.until_ready(version=2)
    assert hung in workers.pids()


def sleep_through_everything(_number: int) -> None:
    """A worker that cannot be asked to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


def test_worker_that_does_not_get_on_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.serving.workers.STUCK_S", 0.5)
    monkeypatch.setattr("trimtab.serving.workers.END_S", 0.5)
    seen: list[int] = []

    def stuck() -> set[int]:
        alive = [worker.process.pid for worker in service._started if worker.process.pid is not None]
        seen.extend(pid for pid in alive if pid not in seen)
        if len(seen) > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return set(seen[:1])

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    service = Supervisor(sleep_through_everything, 1, stuck)
    service.run()
    for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
        signal.signal(number, handler)
    assert len(seen) == 2


def test_no_acknowledged_prediction_is_missing_or_doubled_when_workers_are_killed(workers: Workers) -> None:
    with workers.load(10) as load:
        time.sleep(2)
        for number in range(3):
            alive = workers.pids()
            os.kill(alive[number % len(alive)], signal.SIGKILL)
            time.sleep(2)
        report = outcome(load)
    assert set(report["statuses"]) <= {"200", "lost"}, "a new worker answers nothing before it has loaded its models"
    counts = Counter(line["request_id"] for line in workers.lines if line["served"])
    assert len(workers.acknowledged) > 500
    assert [one for one in workers.acknowledged if counts[one] != 1] == []
    workers.until_ready()
    assert len(workers.pids()) == 2


def test_requests_under_way_are_answered_when_all_workers_are_asked_to_end(workers: Workers) -> None:
    with workers.load(3) as load:
        time.sleep(2)
        workers.process.send_signal(signal.SIGTERM)
        assert workers.process.wait(60) == 0
        report = outcome(load)
    assert set(report["statuses"]) == {"200"}, "and none was lost"
    assert Counter(line["request_id"] for line in workers.lines) == Counter(workers.acknowledged)


def test_workers_end_when_their_parent_is_killed(workers: Workers) -> None:
    pids = workers.pids()
    workers.process.kill()
    end = time.monotonic() + 60
    while any(Path("/proc", str(pid)).exists() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.1)
    with reserve("127.0.0.1", workers.port):
        pass


def test_port_that_somebody_has_is_not_shared(workers: Workers) -> None:
    with pytest.raises(StartupError, match="End what listens there, or choose another port"):
        reserve("127.0.0.1", workers.port)
