"""Triage in the stages: it is recorded, it keeps broken days out of training, and a drill writes nothing."""

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from doubles import FLIGHTS, tiny_rows, tiny_training
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.model_folder import load_folder
from trimtab.cli.drill import chosen_drills, show
from trimtab.domain.columns import row_keys
from trimtab.domain.diagnosis import Advice, Bug, Kind
from trimtab.domain.drills import DRILLS
from trimtab.domain.journal import Draft, Stream
from trimtab.domain.retraining import Action
from trimtab.errors import NotFoundError, RequestError
from trimtab.stages.drill import DrillResult, drill, target_of
from trimtab.stages.ingest import REPEATED_KEY
from trimtab.stages.judge import broken_days, judge, triage_of
from trimtab.stages.retrain import retrain
from trimtab.stages.snapshot import read_labelled, snapshot, snapshot_from, snapshot_payload

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

SPEC = load_folder(FLIGHTS).spec
ROWS = SPEC.rows
DAY = date(2013, 4, 2)


class Bench:
    """Stores of one model with a version that is live."""

    def __init__(self, ledger: "SqlLedger", folder: Path) -> None:
        self.ledger, self.lake = ledger, DeltaLake(str(folder / "lake"), SPEC.name)
        self.registry = FolderRegistry(folder / "registry", SPEC.name)
        self.registry.register(self.registry.log_training(tiny_training(1)).run_id, {})
        for kind in ("requested", "approved", "live"):
            self.note("release", "1", kind, DAY - timedelta(days=9), previous=None)

    def note(self, stream: Stream, subject: str, kind: str, as_of: date, **payload: Any) -> None:
        draft = Draft(stream=stream, subject=subject, kind=kind, as_of=as_of, payload=dict(payload))
        self.ledger.append(draft, after=self.ledger.head(stream))

    def take_in(self, day: date, rows: int = 30) -> None:
        columns = {**tiny_rows(day.day, rows)[0], "flight": np.arange(rows, dtype=np.float64)}
        keys = row_keys(columns, ROWS.key)
        self.lake.write("batches", day, pd.DataFrame({"_row": np.arange(rows), "_key": keys, **columns}))
        self.lake.write("labels", day, pd.DataFrame({"_key": keys, "label": np.full(rows, 100.0)}))
        self.note("batch", day.isoformat(), "accepted", day, rows_accepted=rows, failures=[], warnings=[])

    def judge(self, day: date) -> None:
        judge(day, lake=self.lake, ledger=self.ledger, registry=self.registry, monitor=SPEC.monitor)

    def drill(self, *names: str) -> list[DrillResult]:
        found = drill(
            DAY,
            [DRILLS[name] for name in names],
            lake=self.lake,
            ledger=self.ledger,
            registry=self.registry,
            rows=ROWS,
            features=SPEC.features,
            label=SPEC.label,
            monitor=SPEC.monitor,
            seed=0,
        )
        return list(found)


@pytest.fixture
def bench(ledger: "SqlLedger", tmp_path: Path) -> Bench:
    return Bench(ledger, tmp_path)


def test_batch_that_was_sent_twice_is_recorded_and_opens_an_incident(bench: Bench) -> None:
    bench.take_in(DAY)
    repeated = pd.DataFrame(
        {"_row": range(30, 60), "reason": [f"{REPEATED_KEY} {row}" for row in range(30)], "raw": ""}
    )
    bench.lake.write("quarantine", DAY, repeated, part="ingest")
    bench.judge(DAY)
    (entry,) = bench.ledger.entries("verdict")
    said = triage_of(entry)
    assert (said.kind, said.bug, said.advice) == (Kind.DATA_BUG, Bug.DUPLICATED_BATCH, Advice.QUARANTINE)
    assert str(entry.payload["summary"]).startswith("data_bug (duplicated_batch), sudden: 30 of 60 rows repeat the key")
    decision = retrain(DAY, ledger=bench.ledger, policy=SPEC.retrain, train=SPEC.train, monitor=SPEC.monitor)
    assert (decision.action, decision.reason) == (Action.INCIDENT, said.summary)


def test_broken_day_is_left_out_of_training_until_it_is_judged_again(bench: Bench) -> None:
    for number in range(12):
        bench.take_in(DAY + timedelta(days=number), rows=20)
    broken = DAY + timedelta(days=3)
    bench.note("verdict", broken.isoformat(), "drift", broken, triage={"kind": "data_bug", "bug": "unit_change"})
    assert broken_days(bench.ledger) == [broken]
    stores: dict[str, Any] = {"lake": bench.lake, "ledger": bench.ledger}
    train = SPEC.train.model_copy(update={"min_rows": 10})
    last = DAY + timedelta(days=12)
    taken = snapshot(last, **stores, train=train, label=SPEC.label, reason="by hand").snapshot
    assert taken is not None
    assert taken.left_out == (broken,)
    assert snapshot_from(snapshot_payload(taken)) == taken
    learnt = read_labelled(taken, DAY, last, bench.lake, ROWS)
    assert set(learnt.day) == {(DAY + timedelta(days=number)).isoformat() for number in range(12)} - {
        broken.isoformat()
    }
    bench.note("verdict", broken.isoformat(), "ok", broken, triage={"kind": "nothing"})
    assert broken_days(bench.ledger) == []
    again = snapshot(last, **stores, train=train, label=SPEC.label, reason="mended").snapshot
    assert again is not None
    assert again.left_out == ()


def test_drill_says_what_would_be_said_and_writes_nothing(bench: Bench) -> None:
    for back in (0, 1):
        bench.take_in(DAY - timedelta(days=back))
    tables = ("batches", "labels", "predictions", "profiles", "quarantine")
    before = [bench.lake.version(table) for table in tables]  # type: ignore[arg-type]
    duplicated, stuck = bench.drill("duplicated_batch", "unit_change")
    assert duplicated.is_right
    assert duplicated.triage.reasons == ("30 of 60 rows repeat the key of another one",)
    assert not stuck.is_right  # a reference of one day knows no limits
    assert [bench.lake.version(table) for table in tables] == before  # type: ignore[arg-type]
    assert bench.ledger.entries("verdict") == []


def test_stale_model_whose_errors_are_as_ordinary_says_both(bench: Bench) -> None:
    for back in range(8):
        day = DAY - timedelta(days=back)
        saved = {"rows": 100, "loss": 10.0 + back / 100, "bias": 9.0, "slices": {}, "shifted_loss": 5.0}
        bench.note("feedback", day.isoformat(), "measured", day, **{"1": saved})
    bench.take_in(DAY)
    bench.judge(DAY)
    verdict = bench.ledger.entries("verdict")[-1]
    assert verdict.kind == "decay"
    assert str(verdict.payload["summary"]).startswith(
        "Stale, though no error is beyond its limit: a shift by the errors of the week before saves 50% of the loss"
    )


def test_drills_are_shown_in_80_columns(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    for back in (0, 1):
        bench.take_in(DAY - timedelta(days=back))
    show(bench.drill("duplicated_batch", "changed_component"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == ["duplicated_batch", "not_enough_data", "duplicated_batch", "quarantine", "yes"]
    assert lines[2].strip() == "30 of 60 rows repeat the key of another one"
    assert lines[-1] == "1 of 2 are called what they are."


def test_drill_of_a_day_that_was_never_taken_in_says_so(bench: Bench) -> None:
    with pytest.raises(NotFoundError) as told:
        bench.drill("unit_change")
    assert str(told.value) == (
        "2013-04-02 has no batch in the lake. Choose a day that has been taken in, as the one before."
    )


def test_drills_touch_features_that_are_columns_of_a_row() -> None:
    target = target_of(ROWS, SPEC.features)
    assert (target.numeric, target.categorical) == (("distance", "seats"), ("carrier", "origin", "dest"))


def test_unknown_drill_is_answered_with_those_there_are() -> None:
    with pytest.raises(RequestError) as told:
        chosen_drills(["unit_chnage"])
    assert str(told.value).startswith("There is no drill 'unit_chnage'. There are: benign_shift, changed_component, ")
