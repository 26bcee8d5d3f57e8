"""The same rows, asked online and scored in the batch, on real flights."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from loops import Loop, small_flights
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.outcome_log import FileOutcomeLog, OutcomeWriter
from trimtab.adapters.traffic_log import FileTrafficLog, TrafficWriter
from trimtab.serving.app import create_app
from trimtab.serving.model_server import ModelServer
from trimtab.serving.tokens import TokenCheck
from trimtab.stages.collect import collect
from trimtab.stages.profile_batch import profile_batch
from trimtab.stages.score import score
from trimtab.stages.skew_audit import audit_skew
from unit.serving_doubles import BEARER, token_file
from victims import now

pytestmark = pytest.mark.integration
FIRST, TRAINED = date(2013, 1, 1), date(2013, 1, 18)
DAY = TRAINED + timedelta(days=1)
SIZES = (1, 1, 1, 2, 3, 7, 40)


@pytest.fixture(scope="module")
def loop(flights: None, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """A model of real flights that is live, and a day that it has scored."""
    root = tmp_path_factory.mktemp("flights")
    loop = Loop(small_flights(root, FIRST, DAY + timedelta(days=1), every=2, candidates=1), root / "stores")
    for number in range((TRAINED - FIRST).days + 1):
        loop.take_in(FIRST + timedelta(days=number))
        loop.label(FIRST + timedelta(days=number))
    version, _ = loop.train(TRAINED, "first") or ("", None)
    loop.approve(version, TRAINED, "first")
    loop.go_live(version, TRAINED)
    loop.take_in(DAY)
    score(DAY, lake=loop.lake, ledger=loop.ledger, registry=loop.registry, rows=loop.spec.rows)
    return loop


@pytest.fixture(scope="module")
def collected(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """Every row of that day was asked over HTTP as well, many at a time, and the log is in the lake."""
    rows = loop.lake.read("batches", DAY, DAY, columns=[*loop.spec.rows.columns])
    sent = [{name: None if pd.isna(value) else value for name, value in row.items()} for row in rows.to_dict("records")]
    answers = asyncio.run(ask(loop, sent, tmp_path_factory.mktemp("service")))
    assert len(answers) == len(sent) > 300
    folder = loop.root / "traffic"
    logs = [FileTrafficLog(folder, loop.spec.name), FileOutcomeLog(folder, loop.spec.name)]
    moved = collect(logs=logs, lake=DeltaLake(str(loop.root / "lake"), loop.spec.name))
    assert moved.rows["predictions"] == len(sent)
    return loop


async def ask(loop: Loop, rows: Sequence[dict[str, Any]], folder: Path) -> list[Any]:
    """The answers to requests of several sizes that arrive together."""
    name, traffic = loop.spec.name, loop.root / "traffic"
    logs = TrafficWriter(traffic, name, "w", now), OutcomeWriter(traffic, name, "w", now)
    server = ModelServer(loop.spec, loop.ledger, loop.registry, *logs)
    server.refresh()
    app = create_app({name: server}, TokenCheck(token_file(folder)), refresh_s=0.05)
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=BEARER, timeout=60) as http,
    ):
        answers = await asyncio.gather(
            *(http.post(f"/models/{name}/predict", json={"rows": part}) for part in parts(rows))
        )
    assert {answer.status_code for answer in answers} == {200}
    return [row for answer in answers for row in answer.json()["predictions"]]


def parts(rows: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    start = 0
    while start < len(rows):
        size = SIZES[start % len(SIZES)]
        yield rows[start : start + size]
        start += size


def test_predictions_of_the_same_rows_are_identical(collected: Loop) -> None:
    found = {
        part: collected.lake.read("predictions", DAY, DAY, part=part).set_index("_key")["prediction"].sort_index()
        for part in ("batch", "online")
    }
    assert found["online"].index.equals(found["batch"].index)
    assert np.array_equal(found["online"].to_numpy(), found["batch"].to_numpy()), "to the last bit"


def test_features_of_the_same_rows_are_identical(collected: Loop) -> None:
    report = audit_skew(DAY, DAY, lake=collected.lake, registry=collected.registry)
    rows = len(collected.lake.read("batches", DAY, DAY))
    assert (report.served, report.compared, report.differing) == (rows, rows, 0)
    assert {column.feature for column in report.columns} == set(collected.spec.features.names)


def test_what_was_corrected_in_the_batch_since_is_found(collected: Loop) -> None:
    batch = collected.lake.read("batches", DAY, DAY)
    changed = batch.drop(columns=["_day", "_part"])
    changed.loc[:2, "distance"] += [1.0, 500.0, 2.0]
    changed.loc[1, "dest"] = "XXX"
    changed.loc[3, "seats"] = np.nan if changed["seats"].notna()[3] else 7.0
    collected.lake.write("batches", DAY, changed.iloc[:-5])
    report = audit_skew(DAY, DAY, lake=collected.lake, registry=collected.registry)
    collected.lake.write("batches", DAY, batch.drop(columns=["_day", "_part"]))
    assert (report.served, report.compared, report.differing) == (len(batch), len(batch) - 5, 4)
    differ = {column.feature: column.differing for column in report.columns if column.differing}
    assert differ == {"distance": 3, "dest": 1, "seats": 1}
    distance = report.columns[0]
    worst = distance.examples[0]
    assert worst.key == batch["_key"][1]
    assert (worst.served, worst.batch) == (batch["distance"][1], batch["distance"][1] + 500)


def test_answers_online_are_measured_like_those_of_the_batch(collected: Loop) -> None:
    profile_batch(
        DAY, lake=collected.lake, ledger=collected.ledger, registry=collected.registry, rows=collected.spec.rows
    )
    result = collected.label(DAY + timedelta(days=1))
    assert result.labelled > 300
    entry = collected.ledger.entries("feedback", DAY.isoformat())[-1]
    (values,) = entry.payload.values()
    assert isinstance(values, dict)
    assert values["rows"] == result.labelled, "a row that was scored twice is measured once"
    assert values["interaction"]["rows"] == len(collected.lake.read("batches", DAY, DAY))  # type: ignore[index,call-overload]
