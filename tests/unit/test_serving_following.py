"""How the prediction service follows releases, and what it does when it cannot."""

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from trimtab.adapters.model_package import open_package
from trimtab.domain.journal import Stream
from trimtab.domain.ports import Predictor
from trimtab.serving.model_server import LONGEST_REFRESH_S, ModelServer
from unit.serving_doubles import (
    MODEL,
    Service,
    client,
    flights,
    folder,
    new_service,
    package,
    version_of,
)

PATH = f"/models/{MODEL}/predict"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return new_service(tmp_path)


async def until(service: Service, version: str | None) -> float:
    """Wait until that version is champion; the seconds that it took."""
    start = time.perf_counter()
    while service.server.state.version != version:
        assert time.perf_counter() - start < 20, service.server.state
        await asyncio.sleep(0.01)
    return time.perf_counter() - start


def test_service_is_up_before_the_first_release_and_ready_after_it(service: Service) -> None:
    async def probe() -> list[tuple[int, bool | None]]:
        seen: list[tuple[int, bool | None]] = []
        async with client(service.app()) as http:
            seen.append(((await http.get("/healthz")).status_code, None))
            before = await http.get("/readyz")
            seen.append((before.status_code, before.json()["ready"]))
            refused = await http.post(PATH, json={"rows": flights(1)})
            seen.append((refused.status_code, None))
            assert "no released version" in refused.json()["reason"]
            assert refused.headers["Retry-After"] == "1"
            service.go_live("1")
            await until(service, "1")
            after = await http.get("/readyz")
            seen.append((after.status_code, after.json()["ready"]))
            assert after.json()["models"][MODEL]["version"] == "1"
            seen.append(((await http.post(PATH, json={"rows": flights(1)})).status_code, None))
        return seen

    assert asyncio.run(probe()) == [(200, None), (503, False), (503, None), (200, True), (200, None)]


def test_release_under_load_drops_no_request_and_mixes_no_versions_in_an_answer(service: Service) -> None:
    answers: list[httpx.Response] = []

    async def load(http: httpx.AsyncClient, number: int) -> None:
        rows = flights(20, seed=number)
        while service.server.state.version != "4":
            answers.append(await http.post(PATH, json={"rows": rows}))
        answers.append(await http.post(PATH, json={"rows": rows}))

    async def releases() -> None:
        async with client(service.app()) as http:
            service.go_live("1")
            await until(service, "1")
            async with asyncio.TaskGroup() as group:
                for number in range(8):
                    group.create_task(load(http, number))
                for version in ("2", "3", "4"):
                    await asyncio.sleep(0.3)
                    service.go_live(version, previous=str(int(version) - 1))
                    await until(service, version)

    asyncio.run(releases())
    assert {answer.status_code for answer in answers} == {200}
    versions: Counter[str] = Counter()
    for answer in answers:
        rows = answer.json()["predictions"]
        stated = {row["version"] for row in rows}
        assert len(stated) == 1
        assert {version_of(row["prediction"]) for row in rows} == stated
        versions.update(stated)
    assert set(versions) == {"1", "2", "3", "4"}
    logged = sum(len(file.read_text().splitlines()) for file in service.traffic.rglob("*.jsonl"))
    assert logged == 20 * len(answers), "every prediction is in the log"


def test_release_is_followed_within_seconds_at_the_default_interval(service: Service) -> None:
    async def follow() -> float:
        async with client(service.app(refresh_s=1.0)):
            service.go_live("1")
            await until(service, "1")
            service.go_live("2", previous="1")
            return await until(service, "2")

    assert asyncio.run(follow()) < 5


def test_rollback_returns_to_the_version_before_without_loading_it_again(service: Service) -> None:
    service.go_live("1")
    service.server.refresh()
    service.go_live("2", previous="1", done=False)
    service.server.refresh()
    service.move("2", "rolled_back")
    service.registry.down = True
    assert service.server.refresh()
    assert service.server.state.version == "1"
    assert service.registry.loaded == ["1", "2"]


def test_look_at_an_unchanged_ledger_reads_no_entries_and_loads_nothing(service: Service) -> None:
    service.go_live("1")
    assert service.server.refresh()
    service.ledger.entries = None  # type: ignore[assignment,method-assign]
    assert not service.server.refresh()
    assert (service.server.problem, service.registry.loaded) == (None, ["1"])


def test_ledger_that_hangs_is_named_as_a_problem_and_answers_go_on(service: Service) -> None:
    """A database that is frozen raises nothing; without this nobody would know that no release arrives any more."""
    service.go_live("1")
    service.server.refresh()
    began, thaw, head = threading.Event(), threading.Event(), service.ledger.head
    now = [0.0]
    service.server._timer = lambda: now[0]

    def frozen_head(stream: Stream) -> int:
        began.set()
        thaw.wait()
        return head(stream)

    service.ledger.head = frozen_head  # type: ignore[method-assign]
    looking = threading.Thread(target=service.server.refresh)
    looking.start()
    began.wait()
    now[0] = LONGEST_REFRESH_S + 1
    try:
        assert service.server.problem == "ledger or registry has been silent for 31 s"
        assert not service.server.is_following
        assert service.server.state.version == "1"
    finally:
        thaw.set()
        looking.join()
    assert service.server.is_following


def test_ledger_that_does_not_answer_leaves_in_force_what_was_loaded(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def outage() -> list[int]:
        async with client(service.app()) as http:
            service.go_live("1")
            await until(service, "1")
            service.ledger.down = True
            service.go_live("2", previous="1")
            seen = []
            for _ in range(5):
                await asyncio.sleep(0.1)
                seen.append((await http.post(PATH, json={"rows": flights(1)})).status_code)
            ready = await http.get("/readyz")
            assert ready.status_code == 200
            assert "does not answer" in ready.json()["models"][MODEL]["problem"]
            metrics = (await http.get("/metrics")).text
            assert f'trimtab_following{{model_name="{MODEL}"}} 0.0' in metrics
            service.ledger.down = False
            await until(service, "2")
            problem: str | None = "not asked"
            for _ in range(50):  # the refresh that loaded version 2 may not have come to its end yet
                problem = (await http.get("/readyz")).json()["models"][MODEL]["problem"]
                if problem is None:
                    break
                await asyncio.sleep(0.1)
            assert problem is None
        return seen

    assert asyncio.run(outage()) == [200] * 5
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1, "an outage is logged once, however long it lasts"
    assert service.server.failed_refreshes > 1


def test_registry_that_does_not_answer_leaves_in_force_what_was_loaded(service: Service) -> None:
    service.go_live("1")
    service.server.refresh()
    service.registry.down = True
    service.go_live("2", previous="1")
    assert not service.server.refresh()
    assert (service.server.state.version, service.server.state.routing) == ("1", 3)
    assert service.server.problem == "RegistryUnavailableError: The registry does not answer."
    service.registry.down = False
    assert service.server.refresh()
    assert service.server.state.version == "2"


@pytest.mark.parametrize("version", ["77", "spoiled"])
def test_champion_that_cannot_be_opened_does_not_take_the_place_of_the_one_that_answers(
    service: Service, version: str
) -> None:
    def tampered() -> Predictor:
        return open_package(package(1), expected_digest="0" * 64, name="version spoiled")

    service.registry.special["spoiled"] = tampered
    service.go_live("1")
    service.server.refresh()
    service.go_live(version, previous="1")
    service.server.refresh()
    assert service.server.state.version == "1"
    assert service.server.problem is not None


def test_challenger_that_cannot_be_opened_leaves_all_rows_to_the_champion_until_it_can(service: Service) -> None:
    service.go_live("1")
    service.server.refresh()
    service.registry.down = True
    service.step("2", 1.0)
    assert service.server.refresh()
    state = service.server.state
    assert (state.version, state.challenger, state.share) == ("1", None, 0.0)
    assert state.problem == "version 2 is left out: RegistryUnavailableError: The registry does not answer."
    assert not service.server.refresh(), "another try that changes nothing is no change"
    service.registry.down = False
    assert service.server.refresh()
    assert (service.server.state.challenger, service.server.state.problem) == ("2", None)


def test_restart_serves_the_champion_even_if_the_version_before_is_gone(service: Service) -> None:
    service.go_live("88")
    service.go_live("1", previous="88", done=False)
    service.server.refresh()
    assert service.server.state.version == "1"


def test_version_that_needs_columns_which_requests_cannot_have_is_not_served(service: Service) -> None:
    spec = folder().spec
    fewer = {name: kind for name, kind in spec.rows.columns.items() if name != "seats"}
    rows = spec.rows.model_copy(update={"columns": fewer})
    server = ModelServer(
        spec.model_copy(update={"rows": rows}),
        service.ledger,
        service.registry,
        service.server._log,
        service.server.outcomes,
    )
    service.go_live("1")
    server.refresh()
    assert server.state.version is None
    assert server.problem is not None
    assert "has 'seats', which requests here cannot have" in server.problem


def test_released_versions_that_are_no_longer_routed_are_let_go(service: Service) -> None:
    for version in ("1", "2", "3"):
        service.go_live(version)
        service.server.refresh()
    snapshot = service.server.snapshot
    assert snapshot is not None
    assert set(snapshot.predictors) == {"3"}


def test_loading_a_version_does_not_hold_up_answers(service: Service) -> None:
    going_on = threading.Event()

    def slow() -> Predictor:
        assert going_on.wait(60)
        return service.registry.load(version="3")

    service.registry.special["2"] = slow

    async def ask() -> None:
        async with client(service.app()) as http:
            service.go_live("1")
            await until(service, "1")
            service.go_live("2", previous="1")
            await asyncio.sleep(0.2)
            for _ in range(20):
                assert (await http.post(PATH, json={"rows": flights(1)})).status_code == 200
            assert service.server.state.version == "1"
            going_on.set()
            await until(service, "2")

    asyncio.run(ask())


def test_service_stops_at_once_while_a_version_is_being_loaded(service: Service) -> None:
    begun, going_on = threading.Event(), threading.Event()

    def slow() -> Predictor:
        begun.set()
        going_on.wait(15)
        return service.registry.load(version="3")

    service.registry.special["2"] = slow
    service.go_live("2")

    async def start_and_stop() -> float:
        async with client(service.app()):
            assert await asyncio.to_thread(begun.wait, 15)
            start = time.perf_counter()
        return time.perf_counter() - start

    took = asyncio.run(start_and_stop())
    going_on.set()
    assert took < 5
