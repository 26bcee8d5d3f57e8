"""Which version answers which row, and what becomes of a version that fails."""

import asyncio
import json
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from trimtab.domain.columns import Columns
from trimtab.domain.metrics import FloatArray
from trimtab.domain.release import Routing, routing
from trimtab.serving import shadow_queue
from unit.serving_doubles import (
    MODEL,
    TOKEN,
    Row,
    Service,
    SpoiledPredictor,
    client,
    flights,
    new_service,
    raising,
    version_of,
)

PATH = f"/models/{MODEL}/predict"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = new_service(tmp_path)
    made.go_live("1")
    return made


def ask(service: Service, *bodies: list[Row]) -> list[httpx.Response]:
    """Answers to requests sent one after the other; the routing is the newest one."""
    service.server.refresh()

    async def post() -> list[httpx.Response]:
        async with client(service.app()) as http:
            return [await http.post(PATH, json={"rows": rows}) for rows in bodies]

    return asyncio.run(post())


def metrics(service: Service, rows: list[Row]) -> str:
    service.server.refresh()

    async def scrape() -> str:
        async with client(service.app()) as http:
            await http.post(PATH, json={"rows": rows})
            return (await http.get("/metrics")).text

    return asyncio.run(scrape())


def arms_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    rows = answer.json()["predictions"]
    assert all(version_of(row["prediction"]) == row["version"] for row in rows), "a prediction comes from its version"
    return [row["arm"] for row in rows]


def logged(service: Service) -> list[dict[str, Any]]:
    files = sorted(service.traffic.rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def in_force(service: Service) -> Routing:
    return routing(service.ledger.entries("release"))


def spoil(service: Service, version: int, how: Any = raising) -> SpoiledPredictor:  # a spoiling
    predictor = SpoiledPredictor(version, how)
    service.registry.special[str(version)] = predictor
    return predictor


def far_ones_nan(rows: Columns, values: FloatArray) -> FloatArray:
    return np.where(np.asarray(rows["distance"], dtype=np.float64) > 1000, np.nan, values)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_challenger_answers_its_share_of_the_keys(service: Service, share: float) -> None:
    service.step("2", share)
    answers = ask(service, *(flights(1000, seed) for seed in range(3)))
    found = np.mean([arm == "challenger" for answer in answers for arm in arms_of(answer)])
    keys = len({line["key"] for line in logged(service)})
    assert keys > 2900
    assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / keys), "four standard errors of a share"


def test_same_key_has_the_same_arm_however_often_and_in_whatever_company_it_comes(service: Service) -> None:
    service.step("2", 0.5)
    rows = flights(40)
    together, backwards, *alone = ask(service, rows, rows[::-1], *([row] for row in rows))
    arms = arms_of(together)
    assert set(arms) == {"champion", "challenger"}
    assert arms_of(backwards)[::-1] == arms
    assert [arm for answer in alone for arm in arms_of(answer)] == arms


def test_rising_share_only_adds_keys_to_the_challenger(service: Service) -> None:
    rows = flights(300)
    service.step("2", 0.2)
    (few,) = ask(service, rows)
    service.step("2", 0.6, request=False)
    (more,) = ask(service, rows)
    grown = list(zip(arms_of(few), arms_of(more), strict=True))
    assert ("challenger", "champion") not in grown
    assert ("champion", "challenger") in grown


def test_log_has_each_row_once_with_its_version_and_routing(service: Service) -> None:
    service.step("2", 0.5)
    rows = flights(60)
    (answer,) = ask(service, rows)
    lines = {line["key"]: line for line in logged(service)}
    assert len(lines) == len(logged(service)) == 60
    for row, given in zip(rows, answer.json()["predictions"], strict=True):
        line = lines["|".join(str(row[name]) for name in ("carrier", "flight", "origin", "sched_dep_time"))]
        assert {name: line[name] for name in given} == given
        assert line["day"] == f"2013-{row['month']:02d}-{row['day']:02d}"
        assert (line["request_id"], line["served"]) == (answer.json()["request_id"], True)
        assert line["route"] == in_force(service).sequence


def test_guards_of_a_release_see_the_traffic_of_both_versions(service: Service) -> None:
    service.step("2", 0.5)
    (answer,) = ask(service, flights(60))
    arms = service.log.arms(in_force(service))
    assert arms["2"].requests == arms_of(answer).count("challenger")
    assert arms["1"].requests + arms["2"].requests == 60
    assert arms["1"].latency_ms_p50 > 0


def test_failing_challenger_is_answered_for_by_the_champion_and_its_failure_is_logged(service: Service) -> None:
    spoil(service, 2)
    service.step("2", 0.5)
    (answer,) = ask(service, flights(60))
    assert arms_of(answer) == ["champion"] * 60
    answered = [line for line in logged(service) if line["version"] == "1"]
    assert [line["error"] for line in answered] == [None] * 60
    arms = service.log.arms(in_force(service))
    assert 0 < arms["2"].requests == arms["2"].failures < 60
    failed = [line for line in logged(service) if line["version"] == "2"]
    assert {(line["error"], line["served"], line["arm"]) for line in failed} == {
        ("ZeroDivisionError: planted", False, "challenger")
    }


def test_rows_that_the_challenger_makes_no_number_of_are_answered_by_the_champion(service: Service) -> None:
    spoil(service, 2, far_ones_nan)
    service.step("2", 1.0)
    rows = flights(60)
    (answer,) = ask(service, rows)
    assert arms_of(answer) == ["champion" if row["distance"] > 1000 else "challenger" for row in rows]
    far = sum(row["distance"] > 1000 for row in rows)
    arms = service.log.arms(in_force(service))
    assert (arms["2"].requests, arms["2"].failures) == (60, far)
    assert [line["served"] for line in logged(service) if line["version"] == "1"] == [True] * far


@pytest.mark.parametrize("wrong", [lambda _r, v: v[:-1], lambda _r, v: v.reshape(-1, 1)[:, :0], lambda _r, _v: None])
def test_challenger_that_returns_something_else_than_a_number_a_row_has_failed(service: Service, wrong: Any) -> None:
    spoil(service, 2, wrong)
    service.step("2", 1.0)
    (answer,) = ask(service, flights(3))
    assert arms_of(answer) == ["champion"] * 3


def test_shadow_predicts_every_row_and_is_never_shown(service: Service) -> None:
    service.step("2", 0.0)
    (answer,) = ask(service, flights(30))
    assert arms_of(answer) == ["champion"] * 30
    shadows = [line for line in logged(service) if line["arm"] == "shadow"]
    assert len(shadows) == 30
    assert {(line["version"], line["served"]) for line in shadows} == {("2", False)}
    assert {version_of(line["prediction"]) for line in shadows} == {"2"}
    assert service.log.count(in_force(service)) == 30


def test_failing_shadow_is_logged_and_never_seen(service: Service) -> None:
    spoil(service, 2)
    (before,) = ask(service, flights(30))
    service.step("2", 0.0)
    (answer,) = ask(service, flights(30))
    assert answer.json()["predictions"] == before.json()["predictions"]
    arms = service.log.arms(in_force(service))
    assert (arms["2"].failures, arms["1"].failures) == (30, 0)


def test_answers_do_not_wait_for_a_slow_shadow(service: Service) -> None:
    going_on = threading.Event()

    def slow(_rows: Columns, values: FloatArray) -> FloatArray:
        assert going_on.wait(60)
        return values

    spoil(service, 2, slow)
    service.step("2", 0.0)
    service.server.refresh()
    scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b""}
    headers = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {TOKEN}".encode())]
    body = {"type": "http.request", "body": json.dumps({"rows": flights(1)}).encode(), "more_body": False}

    async def ask_many() -> int:
        answered = asyncio.Semaphore(0)

        async def receive() -> dict[str, object]:
            return body

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body":
                answered.release()

        app = service.app()
        async with client(app), asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(app({**scope, "headers": headers}, receive, send))
                await asyncio.wait_for(answered.acquire(), 20)
            shown = len(logged(service))
            going_on.set()
        return shown

    assert asyncio.run(ask_many()) == 4, "all are answered before the shadow has predicted"
    assert service.log.count(in_force(service)) == 4


def test_shadow_that_cannot_keep_up_is_left_out_and_counted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow_queue, "ROWS_WAITING", 2)
    service.step("2", 0.0)
    text = metrics(service, flights(3))
    assert f'trimtab_shadow_skipped_total{{model_name="{MODEL}"}} 3.0' in text
    assert {line["arm"] for line in logged(service)} == {"champion"}


def test_only_the_champion_answers_while_it_bakes(service: Service) -> None:
    service.go_live("2", previous="1", done=False)
    service.step("3", 1.0)
    (answer,) = ask(service, flights(20))
    assert {row["version"] for row in answer.json()["predictions"]} == {"2"}
    assert {line["arm"] for line in logged(service)} == {"champion"}
    snapshot = service.server.snapshot
    assert snapshot is not None
    assert "1" in snapshot.predictors, "the champion before stays loaded"


def test_rows_that_the_champion_cannot_predict_are_named_in_answer_and_log(service: Service) -> None:
    spoil(service, 1, far_ones_nan)
    rows = [{**flights(1)[0], "distance": distance} for distance in (100, 2000, 200)]
    (answer,) = ask(service, rows)
    assert answer.status_code == 200
    assert [row["version"] for row in answer.json()["predictions"]] == ["1", None, "1"]
    (problem,) = answer.json()["problems"]
    expected = "version 1 has no prediction for it (the prediction is not a finite number)"
    assert (problem["row"], problem["problem"]) == (1, expected)
    lines = [(line["version"], line["served"], line["error"]) for line in logged(service)]
    assert lines == [
        ("1", True, None),
        ("1", False, "the prediction is not a finite number"),
        ("1", True, None),
    ]


def test_row_that_neither_version_can_predict_counts_for_the_one_whose_row_it_was(service: Service) -> None:
    """In their shares both meet such rows alike, so that guards, which compare, see no difference."""
    spoil(service, 1)
    spoil(service, 2)
    service.step("2", 0.5)
    (answer,) = ask(service, flights(100))
    assert answer.status_code == 422
    arms = service.log.arms(in_force(service))
    assert {version: (arm.requests, arm.failures) for version, arm in arms.items()} == {
        version: (arm.requests, arm.requests) for version, arm in arms.items()
    }
    assert sum(arm.requests for arm in arms.values()) == 100


def test_each_version_is_called_once_a_request(service: Service) -> None:
    champion, challenger = spoil(service, 1, lambda _r, v: v), spoil(service, 2, lambda _r, v: v)
    service.step("2", 0.5)
    ask(service, flights(100))
    assert (champion.calls, challenger.calls) == (1, 1)


def test_predictions_are_not_answered_if_the_log_does_not_take_them(service: Service) -> None:
    service.traffic.write_text("a file where the folder should be")
    (answer,) = ask(service, flights(2))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["reason"] == "The log of predictions does not take them (Not a directory)."


def test_metrics_tell_rows_by_version_arm_and_outcome(service: Service) -> None:
    spoil(service, 2)
    service.step("2", 1.0)
    text = metrics(service, flights(5))
    named = f'model_name="{MODEL}"'
    for line in (
        f'trimtab_requests_total{{{named},status="200"}} 1.0',
        f'trimtab_predictions_total{{arm="champion",{named},model_version="1",outcome="ok"}} 5.0',
        f'trimtab_predictions_total{{arm="challenger",{named},model_version="2",outcome="failed"}} 5.0',
        f'trimtab_model_loaded{{{named},model_version="1",role="champion"}} 1.0',
        f'trimtab_model_loaded{{{named},model_version="2",role="challenger"}} 1.0',
        f"trimtab_routing_sequence{{{named}}} {float(in_force(service).sequence)}",
        f"trimtab_challenger_share{{{named}}} 1.0",
        f"trimtab_following{{{named}}} 1.0",
        f"trimtab_request_duration_seconds_count{{{named}}} 1.0",
    ):
        assert line in text.splitlines()
    assert "process_resident_memory_bytes" in text
