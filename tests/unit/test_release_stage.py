"""The steps of a release on a real ledger and a registry: repeated, refused, mirrored, judged."""

from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from doubles import tiny_training
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.domain.journal import Draft
from trimtab.domain.release import ArmTraffic, Routing, routing
from trimtab.domain.spec import LabelSpec, ReleaseSpec, StepSpec
from trimtab.errors import TransitionError
from trimtab.stages import release as releasing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab.adapters.sql_ledger import SqlLedger

DAY = date(2013, 3, 1)
SHADOW, CANARY = StepSpec(name="shadow", share=0, requests=10), StepSpec(name="canary", share=0.5, requests=10)
SPEC = ReleaseSpec(steps=(SHADOW, CANARY), bake_days=2)
LABEL = LabelSpec(column="air_time")


class Desk:
    """Somebody who releases versions."""

    def __init__(self, ledger: "SqlLedger", registry: FolderRegistry) -> None:
        self.ledger, self.registry = ledger, registry
        self.stores = {"ledger": ledger, "registry": registry}

    def request(self, version: str) -> None:
        releasing.request_release(version, as_of=DAY, reason="why", **self.stores)

    def request_again(self, version: str) -> None:
        releasing.request_release(version, as_of=DAY + timedelta(days=30), reason="it was better", **self.stores)

    @property
    def routing(self) -> Routing:
        return routing(self.ledger.entries("release"))

    def answer(self, version: str, *, approved: bool = True) -> None:
        releasing.answer_release(version, approved=approved, actor="ann", comment="c", as_of=DAY, **self.stores)

    def step(self, version: str, step: StepSpec) -> None:
        releasing.begin_step(version, step, as_of=DAY, **self.stores)

    def live(self, version: str, day: date = DAY) -> None:
        releasing.go_live(version, as_of=day, reason="why", **self.stores)

    def finish(self, version: str) -> None:
        releasing.finish_release(version, as_of=DAY, reasons=["baked"], **self.stores)

    def back(self, version: str) -> None:
        releasing.roll_back(version, as_of=DAY, actor="ann", reason="worse", **self.stores)

    def released(self, version: str) -> None:
        self.request(version)
        self.answer(version)
        self.live(version)
        self.finish(version)

    @property
    def aliases(self) -> "Mapping[str, object]":
        return self.registry.state["aliases"]

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [(one.subject, one.kind) for one in self.ledger.entries("release")]


@pytest.fixture
def desk(ledger: "SqlLedger", tmp_path: Path) -> Desk:
    registry = FolderRegistry(tmp_path, "flight_air_time")
    for seed in (1, 2, 3):
        registry.register(registry.log_training(tiny_training(seed)).run_id, {})
    return Desk(ledger, registry)


def test_aliases_mirror_the_ledger_at_every_transition(desk: Desk) -> None:
    desk.request("1")
    assert desk.aliases == {"challenger": "1"}
    desk.answer("1")
    desk.live("1")
    assert desk.aliases == {"champion": "1"}
    desk.finish("1")
    desk.request("2")
    desk.answer("2")
    assert desk.aliases == {"champion": "1", "challenger": "2"}
    desk.step("2", SHADOW)
    assert desk.aliases == {"champion": "1", "challenger": "2", "shadow": "2"}
    desk.step("2", CANARY)
    assert desk.aliases == {"champion": "1", "challenger": "2"}
    desk.live("2")
    assert desk.aliases == {"champion": "2"}
    desk.back("2")
    assert desk.aliases == {"champion": "1"}
    assert desk.registry.state["versions"]["2"]["tags"] == {
        "trimtab.release": "rolled_back",
        "trimtab.release_reason": "worse",
    }


def test_every_transition_may_be_repeated(desk: Desk) -> None:
    desk.released("1")
    for _ in range(2):
        desk.request("2")
        desk.answer("2")
        desk.step("2", SHADOW)
        desk.step("2", CANARY)
        desk.live("2")
        desk.finish("2")
    assert desk.kinds[4:] == [("2", kind) for kind in ("requested", "approved", "step", "step", "live", "done")]
    desk.back("2")
    desk.back("2")
    assert desk.kinds[10:] == [("2", "rolled_back")]


def test_repeating_an_old_release_leaves_the_aliases_of_the_one_that_waits(desk: Desk) -> None:
    desk.released("1")
    desk.request("2")
    desk.released("1")
    assert desk.aliases == {"champion": "1", "challenger": "2"}


def test_second_release_waits_for_the_first(desk: Desk) -> None:
    desk.request("1")
    with pytest.raises(TransitionError) as told:
        desk.request("2")
    assert str(told.value) == (
        "Release of version 2 cannot begin while that of version 1 is on its way. Wait for it to end, or roll it back."
    )
    assert desk.kinds == [("1", "requested")]


def test_rejected_release_goes_no_further(desk: Desk) -> None:
    desk.request("1")
    desk.answer("1", approved=False)
    assert desk.aliases == {}
    with pytest.raises(TransitionError, match=r"is 'rejected' and cannot become 'live'\. It can become nothing"):
        desk.live("1")
    desk.request("2")
    assert desk.aliases == {"challenger": "2"}


def test_step_of_a_release_that_was_never_requested_is_refused(desk: Desk) -> None:
    with pytest.raises(TransitionError, match=r"^Release of version 1 was never requested\. Request it first\.$"):
        desk.step("1", SHADOW)


class Traffic:
    """Traffic as it is told."""

    def __init__(self, **arms: ArmTraffic) -> None:
        self._arms = {name.removeprefix("v"): arm for name, arm in arms.items()}
        self.asked: list[Routing] = []

    def arms(self, routing: Routing) -> "Mapping[str, ArmTraffic]":
        self.asked.append(routing)
        return self._arms

    def predictions(self, day: date) -> pd.DataFrame:
        return pd.DataFrame()


def test_step_is_judged_on_the_traffic_of_its_own_routing(desk: Desk) -> None:
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.step("2", SHADOW)
    traffic = Traffic(v1=ArmTraffic(requests=9, latency_ms_p50=1), v2=ArmTraffic(requests=10, latency_ms_p50=1))
    report = releasing.watch_step("2", SHADOW, spec=SPEC, ledger=desk.ledger, traffic=traffic)
    assert report.outcome == "pass"
    assert traffic.asked == [Routing(sequence=7, champion="1", challenger="2")]
    with pytest.raises(TransitionError, match="is 'step shadow', not in step 'canary'"):
        releasing.watch_step("2", CANARY, spec=SPEC, ledger=desk.ledger, traffic=traffic)
    desk.live("2")
    again = releasing.watch_step("2", SHADOW, spec=SPEC, ledger=desk.ledger, traffic=Traffic())
    assert (again.outcome, again.reasons) == ("pass", ("the release is beyond this step",))


def labelled_day(lake: DeltaLake, ledger: "SqlLedger", day: date, predictions: dict[str, float]) -> None:
    """A day whose labels are all 100, with the predictions of some versions."""
    keys = [str(number) for number in range(40)]
    random = np.random.default_rng(day.toordinal())
    frames = [
        pd.DataFrame({"_key": keys, "version": version, "prediction": value + random.normal(0, 1, 40)})
        for version, value in predictions.items()
    ]
    lake.write("predictions", day, pd.concat(frames), part="batch")
    lake.write("labels", day, pd.DataFrame({"_key": keys, "label": 100.0}))
    ledger.append(
        Draft(
            stream="feedback",
            subject=day.isoformat(),
            kind="measured",
            as_of=day + timedelta(days=1),
            payload={version: {} for version in predictions},
        ),
        after=ledger.head("feedback"),
    )


@pytest.mark.parametrize(("new", "outcome"), [(101.0, "pass"), (105.0, "pass"), (120.0, "trip")])
def test_baking_compares_the_two_versions_on_the_same_rows(
    desk: Desk, tmp_path: Path, new: float, outcome: str
) -> None:
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.live("2")
    lake = DeltaLake(str(tmp_path), "m")
    labelled_day(lake, desk.ledger, DAY, {"1": 100, "2": 500})  # of the day that it went live on: does not count
    for number in (1, 2, 3):
        before = releasing.watch_bake("2", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=lake)
        if number < 3:
            assert before.reasons == (f"{number - 1} of 2 labelled days seen",)
        labelled_day(lake, desk.ledger, DAY + timedelta(days=number), {"1": 105, "2": new})
    report = releasing.watch_bake("2", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=lake)
    assert report.outcome == outcome
    assert report.reasons[0].endswith("of version 1 on 120 rows of 3 days")


def test_baking_waits_while_the_two_versions_have_not_met_on_two_days(desk: Desk, tmp_path: Path) -> None:
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.live("2")
    lake = DeltaLake(str(tmp_path), "m")

    def said() -> tuple[str, tuple[str, ...]]:
        report = releasing.watch_bake("2", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=lake)
        return report.outcome, report.reasons

    for number in (1, 2):
        labelled_day(lake, desk.ledger, DAY + timedelta(days=number), {"2": 100})
    assert said() == ("wait", ("0 of 2 labelled days seen",))
    labelled_day(lake, desk.ledger, DAY + timedelta(days=3), {"1": 100, "2": 100})
    assert said() == ("wait", ("1 of 2 labelled days seen",))
    apart = lake.read("predictions", DAY + timedelta(days=3), DAY + timedelta(days=3))
    for number in (3, 4):
        rows = apart.assign(_key=apart["version"] + apart["_key"]).drop(columns=["_day", "_part"])
        labelled_day(lake, desk.ledger, DAY + timedelta(days=number), {"1": 100, "2": 100})
        lake.write("predictions", DAY + timedelta(days=number), rows, part="batch")
    assert said()[0] == "wait"


def test_first_version_bakes_without_a_comparison(desk: Desk, tmp_path: Path) -> None:
    desk.request("1")
    desk.answer("1")
    with pytest.raises(TransitionError, match=r"is 'approved', not live\. It cannot be baked\."):
        releasing.watch_bake("1", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=DeltaLake(str(tmp_path), "m"))
    desk.live("1")
    lake = DeltaLake(str(tmp_path), "m")
    for number in (1, 2):
        labelled_day(lake, desk.ledger, DAY + timedelta(days=number), {"1": 100})
    report = releasing.watch_bake("1", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=lake)
    assert (report.outcome, report.reasons) == ("pass", ("2 labelled days, no champion before to compare",))


def test_business_day_is_the_last_with_an_accepted_batch(tmp_path: Path) -> None:
    lake = DeltaLake(str(tmp_path), "m")
    assert releasing.business_day(lake, DAY) == DAY
    for number in (1, 5):
        lake.write("batches", DAY + timedelta(days=number), pd.DataFrame({"_key": ["a"]}))
    assert releasing.business_day(lake, DAY) == DAY + timedelta(days=5)
    assert releasing.business_day(lake, DAY + timedelta(days=9)) == DAY + timedelta(days=9)


def test_version_whose_release_has_ended_is_released_again(desk: Desk) -> None:
    desk.released("1")
    desk.released("2")
    desk.request_again("1")
    assert desk.routing == Routing(sequence=desk.routing.sequence, champion="2")
    desk.answer("1")
    desk.live("1")
    assert (desk.routing.champion, desk.routing.previous) == ("1", "2")
    desk.back("1")
    assert desk.routing.champion == "2"


def test_rollback_of_the_champion_does_not_forget_one_that_is_on_trial_again(desk: Desk) -> None:
    """Version 1 was champion before version 2, and is a challenger when version 2 is rolled back."""
    desk.released("1")
    desk.released("2")
    desk.request_again("1")
    desk.answer("1")
    desk.step("1", CANARY)
    desk.back("2")
    assert (desk.routing.champion, desk.routing.challenger) == ("1", None)


def test_champion_cannot_be_released_again(desk: Desk) -> None:
    desk.released("1")
    with pytest.raises(TransitionError, match="champion already"):
        desk.request_again("1")


def test_request_that_is_repeated_after_the_release_has_ended_changes_nothing(desk: Desk) -> None:
    desk.released("1")
    desk.released("2")
    before = desk.ledger.head("release")
    desk.request("1")
    assert desk.ledger.head("release") == before
