"""Batches that two versions score, one of which may be on trial and broken."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from doubles import tiny_rows, tiny_training
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.lake_traffic import LakeTraffic
from trimtab.domain.columns import Columns
from trimtab.domain.journal import Draft
from trimtab.domain.metrics import FloatArray
from trimtab.domain.release import routing
from trimtab.domain.spec import RowsSpec
from trimtab.errors import ModelIntegrityError
from trimtab.stages.score import score

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

DAY, ROWS = date(2013, 3, 2), 400
SPEC = RowsSpec.model_validate(
    {
        "columns": {"day": "text", "id": "text", "x": "number"},
        "key": ["id"],
        "event_day": {"kind": "column", "column": "day"},
    }
)
Predict = Callable[[FloatArray], FloatArray]


class Shelf:
    """A registry of functions."""

    def __init__(self, **versions: Predict) -> None:
        self._versions = {name.removeprefix("v"): predict for name, predict in versions.items()}

    def load(self, *, version: str, expected_digest: str | None) -> Any:
        return Shelved(self._versions[version])


class Shelved:
    """A function as a model."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def predict(self, columns: Columns) -> FloatArray:
        return self._predict(np.asarray(columns["x"], dtype=np.float64))


def at_share(share: float, ledger: "SqlLedger", tmp_path: Path) -> DeltaLake:
    history: list[tuple[str, str, dict[str, Any]]] = [
        *(("1", kind, {}) for kind in ("requested", "approved", "live", "done")),
        *(("2", kind, {"previous": "1"}) for kind in ("requested", "approved")),
        ("2", "step", {"step": "s", "share": share}),
    ]
    for version, kind, payload in history:
        draft = Draft(stream="release", subject=version, kind=kind, as_of=date(2013, 3, 1), payload=payload)
        ledger.append(draft, after=ledger.head("release"))
    lake = DeltaLake(str(tmp_path), "m")
    keys = [str(number) for number in range(ROWS)]
    lake.write("batches", DAY, pd.DataFrame({"_key": keys, "day": str(DAY), "id": keys, "x": np.arange(ROWS) * 1.0}))
    return lake


def as_it_is(x: FloatArray) -> FloatArray:
    return x


def nowhere(x: FloatArray) -> FloatArray:
    raise ZeroDivisionError


def not_below_ten(x: FloatArray) -> FloatArray:
    return np.where(x < 10, np.nan, x)


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize(("challenger", "failing"), [(as_it_is, 0), (not_below_ten, 10), (nowhere, ROWS)])
def test_every_row_has_one_answer_whatever_the_version_on_trial_does(
    share: float, challenger: Predict, failing: int, ledger: "SqlLedger", tmp_path: Path
) -> None:
    lake, registry = at_share(share, ledger, tmp_path), Shelf(v1=as_it_is, v2=challenger)
    score(DAY, lake=lake, ledger=ledger, registry=registry, rows=SPEC)  # type: ignore[arg-type]
    predicted = lake.read("predictions", DAY, DAY)
    assert (predicted["version"] == "1").sum() == ROWS
    assert (predicted["version"] == "2").sum() == ROWS - failing
    served = predicted[predicted["served"]]
    assert sorted(served["_key"]) == sorted(str(number) for number in range(ROWS))
    assert np.isfinite(served["prediction"]).all()

    route = routing(ledger.entries("release"))
    arms = LakeTraffic(lake, ledger).arms(route)
    own = [number for number in range(ROWS) if not share or route.arm(str(number)) == "challenger"]
    assert arms["1"].requests == (ROWS if not share else ROWS - len(own))
    assert (arms["2"].requests, arms["2"].failures) == (len(own), sum(number < failing for number in own))
    assert arms["1"].failures == 0


def test_champion_that_cannot_predict_fails_the_task(ledger: "SqlLedger", tmp_path: Path) -> None:
    lake = at_share(0.5, ledger, tmp_path)
    with pytest.raises(ZeroDivisionError):
        score(DAY, lake=lake, ledger=ledger, registry=Shelf(v1=nowhere, v2=as_it_is), rows=SPEC)  # type: ignore[arg-type]


def test_package_that_is_not_the_released_one_fails_the_task(ledger: "SqlLedger", tmp_path: Path) -> None:
    def swapped(x: FloatArray) -> FloatArray:
        raise ModelIntegrityError("not the one")

    lake = at_share(0.5, ledger, tmp_path)
    with pytest.raises(ModelIntegrityError):
        score(DAY, lake=lake, ledger=ledger, registry=Shelf(v1=as_it_is, v2=swapped), rows=SPEC)  # type: ignore[arg-type]


def test_rows_of_a_batch_are_decided_by_whom_the_levels_of_the_days_before_say(
    ledger: "SqlLedger", tmp_path: Path
) -> None:
    lake = DeltaLake(str(tmp_path), "flight_air_time")
    registry = FolderRegistry(tmp_path / "registry", "flight_air_time")
    registry.register(registry.log_training(tiny_training(1, task="binary")).run_id, {})
    rows, _ = tiny_rows(3, rows=200)
    keys = [str(number) for number in range(200)]
    for day in (DAY, date(2013, 3, 3)):
        lake.write("batches", day, pd.DataFrame({"_key": keys, **rows}))
    spec = registry.load(version="1").spec
    for kind in ("requested", "approved", "live"):
        append(ledger, "release", "1", kind, {})
    append(ledger, "automation", "all", "set", {"level": "partial", "sureness": 0.3})
    append(ledger, "automation", "carrier=UA", "set", {"level": "human"})
    append(ledger, "automation", "all", "set", {"level": "human"}, DAY)
    for day in (DAY, date(2013, 3, 3)):
        score(day, lake=lake, ledger=ledger, registry=registry, rows=spec.rows, slices=spec.slices)
    found = lake.read("predictions", DAY, DAY)
    united, sure = rows["carrier"] == "UA", np.abs(2 * found["prediction"] - 1).to_numpy() >= 0.3
    assert (united.any(), sure.any(), (~sure).any()) == (True, True, True)
    assert found["level"].tolist() == ["human" if one else "partial" for one in united]
    assert (found["decided_by"] == "person").tolist() == (united | ~sure).tolist()
    assert found["effects"].notna().tolist() == (~united & ~sure).tolist()
    assert found["request_id"][7] == "batch:2013-03-02:7"
    following = lake.read("predictions", date(2013, 3, 3), date(2013, 3, 3))
    assert set(following["level"]) == {"human"}


def append(
    ledger: "SqlLedger", stream: Any, subject: str, kind: str, payload: dict[str, Any], day: date = date(2013, 3, 1)
) -> None:
    draft = Draft(stream=stream, subject=subject, kind=kind, as_of=day, payload=payload)
    ledger.append(draft, after=ledger.head(stream))
