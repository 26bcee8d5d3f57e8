"""Requests that arrive together: predicted together, and each with its own outcome."""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.domain.columns import Columns
from trimtab.domain.metrics import FloatArray
from trimtab.errors import OverloadedError
from trimtab.serving import desk, shadow_queue
from trimtab.serving.desk import BATCH_ROWS, IN_THE_LOOP_ROWS, Desk, RowOutcome
from trimtab.serving.rows import Value
from trimtab.serving.telemetry import Telemetry
from unit.serving_doubles import MODEL, Row, Service, SpoiledPredictor, columns_of, flights, folder, new_service

POISON = 666.0


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = new_service(tmp_path)
    made.go_live("1")
    return made


class Held:
    """A model whose first call waits until it is let go."""

    def __init__(self, service: Service, spoil: Callable[[Columns, FloatArray], FloatArray]) -> None:
        self.begun, self.let_go, self.sizes = threading.Event(), threading.Event(), list[int]()

        def call(features: Columns, predictions: FloatArray) -> FloatArray:
            self.sizes.append(len(predictions))
            if len(self.sizes) == 1:
                self.begun.set()
                assert self.let_go.wait(20)
            return spoil(features, predictions)

        service.registry.special["1"] = SpoiledPredictor(1, call)
        service.server.refresh()


def as_they_are(_features: Columns, predictions: FloatArray) -> FloatArray:
    return predictions


def poisoned(features: Columns, predictions: FloatArray) -> FloatArray:
    if np.any(np.asarray(features["distance"], dtype=np.float64) == POISON):
        raise ZeroDivisionError("planted")
    return predictions


def values(rows: Sequence[Row]) -> list[list[Value]]:
    return [[row.get(name) for name in folder().spec.rows.columns] for row in rows]


def far(distance: float, number: int = 0) -> Row:
    return {**flights(number + 1)[number], "distance": distance}


def ask_behind(service: Service, held: Held, requests: Sequence[Sequence[Row]]) -> list[Any]:
    """Outcomes, or what was raised, of requests that all arrive while a lonely one before them is predicted."""

    async def ask() -> list[Any]:
        served = Desk({MODEL: service.server}, Telemetry({MODEL: service.server}))
        first = asyncio.create_task(served.predict(service.server, values(flights(1)), "first"))
        await asyncio.to_thread(held.begun.wait, 20)
        asked = [
            asyncio.create_task(served.predict(service.server, values(rows), f"request-{number}"))
            for number, rows in enumerate(requests)
        ]
        await asyncio.sleep(0)  # until all of them wait
        held.let_go.set()
        await first
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        await served.close()
        return outcomes

    return asyncio.run(ask())


def lines(service: Service) -> list[dict[str, Any]]:
    files = sorted(service.traffic.rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_requests_that_wait_are_predicted_in_one_call_and_each_gets_its_own_rows(service: Service) -> None:
    held, rows = Held(service, as_they_are), flights(60, seed=4)
    requests = [rows[:1], rows[1:4], rows[4:5], rows[5:60]]
    outcomes = ask_behind(service, held, requests)
    assert held.sizes == [1, 60]
    batch = SpoiledPredictor(1, as_they_are).predict(columns_of(rows, folder().spec))
    assert [outcome.prediction for one in outcomes for outcome in one] == batch.tolist(), "to the last bit"
    assert [len(one) for one in outcomes] == [1, 3, 1, 55]


def test_log_names_each_row_by_its_request_and_its_place_there(service: Service) -> None:
    held = Held(service, as_they_are)
    ask_behind(service, held, [flights(3), flights(2, seed=1)])
    assert [(line["request_id"], line["row"]) for line in lines(service)] == [
        ("first", 0),
        ("request-0", 0),
        ("request-0", 1),
        ("request-0", 2),
        ("request-1", 0),
        ("request-1", 1),
    ]
    assert {line["at"] for line in lines(service)[1:]} == {lines(service)[1]["at"]}, "one write for all of them"
    assert set(lines(service)[0]["features"]) == set(folder().spec.features.names)


def test_row_that_makes_the_call_fail_takes_no_other_down(service: Service) -> None:
    held = Held(service, poisoned)
    requests = [[far(500, number)] for number in range(16)]
    requests[5] = [far(500, 5), far(POISON, 6)]
    outcomes = ask_behind(service, held, requests)
    problems = [outcome.problem for one in outcomes for outcome in one]
    bad = [position for position, problem in enumerate(problems) if problem]
    assert bad == [6]
    assert problems[6] == "version 1 has no prediction for it (it failed; the log of predictions says how)"
    assert len(held.sizes) - 2 <= 2 * 5, "a bad row costs two calls for each halving of 17"
    (failed,) = [line for line in lines(service) if line["error"]]
    assert (failed["request_id"], failed["row"], failed["served"]) == ("request-5", 1, False)


def test_row_without_a_day_is_left_out_of_model_and_log(service: Service) -> None:
    held = Held(service, as_they_are)
    (outcomes,) = ask_behind(service, held, [[far(500), {**far(500), "day": 31, "month": 2}]])
    assert outcomes[1] == RowOutcome(
        prediction=None, version=None, arm=None, problem="year, month and day must be a day of the calendar"
    )
    assert outcomes[0].version == "1"
    assert held.sizes == [1, 1]


def test_batch_has_a_bound(service: Service) -> None:
    held = Held(service, as_they_are)
    row = flights(1)
    ask_behind(service, held, [row * 600, row * 300, row * 200, row * 1000, row])
    assert held.sizes == [1, 900, 200, 1000, 1]
    assert max(held.sizes) <= BATCH_ROWS


def test_full_log_fails_all_that_wait_and_the_desk_goes_on_when_there_is_room(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(service, as_they_are)
    sync, calls = os.fdatasync, list[int]()

    def full_once(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        sync(file)

    monkeypatch.setattr(os, "fdatasync", full_once)
    outcomes = ask_behind(service, held, [flights(1), flights(2), flights(1000), flights(1)])
    assert [type(one) for one in outcomes] == [OSError, OSError, list, list]
    answered = {line["request_id"] for line in lines(service)}
    assert answered == {"first", "request-2", "request-3"}, "what was not acknowledged is not in the log"


def test_client_that_has_gone_does_not_take_the_others_along(service: Service) -> None:
    held = Held(service, as_they_are)

    async def ask() -> list[RowOutcome]:
        served = Desk({MODEL: service.server}, Telemetry({MODEL: service.server}))
        first = asyncio.create_task(served.predict(service.server, values(flights(1)), "first"))
        await asyncio.to_thread(held.begun.wait, 20)
        gone = asyncio.create_task(served.predict(service.server, values(flights(1)), "gone"))
        stays = asyncio.create_task(served.predict(service.server, values(flights(1)), "stays"))
        await asyncio.sleep(0)
        gone.cancel()
        held.let_go.set()
        await first
        outcomes = await stays
        await served.close()
        return outcomes

    assert asyncio.run(ask())[0].version == "1"
    assert {line["request_id"] for line in lines(service)} == {"first", "stays"}, (
        "nobody was told what came of the other"
    )


def test_more_than_can_be_answered_in_time_is_refused_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "ROWS_WAITING", 1500)
    held = Held(service, as_they_are)
    outcomes = ask_behind(service, held, [flights(1000), flights(500), flights(1)])
    assert [type(one) for one in outcomes] == [list, list, OverloadedError]
    assert str(outcomes[2]) == f"1500 rows are waiting to be predicted by {MODEL}. Ask more slowly."


def test_shadow_predicts_batches_that_wait_together_and_logs_the_time_of_one(service: Service) -> None:
    held = Held(service, as_they_are)
    shadow = SpoiledPredictor(2, as_they_are)
    service.registry.special["2"] = shadow
    service.step("2", 0.0)
    service.server.refresh()
    ask_behind(service, held, [flights(1000), flights(1000, 1), flights(1000, 2), flights(10)])
    shadowed = [line for line in lines(service) if line["arm"] == "shadow"]
    assert len(shadowed) == len({(line["request_id"], line["row"]) for line in shadowed}) == 3011
    assert shadow.calls < 8
    assert not any(line["served"] for line in shadowed)


def shadowed_beside_twenty_requests(service: Service) -> int:
    """Rows that the version in shadow has predicted when the last of twenty requests is answered; it then does the others."""
    service.step("2", 0.0)
    service.server.refresh()

    async def ask() -> int:
        served = Desk({MODEL: service.server}, Telemetry({MODEL: service.server}))
        for number in range(20):
            await served.predict(service.server, values(flights(1, number)), f"request-{number}")
        meanwhile = len([line for line in lines(service) if line["arm"] == "shadow"])
        await served.close()
        return meanwhile

    return asyncio.run(ask())


def test_shadow_rests_so_that_it_has_no_more_than_its_share_of_the_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_queue, "SHARE_OF_TIME", 0.01)
    assert shadowed_beside_twenty_requests(service) < 20
    assert len([line for line in lines(service) if line["arm"] == "shadow"]) == 20, "what waits is predicted at the end"


def test_shadow_rests_long_enough_for_many_batches_to_become_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_queue, "SHARE_OF_TIME", 1.0)
    monkeypatch.setattr(shadow_queue, "SHORTEST_REST_S", 600.0)
    service.registry.special["2"] = shadow = SpoiledPredictor(2, as_they_are)
    shadowed_beside_twenty_requests(service)
    assert shadow.calls <= 4, "what had come at once, and what had come in its rest: of each the first, and the others"
    assert len([line for line in lines(service) if line["arm"] == "shadow"]) == 20


def test_quick_batches_are_predicted_by_the_event_loop_and_slow_or_large_ones_by_a_thread(service: Service) -> None:
    """The clock moves only while the model predicts."""
    now, cost, by_loop = [0.0], [1.0], list[bool]()

    def call(_features: Columns, predictions: FloatArray) -> FloatArray:
        by_loop.append(threading.current_thread() is threading.main_thread())
        now[0] += cost[0]
        return predictions

    service.registry.special["1"] = SpoiledPredictor(1, call)
    service.server.refresh()

    async def ask() -> None:
        served = Desk({MODEL: service.server}, Telemetry({MODEL: service.server}), timer=lambda: now[0])

        async def predict(rows: int) -> None:
            await served.predict(service.server, values(flights(rows)), "request")

        cost[0] = 0.001
        for rows in (1, 1, IN_THE_LOOP_ROWS, IN_THE_LOOP_ROWS + 1, 1):
            await predict(rows)
        cost[0] = 0.0056
        await predict(1)
        cost[0] = 0.001
        for _ in range(3):
            await predict(1)
        await served.close()

    asyncio.run(ask())
    first, quick, large, quick_again, slow = [False], [True, True], [False], [True], [True]
    after_it = [False, False, True]  # 5.6 and 5.04 ms are expected, and then less than 5
    assert by_loop == [*first, *quick, *large, *quick_again, *slow, *after_it]


def test_requests_that_come_within_two_turns_of_the_loop_are_one_batch_also_of_an_idle_service(
    service: Service,
) -> None:
    spoiled = SpoiledPredictor(1, as_they_are)
    service.registry.special["1"] = spoiled
    service.server.refresh()

    async def ask() -> None:
        served = Desk({MODEL: service.server}, Telemetry({MODEL: service.server}))

        async def after(turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await served.predict(service.server, values(flights(1)), f"request-{turns}")

        await asyncio.gather(*(after(turns) for turns in range(3)))
        await served.close()

    asyncio.run(ask())
    assert spoiled.calls == 1


def test_other_versions_and_batches_without_a_prediction_say_nothing_about_how_quick_the_next_is(
    service: Service,
) -> None:
    by_loop = list[bool]()

    def call(_features: Columns, predictions: FloatArray) -> FloatArray:
        by_loop.append(threading.current_thread() is threading.main_thread())
        return predictions

    for version in (1, 2):
        service.registry.special[str(version)] = SpoiledPredictor(version, call)
    service.server.refresh()

    async def ask() -> None:
        served = Desk({MODEL: service.server}, Telemetry({MODEL: service.server}), timer=lambda: 0.0)

        async def predict(row: Row) -> None:
            await served.predict(service.server, values([row]), "request")

        await predict({**flights(1)[0], "day": 31, "month": 2})
        await predict(flights(1)[0])
        await predict(flights(1)[0])
        service.go_live("2")
        service.server.refresh()
        await predict(flights(1)[0])
        await predict(flights(1)[0])
        await served.close()

    asyncio.run(ask())
    assert by_loop == [False, True, False, True]
