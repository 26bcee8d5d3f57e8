"""What the tasks of a release do when evidence is late, a person holds it, or another release is on its way."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from doubles import FLIGHTS, tiny_rows, tiny_training
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.model_package import digest
from trimtab.adapters.replay_stores import FolderStores
from trimtab.domain.columns import Columns
from trimtab.domain.guards import ArmTraffic
from trimtab.domain.journal import Draft
from trimtab.domain.latency import latency_bin
from trimtab.domain.memory import MemoryUse
from trimtab.domain.ports import Package
from trimtab.domain.release import Routing, releases
from trimtab.domain.sequential import Moments
from trimtab.operators import model as shared
from trimtab.operators import release as operators
from trimtab.operators import release_steps
from trimtab.operators.releasing import TRIPPED
from trimtab.stages import release as releasing
from trimtab.stages import step_evidence
from trimtab.triggers.polling import READY, TIMEOUT
from trimtab.triggers.release import ReleaseTrigger, ResumedTrigger, StepTrigger, TurnTrigger

DAY = date(2013, 3, 1)
MODEL = "flight_air_time"


class Counted:
    """So many rows of each version."""

    def __init__(self) -> None:
        self.rows = 0
        self.failures = 0

    def arms(self, routing: Routing) -> Mapping[str, ArmTraffic]:
        outputs, latencies = Moments.of(np.linspace(0, 1, self.rows)), {latency_bin(1.0): self.rows}
        arm = ArmTraffic(requests=self.rows, latencies=latencies if self.rows else {}, outputs=outputs)
        failing = ArmTraffic(requests=self.rows, failures=self.failures, latencies=arm.latencies, outputs=outputs)
        return {version: failing if version == routing.challenger else arm for version in routing.versions}


class Ti:
    """The part of a task instance that the operators use."""

    def __init__(self) -> None:
        self.pushed: dict[str, str] = {}

    def xcom_push(self, key: str, value: str) -> None:
        self.pushed[key] = value


class Run:
    """A release DAG's run of version 2, while version 1 is champion."""

    def __init__(self, root: Path) -> None:
        self.stores = FolderStores(load_folder(FLIGHTS), root, str)
        self.traffic = Counted()
        self.stores.__dict__["traffic"] = self.traffic
        self.memory = MemoryUse(peak=200, growth=0.0, calls=1)
        self.stores.__dict__["memory_trial"] = self
        columns, _ = tiny_rows(1, 50)
        batch = pd.DataFrame(dict(columns)).astype({"tailnum": object})
        self.stores.lake.write("batches", DAY, batch.assign(_key=[str(number) for number in range(50)]))
        registry = self.stores.registry
        assert isinstance(registry, FolderRegistry)
        for seed in (1, 2, 3):
            registry.register(registry.log_training(tiny_training(seed)).run_id, {})
        self.writes: dict[str, Any] = {"as_of": DAY, "ledger": self.stores.ledger, "registry": registry}
        self.release("1")
        self.ti = Ti()
        self.context: Any = {"ti": self.ti, "logical_date": None}

    def release(self, version: str, *, up_to: str = "done") -> None:
        releasing.request_release(version, **self.writes, reason="why")
        releasing.answer_release(version, **self.writes, approved=True, actor="ann", comment="go")
        if up_to == "done":
            lake, rows = self.stores.lake, self.stores.folder.spec.rows
            releasing.go_live(version, **self.writes, reason="why", lake=lake, rows=rows)
            releasing.finish_release(version, **self.writes, reasons=["baked"])

    def measure(self, package: Package, _rows: Columns) -> MemoryUse:
        """The memory trial: the champion has a fixed size."""
        is_champion = digest(package) == self.stores.registry.digest("1")
        return MemoryUse(peak=200, growth=0.0, calls=1) if is_champion else self.memory

    def hold(self, actor: str = "ann") -> None:
        releasing.hold_release("2", **self.writes, actor=actor, reason="lunch")

    def task(self, step: str = "shadow") -> release_steps.ReleaseStepOperator:
        return release_steps.ReleaseStepOperator(task_id=step, model=MODEL, step=step, version="2", as_of=str(DAY))

    @property
    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.stores.ledger.entries("release", "2")]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    made = Run(tmp_path)

    class Hook:
        def __init__(self, model: str) -> None:
            assert model == MODEL

        def stores(self) -> FolderStores:
            return made.stores

    for module in (shared, operators, release_steps):
        monkeypatch.setattr(module, "StoresHook", Hook)
    return made


def event(status: str) -> dict[str, str]:
    return {"status": status, "message": ""}


def test_step_without_evidence_leaves_the_worker_and_goes_on_when_it_comes(run: Run) -> None:
    run.release("2", up_to="approved")
    task = run.task()
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(run.context)
    assert deferred.value.trigger.serialize()[1]["step"] == "shadow"
    run.traffic.rows = 1000
    assert task.execute_complete(run.context, event(READY))["outcome"] == "pass"
    assert run.kinds == ["requested", "approved", "step"]


def test_challenger_that_needs_too_much_memory_trips_before_any_traffic_is_seen(run: Run) -> None:
    run.release("2", up_to="approved")
    run.memory = MemoryUse(peak=301, growth=0.0, calls=1)
    with pytest.raises(AirflowFailException, match="more than 1.5 x is not allowed"):
        run.task().execute(run.context)
    assert run.ti.pushed[TRIPPED].startswith("shadow: memory: ")


def test_evidence_that_is_late_holds_the_release_until_it_comes(run: Run) -> None:
    run.release("2", up_to="approved")
    task = run.task()
    with pytest.raises(TaskDeferred):
        task.execute(run.context)
    for _ in range(2):
        with pytest.raises(TaskDeferred):
            task.execute_complete(run.context, event(TIMEOUT))
    assert run.kinds == ["requested", "approved", "step", "held"]
    assert "300 more are needed" in str(run.stores.ledger.entries("release", "2")[-1].payload["reason"])
    run.traffic.rows = 1000
    task.execute_complete(run.context, event(READY))
    assert run.kinds[-2:] == ["held", "resumed"]


def test_task_that_is_killed_and_run_again_finds_its_step_begun_and_held(run: Run) -> None:
    run.release("2", up_to="approved")
    with pytest.raises(TaskDeferred):
        run.task().execute(run.context)
    run.hold()
    run.traffic.rows = 1000
    with pytest.raises(TaskDeferred):
        run.task().execute(run.context)
    releasing.resume_release("2", **run.writes, actor="ann", reason="back")
    assert run.task().execute(run.context)["outcome"] == "pass"
    assert run.kinds == ["requested", "approved", "step", "held", "resumed"]


def test_next_step_does_not_begin_while_somebody_holds_the_release(run: Run) -> None:
    run.release("2", up_to="approved")
    run.hold()
    for task in (run.task(), operators.LiveOperator(task_id="live", model=MODEL, version="2", as_of=str(DAY))):
        with pytest.raises(TaskDeferred) as deferred:
            task.execute(run.context)
        assert deferred.value.trigger.serialize()[0].endswith("ResumedTrigger")
    assert run.kinds == ["requested", "approved", "held"]


def test_guard_that_trips_fails_the_task_and_leaves_its_reasons_for_the_rollback(run: Run) -> None:
    run.release("2", up_to="approved")
    run.traffic.rows, run.traffic.failures = 1000, 100
    with pytest.raises(AirflowFailException, match="does not pass shadow: failures: 100 of 1000 rows failed"):
        run.task().execute(run.context)
    assert run.ti.pushed[TRIPPED].startswith("shadow: failures: 100 of 1000")


def test_release_that_a_person_has_rolled_back_ends_its_task_with_the_reason(run: Run) -> None:
    run.release("2", up_to="approved")
    with pytest.raises(TaskDeferred):
        run.task().execute(run.context)
    releasing.roll_back("2", **run.writes, actor="ann", reason="users complain")
    with pytest.raises(AirflowFailException, match="has ended: rolled_back, users complain"):
        run.task().execute_complete(run.context, event(READY))


def request() -> operators.RequestReleaseOperator:
    later = DAY + timedelta(days=1)
    return operators.RequestReleaseOperator(
        task_id="request", model=MODEL, version="3", reason="newer", as_of=str(later)
    )


def test_second_release_waits_for_its_turn(run: Run) -> None:
    run.release("2", up_to="approved")
    with pytest.raises(TaskDeferred) as deferred:
        request().execute(run.context)
    assert deferred.value.trigger.serialize()[0].endswith("TurnTrigger")
    releasing.roll_back("2", **run.writes, actor="ann", reason="worse")
    assert request().execute_complete(run.context, event(READY))["state"] == "requested"


def test_second_release_replaces_the_first_where_the_spec_says_so(run: Run) -> None:
    run.release("2", up_to="approved")
    spec = run.stores.folder.spec
    changed = spec.model_copy(update={"release": spec.release.model_copy(update={"second": "replace"})})
    object.__setattr__(run.stores.folder, "spec", changed)
    assert request().execute(run.context)["version"] == "3"
    known = releases(run.stores.ledger.entries("release"))
    assert (known["2"].state, known["3"].state) == ("rolled_back", "requested")


def test_triggers_fire_when_there_is_something_to_do_and_not_before(run: Run) -> None:
    def is_ready(trigger: type[ReleaseTrigger], **arguments: str) -> bool:
        return trigger(model=MODEL, deadline="2030-01-01T00:00:00+00:00", **arguments).is_ready(run.stores)

    assert is_ready(TurnTrigger, version="3")
    run.release("2", up_to="approved")
    assert not is_ready(TurnTrigger, version="3")
    assert is_ready(TurnTrigger, version="2")
    assert is_ready(ResumedTrigger, version="2")
    run.hold()
    assert not is_ready(ResumedTrigger, version="2")
    releasing.resume_release("2", **run.writes, actor="ann", reason="back")
    with pytest.raises(TaskDeferred):
        run.task().execute(run.context)
    assert not is_ready(StepTrigger, version="2", step="shadow")
    run.hold()
    run.traffic.rows = 1000
    assert not is_ready(StepTrigger, version="2", step="shadow"), "a person holds it"
    run.traffic.failures = 200
    assert is_ready(StepTrigger, version="2", step="shadow"), "harm is acted on all the same"


def test_labels_that_come_during_a_step_are_read_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.release("2", up_to="approved")
    with pytest.raises(TaskDeferred):
        run.task().execute(run.context)
    trigger = StepTrigger(model=MODEL, deadline="2030-01-01T00:00:00+00:00", version="2", step="shadow")
    read: list[str] = []
    quality = step_evidence.step_quality
    monkeypatch.setattr(
        step_evidence, "step_quality", lambda version, **stores: read.append(version) or quality(version, **stores)
    )
    for _ in range(3):
        trigger.is_ready(run.stores)
    assert read == ["2"]
    draft = Draft(stream="feedback", subject=str(DAY), kind="measured", as_of=DAY, payload={})
    run.stores.ledger.append(draft, after=0)
    trigger.is_ready(run.stores)
    assert read == ["2", "2"]
