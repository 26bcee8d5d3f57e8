"""The steps of a release on a real ledger and a registry: repeated, refused, mirrored, judged."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from doubles import FLIGHTS, tiny_rows, tiny_training
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.lake_traffic import LakeTraffic
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.traffic_log import FileTrafficLog, PredictedRow, TrafficWriter
from trimtab.domain.guards import ArmTraffic, GuardReport, Quality
from trimtab.domain.journal import Draft
from trimtab.domain.latency import latency_bin
from trimtab.domain.memory import MemoryUse
from trimtab.domain.release import Routing, routing
from trimtab.domain.sequential import Moments
from trimtab.domain.spec import GuardsSpec, LabelSpec, ReleaseSpec, StepSpec
from trimtab.errors import MemoryTrialError, TransitionError
from trimtab.stages import release as releasing
from trimtab.stages.bake import watch_bake
from trimtab.stages.memory import measure_memory
from trimtab.stages.step_evidence import step_quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trimtab.adapters.sql_ledger import SqlLedger
    from trimtab.domain.columns import Columns
    from trimtab.domain.journal import Payload
    from trimtab.domain.ports import Package
    from trimtab.stages.golden import GoldenResult

DAY = date(2013, 3, 1)
SHADOW, CANARY = StepSpec(name="shadow", share=0, requests=10), StepSpec(name="canary", share=0.5, requests=10)
SPEC = ReleaseSpec(steps=(SHADOW, CANARY), bake_days=2, guards=GuardsSpec(memory_ratio=None))
LABEL = LabelSpec(column="air_time")
ROWS = load_folder(FLIGHTS).spec.rows


class Traffic:
    """Traffic as it is told."""

    def __init__(self, **arms: ArmTraffic) -> None:
        self._arms = {name.removeprefix("v"): arm for name, arm in arms.items()}
        self.asked: list[Routing] = []

    def arms(self, routing: Routing) -> "Mapping[str, ArmTraffic]":
        self.asked.append(routing)
        return self._arms


def arm(requests: int, *, failures: int = 0, milliseconds: float = 1.0, mean: float = 0.0) -> ArmTraffic:
    """Calls of one length, and predictions that are spread evenly around their mean."""
    return ArmTraffic(
        requests=requests,
        failures=failures,
        latencies={latency_bin(milliseconds): requests},
        outputs=Moments.of(np.linspace(mean - 1, mean + 1, requests)),
    )


class Desk:
    """Somebody who releases versions."""

    def __init__(self, ledger: "SqlLedger", registry: FolderRegistry, lake: DeltaLake) -> None:
        self.ledger, self.registry, self.lake = ledger, registry, lake
        self.traffic = Traffic()
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
        releasing.begin_step(version, step, as_of=DAY, **self.stores, traffic=self.traffic)

    def watch(self, version: str, step: StepSpec, quality: Quality | None = None) -> GuardReport:
        return releasing.watch_step(
            version, step, spec=SPEC, ledger=self.ledger, traffic=self.traffic, quality=quality or Quality()
        )

    def hold(self, version: str, actor: str = "ann") -> None:
        releasing.hold_release(version, as_of=DAY, actor=actor, reason="lunch", **self.stores)

    def resume(self, version: str) -> None:
        releasing.resume_release(version, as_of=DAY, actor="ann", reason="back", **self.stores)

    def live(self, version: str, day: date = DAY) -> None:
        releasing.go_live(version, as_of=day, reason="why", **self.stores, lake=self.lake, rows=ROWS)

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
    return Desk(ledger, registry, DeltaLake(str(tmp_path / "lake"), "flight_air_time"))


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


def in_shadow(desk: Desk) -> None:
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.step("2", SHADOW)


def test_step_is_judged_on_the_traffic_of_its_own_routing(desk: Desk) -> None:
    in_shadow(desk)
    desk.traffic = Traffic(v1=arm(100), v2=arm(100))
    assert desk.watch("2", SHADOW).outcome == "pass"
    assert desk.traffic.asked == [Routing(sequence=7, champion="1", challenger="2")]
    with pytest.raises(TransitionError, match="is 'step shadow', not in step 'canary'"):
        desk.watch("2", CANARY)
    desk.live("2")
    desk.traffic = Traffic()
    again = desk.watch("2", SHADOW)
    assert (again.outcome, again.reasons) == ("pass", ("the release is beyond this step",))


def test_step_keeps_what_the_step_before_has_shown_and_its_guards_know_the_shadow(desk: Desk) -> None:
    in_shadow(desk)
    desk.traffic = Traffic(v1=arm(400, mean=10), v2=arm(400, failures=1, mean=10.5))
    desk.step("2", CANARY)
    entry = desk.ledger.entries("release", "2")[-1]
    assert entry.payload["evidence"] == {
        "step": "shadow",
        "champion": {"requests": 400, "failures": 0, "latency_ms_p50": pytest.approx(1, rel=0.02)},
        "challenger": {"requests": 400, "failures": 1, "latency_ms_p50": pytest.approx(1, rel=0.02)},
    }
    desk.traffic = Traffic(v1=arm(400, mean=20), v2=arm(400, mean=20.5))
    assert desk.watch("2", CANARY).outcome == "pass"
    desk.traffic = Traffic(v1=arm(400, mean=20), v2=arm(400, mean=25))
    report = desk.watch("2", CANARY)
    assert (report.outcome, report.reasons) == ("trip", ("outputs: +5 against the champion's, +0.5 in the shadow",))


def test_rollback_keeps_how_many_rows_the_challenger_had_answered(desk: Desk) -> None:
    in_shadow(desk)
    desk.step("2", CANARY)
    traffic = Traffic(v1=arm(400), v2=arm(20, failures=9))
    releasing.roll_back("2", as_of=DAY, actor="guard", reason="failures", **desk.stores, traffic=traffic)
    evidence = desk.ledger.entries("release", "2")[-1].payload["evidence"]
    assert isinstance(evidence, dict)
    assert evidence["challenger"] == {"requests": 20, "failures": 9, "latency_ms_p50": pytest.approx(1, rel=0.02)}


def test_release_that_a_person_holds_waits_whatever_the_guards_say_and_still_trips(desk: Desk) -> None:
    in_shadow(desk)
    desk.hold("2")
    desk.hold("2")
    desk.traffic = Traffic(v1=arm(100), v2=arm(100))
    assert desk.watch("2", SHADOW).reasons == ("held by ann: lunch",)
    with pytest.raises(TransitionError, match="is held at 'step' by ann and cannot become 'step'"):
        desk.step("2", CANARY)
    desk.traffic = Traffic(v1=arm(100), v2=arm(100, failures=60))
    assert desk.watch("2", SHADOW).outcome == "trip"
    desk.resume("2")
    desk.resume("2")
    assert desk.kinds[-2:] == [("2", "held"), ("2", "resumed")]
    desk.traffic = Traffic(v1=arm(100), v2=arm(100))
    assert desk.watch("2", SHADOW).outcome == "pass"


def test_release_that_a_guard_holds_passes_with_the_evidence_that_it_lacked(desk: Desk) -> None:
    in_shadow(desk)
    desk.hold("2", actor="guard")
    assert desk.watch("2", SHADOW).outcome == "wait"
    desk.traffic = Traffic(v1=arm(100), v2=arm(100))
    assert desk.watch("2", SHADOW).outcome == "pass"


def test_person_may_let_a_release_go_on_that_a_guard_holds_for_want_of_evidence(desk: Desk) -> None:
    in_shadow(desk)
    desk.hold("2")
    desk.resume("2")
    assert desk.watch("2", SHADOW).outcome == "wait", "what a person has held waits for its evidence again"
    desk.hold("2", actor="guard")
    desk.resume("2")
    report = desk.watch("2", SHADOW)
    assert report.outcome == "pass"
    assert report.reasons[0].startswith("ann lets it go on without the evidence: failures: 0 of 0 rows failed")
    desk.step("2", CANARY)
    assert desk.watch("2", CANARY).outcome == "wait", "the next step asks for its own"


def test_step_of_a_release_that_has_ended_says_who_ended_it(desk: Desk) -> None:
    in_shadow(desk)
    desk.back("2")
    with pytest.raises(TransitionError, match=r"^Release of version 2 has ended: rolled_back, worse\.$"):
        desk.watch("2", SHADOW)


def test_second_release_replaces_the_first_where_the_spec_says_so_unless_it_is_live(desk: Desk) -> None:
    in_shadow(desk)
    releasing.request_release("3", as_of=DAY, reason="newer", second="replace", **desk.stores)
    assert desk.kinds[-2:] == [("2", "rolled_back"), ("3", "requested")]
    desk.answer("3")
    desk.live("3")
    with pytest.raises(TransitionError, match="cannot begin while that of version 3 is on its way"):
        releasing.request_release("2", as_of=DAY, reason="newest", second="replace", **desk.stores)


def flights_of(day: date, lake: DeltaLake) -> None:
    columns, _ = tiny_rows(1, 50)
    rows = pd.DataFrame(dict(columns)).astype({"tailnum": object})
    lake.write("batches", day, rows.assign(_key=[str(number) for number in range(len(rows))]))


def verify(desk: Desk, version: str) -> "GoldenResult | None":
    def clock() -> datetime:
        return desk.ledger.entries("release")[-1].recorded_at + timedelta(seconds=3)

    return releasing.verify_rollback(version, as_of=DAY, lake=desk.lake, rows=ROWS, clock=clock, **desk.stores)


def test_rollback_is_checked_on_rows_whose_predictions_are_known(desk: Desk) -> None:
    flights_of(DAY, desk.lake)
    desk.released("1")
    in_second = ("requested", "approved", "live")
    desk.request("2")
    desk.answer("2")
    desk.live("2")
    assert desk.kinds[-3:] == [("2", kind) for kind in in_second]
    desk.back("2")
    found = verify(desk, "2")
    assert found is not None
    assert (found.version, found.rows, found.agree) == ("1", 20, 20)
    entry = desk.ledger.entries("release")[-1]
    assert (entry.kind, entry.subject, entry.payload["seconds"]) == ("verified", "2", 3.0)
    assert entry.payload["reason"] == (
        "version 1 predicts 20 of 20 golden rows as it did when it went live, checked 3.0 s after the rollback"
    )
    verify(desk, "2")
    assert desk.ledger.entries("release")[-1] == entry, "a check that is repeated leaves no second entry"
    assert (desk.routing.champion, desk.routing.challenger) == ("1", None)


def test_golden_rows_that_another_model_would_predict_do_not_agree(desk: Desk) -> None:
    flights_of(DAY, desk.lake)
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.live("2")
    desk.back("2")
    rows = desk.lake.read("batches", DAY, DAY).drop(columns=["_day", "_part"])
    desk.lake.write("batches", DAY, rows.assign(distance=rows["distance"] * 10))
    found = verify(desk, "2")
    assert found is not None
    assert found.agree < found.rows


def test_rollback_without_known_rows_says_so(desk: Desk) -> None:
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.live("2")
    desk.back("2")
    found = verify(desk, "2")
    assert found is not None
    assert found.sentence == "version 1 has no golden row to compare"


def scored(desk: Desk, day: date, new_failures: int = 0, rows: int = 300) -> None:
    """A batch as the stage `score` leaves it."""
    route = desk.routing
    keys = [str(number) for number in range(rows)]
    served = np.array([route.arm(key) == "challenger" for key in keys])
    values = np.linspace(0, 1, rows)
    works = np.cumsum(served | (route.share == 0)) > new_failures
    frame = pd.DataFrame({"_key": keys, "route": route.sequence, "request_id": None})
    frames = [
        frame.assign(version="1", prediction=values, served=~served),
        frame.assign(version="2", prediction=values, served=served)[works],
    ]
    desk.lake.write("predictions", day, pd.concat(frames), part="batch")


def test_batch_model_is_judged_on_the_rows_that_were_scored_in_the_lake(desk: Desk) -> None:
    in_shadow(desk)
    spec = SPEC.model_copy(update={"traffic": "batch"})
    traffic = LakeTraffic(desk.lake, desk.ledger)

    def judged(step: StepSpec) -> GuardReport:
        return releasing.watch_step("2", step, spec=spec, ledger=desk.ledger, traffic=traffic, quality=Quality())

    assert judged(SHADOW).outcome == "wait"
    scored(desk, DAY)
    assert judged(SHADOW).outcome == "pass"
    desk.traffic = traffic  # type: ignore[assignment]
    desk.step("2", CANARY)
    assert judged(CANARY).outcome == "wait", "the rows of the shadow are not those of the canary"
    scored(desk, DAY + timedelta(days=1), new_failures=40)
    arms = traffic.arms(desk.routing)
    assert arms["1"].requests + arms["2"].requests == 300
    assert (arms["1"].failures, arms["2"].failures) == (0, 40)
    assert judged(CANARY).outcome == "trip"


def test_labels_of_a_step_are_compared_by_row_where_both_versions_predicted_it(desk: Desk) -> None:
    in_shadow(desk)
    scored(desk, DAY, rows=40)
    assert len(step_quality("2", ledger=desk.ledger, lake=desk.lake, label=LABEL).paired) == 0
    desk.lake.write("labels", DAY, pd.DataFrame({"_key": [str(n) for n in range(30)], "label": 5.0}))
    payload: Payload = {version: {"interaction": {"rows": 40, "retry": n}} for n, version in enumerate(("1", "2"))}
    draft = Draft(stream="feedback", subject=DAY.isoformat(), kind="measured", as_of=DAY, payload=payload)
    desk.ledger.append(draft, after=0)
    quality = step_quality("2", ledger=desk.ledger, lake=desk.lake, label=LABEL)
    assert quality.paired.tolist() == [0.0] * 30
    assert [one.retry for one in quality.interactions] == [0, 1]
    desk.back("2")
    assert len(step_quality("2", ledger=desk.ledger, lake=desk.lake, label=LABEL).paired) == 0


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
        before = watch_bake("2", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=lake)
        if number < 3:
            assert before.reasons == (f"{number - 1} of 2 labelled days seen",)
        labelled_day(lake, desk.ledger, DAY + timedelta(days=number), {"1": 105, "2": new})
    report = watch_bake("2", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=lake)
    assert report.outcome == outcome
    assert report.reasons[0].endswith("of version 1 on 120 rows of 3 days")


def test_baking_waits_while_the_two_versions_have_not_met_on_two_days(desk: Desk, tmp_path: Path) -> None:
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.live("2")
    lake = DeltaLake(str(tmp_path), "m")

    def said() -> tuple[str, tuple[str, ...]]:
        report = watch_bake("2", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=lake)
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
        watch_bake("1", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=DeltaLake(str(tmp_path), "m"))
    desk.live("1")
    lake = DeltaLake(str(tmp_path), "m")
    for number in (1, 2):
        labelled_day(lake, desk.ledger, DAY + timedelta(days=number), {"1": 100})
    report = watch_bake("1", spec=SPEC, label=LABEL, ledger=desk.ledger, lake=lake)
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


@pytest.mark.parametrize(("failing", "outcome"), [(0, "pass"), (30, "trip")])
def test_guards_read_what_the_service_has_written_down(desk: Desk, tmp_path: Path, failing: int, outcome: str) -> None:
    in_shadow(desk)
    desk.step("2", CANARY)
    route, rows = desk.routing, []
    for number in range(400):
        new = route.arm(str(number)) == "challenger"
        fails = new and number < 2 * failing
        row = PredictedRow(
            request_id=str(number),
            key=str(number),
            day=DAY.isoformat(),
            version="2" if new else "1",
            arm="challenger" if new else "champion",
            served=not fails,
            route=route.sequence,
            prediction=None if fails else 1.0 + number % 7,
            error="planted" if fails else None,
            latency_ms=5 + number % 3,
        )
        rows.append(row)
        if fails:  # the champion takes over
            rows.append(replace(row, version="1", arm="champion", served=True, prediction=1.0, error=None))
    TrafficWriter(tmp_path, "m", "w", lambda: datetime(2026, 1, 2, tzinfo=UTC)).write(rows)
    desk.traffic = FileTrafficLog(tmp_path, "m")  # type: ignore[assignment]
    arms = desk.traffic.arms(route)
    assert sum(arm.requests for arm in arms.values()) == 400, "a row that was taken over counts once"
    assert desk.watch("2", CANARY).outcome == outcome


class Trial:
    """Memory as it is told, version by version; of an error, so many times."""

    def __init__(self, *uses: MemoryUse | MemoryTrialError) -> None:
        self._uses = list(uses)
        self.rows: list[int] = []

    def measure(self, package: "Package", rows: "Columns") -> MemoryUse:
        assert package
        self.rows.append(len(rows["distance"]))
        told = self._uses.pop(0)
        if isinstance(told, MemoryTrialError):
            raise told
        return told


def measured(desk: Desk, trial: Trial) -> "Payload":
    return measure_memory("2", guards=GuardsSpec(), lake=desk.lake, rows=ROWS, trial=trial, **desk.stores)


def watched(desk: Desk, step: StepSpec) -> GuardReport:
    spec = SPEC.model_copy(update={"guards": GuardsSpec()})
    return releasing.watch_step("2", step, spec=spec, ledger=desk.ledger, traffic=desk.traffic, quality=Quality())


def test_memory_is_measured_once_in_a_release_and_kept_with_its_first_step(desk: Desk) -> None:
    flights_of(DAY, desk.lake)
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.traffic = Traffic(v1=arm(100), v2=arm(100))
    trial = Trial(MemoryUse(peak=200, growth=0.0, calls=9), MemoryUse(peak=400, growth=0.5, calls=9))
    kept = measured(desk, trial)
    assert trial.rows == [50, 50]
    releasing.begin_step("2", SHADOW, as_of=DAY, traffic=desk.traffic, measured=kept, **desk.stores)
    assert desk.ledger.entries("release")[-1].payload["memory"] == {
        "champion": {"peak": 200, "growth": 0.0, "calls": 9},
        "challenger": {"peak": 400, "growth": 0.5, "calls": 9},
    }
    assert measured(desk, trial) == {}
    assert watched(desk, SHADOW).outcome == "trip"
    desk.step("2", CANARY)
    assert watched(desk, CANARY).outcome == "trip"
    desk.back("2")
    desk.request_again("2")
    assert "memory" in measured(desk, Trial(*[MemoryUse(peak=200, growth=0.0, calls=9)] * 2)), "another release"


def test_memory_that_could_not_be_measured_is_tried_again_and_then_waits(desk: Desk) -> None:
    flights_of(DAY, desk.lake)
    desk.released("1")
    desk.request("2")
    desk.answer("2")
    desk.traffic = Traffic(v1=arm(100), v2=arm(100))
    once = Trial(MemoryTrialError("killed"), *[MemoryUse(peak=200, growth=0.0, calls=9)] * 2)
    assert isinstance(measured(desk, once)["memory"], dict)
    kept = measured(desk, Trial(*[MemoryTrialError("killed")] * 2))
    releasing.begin_step("2", SHADOW, as_of=DAY, traffic=desk.traffic, measured=kept, **desk.stores)
    assert watched(desk, SHADOW) == GuardReport(outcome="wait", reasons=("memory: killed",))
    assert "memory" in measured(desk, Trial(*[MemoryUse(peak=200, growth=0.0, calls=9)] * 2)), "the next step tries"


def test_memory_without_rows_to_predict_waits(desk: Desk) -> None:
    desk.released("1")
    desk.request("2")
    assert measured(desk, Trial()) == {"memory": "no batch was accepted yet that both versions could predict"}
