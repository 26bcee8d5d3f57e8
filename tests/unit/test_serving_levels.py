"""The service obeys the levels of automation, in every protocol."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from trimtab.domain.columns import Columns
from trimtab.domain.journal import Draft
from trimtab.domain.metrics import FloatArray
from unit.serving_doubles import MODEL, Running, Service, SpoiledPredictor, flights, new_service, version_of

PREDICT = f"/models/{MODEL}/predict"
ROWS = flights(40)
CARRIERS = [row["carrier"] for row in ROWS]


def set_level(service: Service, level: str, of: str = "all", **more: Any) -> None:
    """As `trimtab automation` records it."""
    payload = {"level": level, "actor": "ann", "reason": "why", **more}
    draft = Draft(stream="automation", subject=of, kind="set", as_of=date(2013, 3, 1), payload=payload)
    service.ledger.append(draft, after=service.ledger._inner.head("automation"))
    service.server.refresh()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = new_service(tmp_path)
    made.go_live("1")
    made.server.refresh()
    yield made
    made.server.close()


@pytest.fixture
def running(service: Service) -> Iterator[Running]:
    with closing(Running(service, refresh_s=60)) as asked:
        yield asked


def typed(running: Running, rows: Any = ROWS) -> list[dict[str, Any]]:
    answer = running.post(PREDICT, json={"rows": rows})
    assert (answer.status_code, answer.json()["problems"]) == (200, []), answer.text
    found: list[dict[str, Any]] = answer.json()["predictions"]
    return found


def logged(service: Service) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in sorted((service.traffic / MODEL).glob("*.jsonl"))
        for line in file.read_bytes().splitlines()
    ]


@pytest.mark.parametrize("level", ["human", "shadow"])
def test_person_who_decides_alone_does_not_see_what_the_log_keeps(
    service: Service, running: Running, level: str
) -> None:
    set_level(service, level)
    for row in typed(running):
        assert row == {
            "prediction": None, "version": "1", "arm": "champion", "decided_by": "person", "level": level, "effects": [],
        }  # fmt: skip
    for line in logged(service):
        assert version_of(line["prediction"]) == "1"
        assert (line["served"], line["decided_by"], line["level"], line["effects"]) == (True, "person", level, [])
    metrics = running.get("/metrics").text
    assert f'trimtab_referred_total{{level="{level}",model_name="{MODEL}"}} 40.0' in metrics


def test_person_who_is_assisted_sees_proposal_and_why(service: Service, running: Running) -> None:
    typed(running)
    set_level(service, "assist")
    before, after = logged(service), typed(running)
    assert [row["prediction"] for row in after] == [line["prediction"] for line in before]
    assert {(row["decided_by"], row["level"]) for row in after} == {("person", "assist")}
    for row, asked in zip(after, ROWS, strict=True):
        largest = row["effects"][0]
        assert (largest["feature"], largest["value"]) == ("distance", asked["distance"])
        assert (largest["effect"] > 0) == (asked["distance"] > largest["typical"])
    assert [line["effects"] for line in logged(service)[40:]] == [row["effects"] for row in after]


def test_level_of_a_slice_holds_for_its_rows_only(service: Service, running: Running) -> None:
    set_level(service, "human", of="carrier=UA")
    set_level(service, "assist", of="carrier=B6")
    set_level(service, "human", of="gone=1")
    expected = {"UA": ("human", "person"), "B6": ("assist", "person"), "AA": ("full", "model")}
    assert [(row["level"], row["decided_by"]) for row in typed(running)] == [expected[name] for name in CARRIERS]
    assert [row["prediction"] is None for row in typed(running)] == [name == "UA" for name in CARRIERS]
    set_level(service, "full", of="carrier=UA")
    set_level(service, "full", of="carrier=B6")
    set_level(service, "full", of="gone=1")
    assert {row["level"] for row in typed(running)} == {"full"}


def test_level_of_a_slice_may_be_one_of_a_feature(service: Service, running: Running) -> None:
    set_level(service, "assist", of="distance=below 500")
    expected = ["assist" if row["distance"] < 500 else "full" for row in ROWS]
    assert set(expected) == {"assist", "full"}
    assert [row["level"] for row in typed(running)] == expected


def test_number_has_no_sureness_so_that_partial_leaves_all_to_people(service: Service, running: Running) -> None:
    set_level(service, "partial", sureness=0.1)
    assert {(row["level"], row["decided_by"]) for row in typed(running)} == {("partial", "person")}


def test_levels_stay_in_force_while_the_ledger_is_down(service: Service, running: Running) -> None:
    set_level(service, "assist")
    service.ledger.append(
        Draft(stream="automation", subject="all", kind="set", as_of=date(2013, 3, 1), payload={"level": "full"}),
        after=1,
    )
    service.ledger.down = True
    service.server.refresh()
    assert {row["level"] for row in typed(running)} == {"assist"}
    service.ledger.down = False
    service.server.refresh()
    assert {row["level"] for row in typed(running)} == {"full"}


def test_proposal_that_cannot_be_explained_is_still_one(service: Service, running: Running) -> None:
    def only_once(features: Columns, values: FloatArray) -> FloatArray:
        if len(values) > len(ROWS):
            raise ZeroDivisionError("planted")
        return values

    service.registry.special["2"] = SpoiledPredictor(2, only_once)
    service.go_live("2", previous="1")
    set_level(service, "assist")
    for row in typed(running):
        assert (version_of(row["prediction"]), row["decided_by"], row["effects"]) == ("2", "person", [])


def test_row_of_a_batch_that_is_not_right_has_its_problem_whoever_decides(service: Service, running: Running) -> None:
    set_level(service, "human")
    answer = running.post(PREDICT, json={"rows": [ROWS[0], {**ROWS[1], "distance": "far"}]}).json()
    assert [row["decided_by"] for row in answer["predictions"]] == ["person", None]
    assert [problem["row"] for problem in answer["problems"]] == [1]


def test_every_protocol_says_who_decides(service: Service, running: Running) -> None:
    set_level(service, "human", of="carrier=UA")
    set_level(service, "assist", of="carrier=B6")
    rows = [next(row for row in ROWS if row["carrier"] == name) for name in ("UA", "B6", "AA")]
    mlflow = running.post("/invocations", json={"dataframe_records": rows}).json()
    assert [value is None for value in mlflow["predictions"]] == [True, False, False]
    assert mlflow["decided_by"] == ["person", "person", "model"]
    assert mlflow["levels"] == ["human", "assist", "full"]
    assert [len(effects) > 0 for effects in mlflow["effects"]] == [False, True, False]

    columns = service.server.spec.rows.columns
    inputs = [
        {
            "name": name,
            "shape": [3],
            "datatype": "BYTES" if kind.startswith("text") else "FP64",
            "data": [row[name] for row in rows],
        }
        for name, kind in columns.items()
    ]
    outputs = [{"name": name} for name in ("prediction", "decided_by", "level", "effects")]
    tensors = running.post(f"/v2/models/{MODEL}/infer", json={"inputs": inputs, "outputs": outputs}).json()
    found = {one["name"]: one["data"] for one in tensors["outputs"]}
    assert [value is None for value in found["prediction"]] == [True, False, False]
    assert found["decided_by"] == ["person", "person", "model"]
    assert found["level"] == ["human", "assist", "full"]
    assert json.loads(found["effects"][1]) == mlflow["effects"][1]
    assert (found["effects"][0], found["effects"][2]) == ("", "")


def test_outcomes_are_counted_by_kind(running: Running) -> None:
    said = [{"request_id": "r", "row": row, "kind": "decision", "value": 150.0} for row in range(3)]
    told = running.post(f"/models/{MODEL}/feedback", json={"outcomes": [*said, {"request_id": "r", "kind": "click"}]})
    assert told.status_code == 202
    metrics = running.get("/metrics").text
    for kind, count in (("decision", 3), ("click", 1), ("label", 0)):
        assert f'trimtab_outcomes_total{{kind="{kind}",model_name="{MODEL}"}} {count}.0' in metrics
