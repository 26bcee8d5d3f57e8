"""Stages one by one on real stores: what they write, what they refuse, and what a repetition meets."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from doubles import FLIGHTS, tiny_rows, tiny_training
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.model_folder import load_folder
from trimtab.domain.columns import Columns, row_keys
from trimtab.domain.journal import Draft, Payload, Stream
from trimtab.domain.metrics import DayErrors
from trimtab.domain.ports import BATCH, RawBatch, Source
from trimtab.domain.profiles import LABEL as LABEL_COLUMN
from trimtab.domain.profiles import PREDICTION, total
from trimtab.domain.release import Routing
from trimtab.domain.retraining import Action, RetrainDecision, Trigger
from trimtab.domain.spec import LabelSpec, MonitorSpec, RetrainSpec, RowsSpec, SliceSpec, TrainSpec
from trimtab.domain.verdict import Status
from trimtab.errors import DataContractError, NotFoundError, RegistryUnavailableError
from trimtab.stages.feedback import feedback
from trimtab.stages.frames import columns_of
from trimtab.stages.judge import LOOK_BACK_DAYS, judge
from trimtab.stages.profile_batch import profile_batch, profile_json, slices_json
from trimtab.stages.recalibrate import Recalibration
from trimtab.stages.recall import Recall
from trimtab.stages.register import register
from trimtab.stages.retrain import Corrected, open_incident, retrain
from trimtab.stages.score import score
from trimtab.stages.snapshot import snapshot, snapshot_from, snapshot_payload

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

SPEC = load_folder(FLIGHTS).spec
ROWS = SPEC.rows
DAY = date(2013, 3, 1)
LABEL = LabelSpec(column="air_time", delay_days=1)
STALE = {"days": 7, "share": 0.3, "p_value": 0.001, "stale": True}


def no_feature(rows: Columns) -> Columns:
    """Slices of columns of the row do not need the features."""
    raise AssertionError("the features were computed")


def batch(seed: int, rows: int = 30) -> pd.DataFrame:
    """Flights as `batches` holds them, each with a key of its own."""
    columns = {**tiny_rows(seed, rows)[0], "flight": np.arange(rows, dtype=np.float64)}
    return pd.DataFrame({"_row": np.arange(rows), "_key": row_keys(columns, ROWS.key), **columns})


@dataclass
class Fixed:
    """A source whose days are given."""

    days: dict[date, pd.DataFrame] = field(default_factory=dict)

    def is_ready(self, day: date) -> bool:
        return day in self.days

    def read(self, day: date, columns: Sequence[str]) -> RawBatch:
        return RawBatch(rows=self.days[day][["_row", *columns]].astype(object), broken=())


class Stage:
    """Stores of one model, with two versions in the registry."""

    def __init__(self, lake: DeltaLake, ledger: "SqlLedger", registry: FolderRegistry) -> None:
        self.lake, self.ledger, self.registry = lake, ledger, registry
        self.stores: dict[str, Any] = {"lake": lake, "ledger": ledger, "registry": registry}

    def note(self, stream: Stream, subject: str, kind: str, as_of: date = DAY, **payload: Any) -> int:
        after = self.ledger.head(stream)
        draft = Draft(stream=stream, subject=subject, kind=kind, as_of=as_of, payload=dict(payload))
        return self.ledger.append(draft, after=after).sequence

    def live(self, version: str, day: date, previous: str | None = None) -> None:
        self.note("release", version, "requested", day, previous=previous)
        for kind in ("approved", "live"):
            self.note("release", version, kind, day)


@pytest.fixture
def stage(ledger: "SqlLedger", tmp_path: Path) -> Stage:
    registry = FolderRegistry(tmp_path / "registry", SPEC.name)
    for seed in (1, 2):
        registry.register(registry.log_training(tiny_training(seed)).run_id, {})
    return Stage(DeltaLake(str(tmp_path / "lake"), SPEC.name), ledger, registry)


def test_without_a_champion_nothing_is_predicted_profiled_or_judged(stage: Stage) -> None:
    stage.lake.write("batches", DAY, batch(0))
    assert score(DAY, **stage.stores, rows=ROWS).versions == ()
    assert profile_batch(DAY, **stage.stores, rows=ROWS).version is None
    verdict = judge(DAY, **stage.stores, monitor=MonitorSpec())
    assert verdict.status is Status.NOT_ENOUGH_DATA
    assert stage.ledger.entries("verdict")[0].payload["summary"] == "The model has no champion yet."
    assert stage.lake.version("predictions") == stage.lake.version("profiles") == -1


def test_version_that_goes_live_on_a_day_scores_from_the_next_day_on_also_years_later(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=5))
    stage.note("release", "1", "done", DAY - timedelta(days=3))
    for number in (0, 1):
        stage.lake.write("batches", DAY + timedelta(days=number), batch(number))
    first = score(DAY, **stage.stores, rows=ROWS)
    stage.live("2", DAY, previous="1")
    assert (first.champion, first.versions) == ("1", ("1",))
    again = score(DAY, **stage.stores, rows=ROWS)
    assert again == first
    following = score(DAY + timedelta(days=1), **stage.stores, rows=ROWS)
    assert (following.champion, following.versions) == ("2", ("2", "1"))
    rows = stage.lake.read("predictions", DAY + timedelta(days=1), DAY + timedelta(days=1))
    by_version = {version: (set(group["arm"]), set(group["served"])) for version, group in rows.groupby("version")}
    assert by_version == {"2": ({"champion"}, {True}), "1": ({"shadow"}, {False})}


def test_each_row_is_served_by_exactly_one_version_in_a_canary(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=5))
    stage.note("release", "1", "done", DAY - timedelta(days=4))
    stage.note("release", "2", "requested", DAY - timedelta(days=2), previous="1")
    stage.note("release", "2", "approved", DAY - timedelta(days=2))
    sequence = stage.note("release", "2", "step", DAY - timedelta(days=1), step="canary", share=0.5)
    stage.lake.write("batches", DAY, batch(0, rows=200))
    score(DAY, **stage.stores, rows=ROWS)
    found = stage.lake.read("predictions", DAY, DAY)
    served = found[found["served"]]
    assert len(found) == 400
    assert sorted(served["_key"]) == sorted(set(found["_key"]))
    assert set(found["route"]) == {sequence}
    route = Routing(sequence=sequence, champion="1", challenger="2", share=0.5)
    assert all(arm == route.arm(key) for key, arm in zip(served["_key"], served["arm"], strict=True))
    assert 60 < (served["arm"] == "challenger").sum() < 140


def test_profile_counts_features_and_the_predictions_of_the_champion(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=5))
    stage.lake.write("batches", DAY, batch(0))
    score(DAY, **stage.stores, rows=ROWS)
    assert profile_batch(DAY, **stage.stores, rows=ROWS).rows == 30
    (row,) = stage.lake.read("profiles", DAY, DAY).to_dict("records")
    assert row["version"] == "1"
    counted = profile_json.validate_json(row["profile"])
    assert set(counted.columns) == {*SPEC.features.numeric, *SPEC.features.categorical, PREDICTION}
    carriers = [
        one.rows for name, one in slices_json.validate_json(row["slices"]).items() if name.startswith("carrier=")
    ]
    assert sum(carriers) == counted.columns[PREDICTION].rows == 30
    stage.lake.write("batches", DAY, pd.DataFrame())
    assert profile_batch(DAY, **stage.stores, rows=ROWS).rows == 0
    assert stage.lake.days("profiles") == []


def measured(stage: Stage, day: date, loss: float, version: str = "1") -> None:
    stage.note(
        "feedback",
        day.isoformat(),
        "measured",
        day + timedelta(days=1),
        **{version: {"rows": 30, "loss": loss, "bias": 0.0, "slices": {}}},
    )


def test_labels_that_stopped_coming_are_no_ok(stage: Stage) -> None:
    """The tiny model's reference has one day; what counts here is how many days were seen."""
    stage.live("1", DAY - timedelta(days=9))
    for number in range(8):
        measured(stage, DAY - timedelta(days=number + 1), 5.0)

    def seen(day: date) -> list[bool]:
        verdict = judge(day, **stage.stores, monitor=MonitorSpec())
        return [finding.value is not None for finding in verdict.findings if finding.kind == "error"]

    assert seen(DAY) == [True, True, False]
    assert seen(DAY + timedelta(days=LOOK_BACK_DAYS - 5)) == [True, False, False]
    assert seen(DAY + timedelta(days=LOOK_BACK_DAYS + 1)) == [False, False, False]


def test_label_of_later_arrival_is_not_known_on_the_day(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=9))
    measured(stage, DAY, 5.0)
    findings = judge(DAY, **stage.stores, monitor=MonitorSpec()).findings
    assert [one.value for one in findings if one.kind == "error"] == [None, None, None]
    findings = judge(DAY + timedelta(days=1), **stage.stores, monitor=MonitorSpec()).findings
    assert next(one.value for one in findings if one.kind == "error") == pytest.approx(5.0)


def verdict_of(stage: Stage, kind: str, day: date = DAY, **payload: Any) -> None:
    stage.note("verdict", day.isoformat(), kind, day, summary="numbers", **payload)


def decide(stage: Stage, day: date = DAY, **arguments: Any) -> RetrainDecision:
    return retrain(day, ledger=stage.ledger, train=SPEC.train, monitor=MonitorSpec(), **arguments)


def test_day_that_was_not_judged_has_no_decision(stage: Stage) -> None:
    with pytest.raises(NotFoundError) as told:
        decide(stage, policy=RetrainSpec())
    assert str(told.value) == "2013-03-01 has no verdict. Run the task 'judge' of that day first."


def test_decision_is_made_once_for_a_verdict_whatever_has_happened_since(stage: Stage) -> None:
    verdict_of(stage, "decay")
    first = decide(stage, policy=RetrainSpec())
    assert first.action is Action.RETRAIN
    stage.note("release", "2", "requested", DAY)
    assert decide(stage, policy=RetrainSpec()) == first
    assert len(stage.ledger.entries("retraining")) == 1
    verdict_of(stage, "ok")
    assert decide(stage, policy=RetrainSpec()).action is Action.NOTHING
    assert [entry.kind for entry in stage.ledger.entries("retraining")] == ["retrain", "nothing"]


def test_decision_counts_earlier_retrainings_and_open_releases(stage: Stage) -> None:
    stage.note("retraining", "2013-02-25", "retrain", date(2013, 2, 25))
    verdict_of(stage, "decay", staleness={"days": 7, "share": 0.3, "p_value": 0.001, "stale": True})
    decision = decide(stage, policy=RetrainSpec(cooldown_days=7))
    assert (decision.action, decision.reason) == (
        Action.NOTHING,
        "retrained on 2013-02-25, and the wait is 7 days (the model is stale: a shift by the errors of the week before saves 30% of the loss "
        "(p = 0.001))",
    )


def test_former_champion_is_preferred_to_a_training_and_begins_a_cooldown(stage: Stage) -> None:
    better = Recall(version="1", reason="version 1 was better")
    stale = {"days": 7, "share": 0.3, "p_value": 0.001, "stale": True}
    verdict_of(stage, "decay", staleness=stale)
    decision = decide(stage, policy=RetrainSpec(), former=lambda in_place_of_training: better)
    assert (decision.action, decision.version) == (Action.RECALL, "1")
    assert decision.reason == (
        "version 1 was better: the model is stale: "
        "a shift by the errors of the week before saves 30% of the loss (p = 0.001)"
    )
    assert decide(stage, policy=RetrainSpec()) == decision
    verdict_of(stage, "decay", DAY + timedelta(days=6), staleness=stale)
    assert decide(stage, DAY + timedelta(days=6), policy=RetrainSpec()).action is Action.NOTHING


def corrected(version: str | None, reason: str = "it has helped") -> Corrected:
    """A correction that comes to this, and is only asked with a reason."""

    def answer(why: str, *, in_place_of_training: bool) -> Recalibration:
        assert why
        said = f"{reason}{' more than a training' if in_place_of_training else ''}"
        return Recalibration(version=version, corrects="1", reason=said)

    return answer


def test_correction_of_the_level_is_preferred_to_a_training_and_begins_a_cooldown(stage: Stage) -> None:
    verdict_of(stage, "decay", staleness=STALE)
    decision = decide(stage, policy=RetrainSpec(), corrected=corrected("2"))
    assert (decision.action, decision.version, decision.corrects) == (Action.RECALIBRATE, "2", "1")
    assert decision.reason.startswith("it has helped more than a training: the model is stale: a shift by the errors")
    assert decide(stage, policy=RetrainSpec()) == decision
    for days, action in ((6, Action.NOTHING), (7, Action.RETRAIN)):
        verdict_of(stage, "decay", DAY + timedelta(days=days), staleness=STALE)
        assert decide(stage, DAY + timedelta(days=days), policy=RetrainSpec()).action is action


def test_correction_that_has_not_helped_leads_to_a_training_as_before(stage: Stage) -> None:
    verdict_of(stage, "decay", staleness=STALE)
    decision = decide(stage, policy=RetrainSpec(), corrected=corrected(None, "it has not helped"))
    assert (decision.action, decision.trigger) == (Action.RETRAIN, Trigger.STALE)
    assert decision.reason.endswith("(p = 0.001); no correction of the level: it has not helped more than a training")


def test_level_is_corrected_where_a_training_would_not_follow_or_triage_says_so(stage: Stage) -> None:
    verdict_of(stage, "decay", staleness=STALE)
    decision = decide(stage, policy=RetrainSpec(), doubt=lambda: "too long a window", corrected=corrected("2"))
    assert decision.reason == "it has helped: too long a window"
    prior = {"kind": "prior_shift", "advice": "recalibrate", "reasons": ["the label has moved"], "sudden": True}
    verdict_of(stage, "drift", DAY + timedelta(days=9), triage=prior)
    decision = decide(stage, DAY + timedelta(days=9), policy=RetrainSpec(), corrected=corrected("3"))
    assert (decision.action, decision.version) == (Action.RECALIBRATE, "3")
    assert decision.reason.startswith("it has helped: inputs or predictions moved while the errors did not")


@pytest.mark.parametrize(
    ("kind", "facts", "policy"),
    [
        ("ok", {}, RetrainSpec()),
        ("decay", {"staleness": STALE}, RetrainSpec(recalibrate=False)),
        ("decay", {"staleness": STALE, "triage": {"kind": "data_bug", "advice": "quarantine"}}, RetrainSpec()),
        ("ok", {}, RetrainSpec(every_days=1)),
    ],
)
def test_level_is_left_alone_where_nothing_accuses_it(
    stage: Stage, kind: str, facts: dict[str, Any], policy: RetrainSpec
) -> None:
    stage.live("1", DAY - timedelta(days=9))
    verdict_of(stage, kind, **facts)
    asked = decide(stage, policy=policy, corrected=lambda why, in_place_of_training: pytest.fail(why))
    assert asked.action is not Action.RECALIBRATE


def test_correction_that_the_gate_refused_is_not_tried_again_at_once(stage: Stage) -> None:
    stage.note("gate", "recalibration-0", "refused", DAY - timedelta(days=2))
    verdict_of(stage, "decay", staleness=STALE)
    decision = decide(stage, policy=RetrainSpec(), corrected=lambda why, in_place_of_training: pytest.fail(why))
    assert decision.action is Action.RETRAIN


def test_answer_about_a_correction_is_none_about_the_training_of_that_day(stage: Stage) -> None:
    """A vain trial 20 days ago has made the wait 28 days; were it counted as worth it, 7 days would do."""
    day = DAY - timedelta(days=20)
    stage.note("gate", "training", "refused", day, saving=-0.1)
    stage.note("gate", "recalibration-0", "promoted", day, saving=0.5)
    stage.note("retraining", day.isoformat(), "retrain", day, trigger="harder")
    verdict_of(stage, "decay")
    assert "the wait is 28 days" in decide(stage, policy=RetrainSpec()).reason


def test_age_of_a_corrected_champion_is_that_of_the_model_that_was_trained(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=40))
    for version, corrects, days in (("2", "1", 20), ("3", "2", 10)):
        day = DAY - timedelta(days=days)
        stage.note("retraining", day.isoformat(), "recalibrate", day, version=version, corrects=corrects)
        stage.live(version, day)
    verdict_of(stage, "ok")
    reason = decide(stage, policy=RetrainSpec(max_age_days=30)).reason
    assert "the champion is 40 days old, 30 are allowed" in reason


def test_former_champion_need_not_wait_as_a_training_does(stage: Stage) -> None:
    def former(*, in_place_of_training: bool) -> Recall | None:
        return None if in_place_of_training else Recall(version="1", reason="version 1 was better")

    stage.note("retraining", "2013-02-20", "retrain", date(2013, 2, 20))
    verdict_of(stage, "decay")
    decision = decide(stage, policy=RetrainSpec(), former=former)
    assert (decision.action, decision.version) == (Action.RECALL, "1")
    assert decision.reason.startswith("version 1 was better: retrained on 2013-02-20, and the wait is 14 days")


def test_former_champions_are_not_asked_where_nothing_is_to_be_done(stage: Stage) -> None:
    verdict_of(stage, "ok")
    decision = decide(stage, policy=RetrainSpec(), former=lambda in_place_of_training: pytest.fail("asked"))
    assert decision.action is Action.NOTHING


def test_blocked_batch_opens_an_incident_and_a_mended_one_does_not(stage: Stage) -> None:
    stage.note("batch", DAY.isoformat(), "blocked")
    verdict_of(stage, "decay")
    assert decide(stage, policy=RetrainSpec()).action is Action.INCIDENT
    stage.note("batch", DAY.isoformat(), "accepted")
    verdict_of(stage, "decay", again=True)
    assert decide(stage, policy=RetrainSpec()).action is Action.RETRAIN


def test_age_of_the_champion_counts_from_the_request_of_its_release(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=40))
    verdict_of(stage, "ok")
    decision = decide(stage, policy=RetrainSpec(max_age_days=40))
    # Its release has not ended, so nothing is begun; the age is named.
    assert decision.reason == "a release is on its way (the champion is 40 days old, 40 are allowed)"


def trial(stage: Stage, day: date, trigger: str, kind: str, saving: float | None) -> None:
    stage.note("retraining", day.isoformat(), "retrain", day, reason="", trigger=trigger)
    stage.note("gate", f"training of {day}", kind, day, saving=saving)


@pytest.mark.parametrize(
    ("kind", "saving", "action"),
    [("refused", -0.1, Action.NOTHING), ("promoted", 0.02, Action.NOTHING), ("promoted", 0.2, Action.RETRAIN)],
)
def test_trial_that_was_not_worth_it_makes_the_next_one_wait_longer(
    stage: Stage, kind: str, saving: float, action: Action
) -> None:
    trial(stage, DAY - timedelta(days=20), "harder", kind, saving)
    verdict_of(stage, "decay")
    decision = decide(stage, policy=RetrainSpec(harder_cooldown_days=14))
    assert decision.action is action
    if action is Action.NOTHING:
        assert decision.reason.startswith("retrained on 2013-02-09, and the wait is 28 days (the errors have grown")


def test_stale_model_is_left_where_a_training_could_not_follow(stage: Stage) -> None:
    verdict_of(stage, "decay", staleness={"days": 7, "share": 0.3, "p_value": 0.001, "stale": True}, findings=[])
    decision = decide(stage, policy=RetrainSpec(), doubt=lambda: "the window is too long")
    assert (decision.action, decision.reason) == (Action.NOTHING, "the window is too long")
    assert stage.ledger.entries("retraining")[-1].payload["reason"] == "the window is too long"


def test_champion_of_a_short_history_is_tried_again_when_its_data_have_doubled(stage: Stage) -> None:
    """It had ten days to learn from, of 28 that a training takes; a hold-out takes seven."""
    stage.note("batch", "2013-01-01", "accepted", date(2013, 1, 1))
    stage.live("1", date(2013, 1, 11))
    stage.note("release", "1", "done", date(2013, 1, 12))
    for day, action in ((date(2013, 1, 27), Action.NOTHING), (date(2013, 1, 28), Action.RETRAIN)):
        verdict_of(stage, "ok", day)
        assert decide(stage, day, policy=RetrainSpec()).action is action


def test_incident_is_opened_once(stage: Stage) -> None:
    for _ in range(2):
        open_incident(DAY, "why", ledger=stage.ledger)
    (incident,) = stage.ledger.entries("incident")
    assert (incident.subject, incident.kind, incident.payload["reason"]) == ("verdict 2013-03-01", "opened", "why")


TRAIN = TrainSpec(candidates=SPEC.train.candidates, holdout_days=3, min_rows=100)


def labels(stage: Stage, first: date, last: date, rows: int = 20) -> None:
    for number in range((last - first).days + 1):
        frame = pd.DataFrame({"_key": [str(row) for row in range(rows)], "label": 1.0})
        stage.lake.write("labels", first + timedelta(days=number), frame)
        stage.lake.write("batches", first + timedelta(days=number), frame[["_key"]])


def taken(stage: Stage, reason: str = "why", day: date = DAY, window_days: int | None = None) -> Any:
    return snapshot(
        day, lake=stage.lake, ledger=stage.ledger, train=TRAIN, label=LABEL, reason=reason, window_days=window_days
    )


def test_snapshot_pins_versions_and_a_repetition_gets_the_same(stage: Stage) -> None:
    labels(stage, DAY - timedelta(days=10), DAY - timedelta(days=2))
    first = taken(stage)
    assert first.rows == 6 * 20
    assert first.snapshot.last_labelled == DAY - timedelta(days=2)
    assert first.snapshot.holdout_first == DAY - timedelta(days=4)
    versions = (stage.lake.version("batches"), stage.lake.version("labels"))
    assert (first.snapshot.batches_version, first.snapshot.labels_version) == versions
    labels(stage, DAY - timedelta(days=1), DAY)
    assert taken(stage) == first
    other = taken(stage, reason="another")
    assert other.snapshot.labels_version > first.snapshot.labels_version
    assert other.snapshot.last_labelled == DAY - timedelta(days=1), "labels of the day itself have not come"
    assert len(stage.ledger.entries("training")) == 2


@pytest.mark.parametrize("window_days", [None, 83])
def test_snapshot_survives_its_json_form(stage: Stage, window_days: int | None) -> None:
    labels(stage, DAY - timedelta(days=10), DAY)
    found = taken(stage, window_days=window_days).snapshot
    payload: Payload = snapshot_payload(found)
    assert snapshot_from(payload) == found


def test_too_few_labels_are_no_snapshot(stage: Stage) -> None:
    assert taken(stage).reason == "there is no label of 2013-01-29 to 2013-02-28"
    labels(stage, DAY - timedelta(days=5), DAY - timedelta(days=1))
    few = taken(stage)
    assert (few.snapshot, few.reason) == (None, "40 labelled rows before the hold-out, 100 are needed")
    assert stage.ledger.entries("training") == []


def test_training_without_a_decision_of_the_gate_is_not_registered(stage: Stage) -> None:
    with pytest.raises(NotFoundError) as told:
        register("run1", "t1", ledger=stage.ledger, registry=stage.registry)
    assert str(told.value) == "The gate has not decided on training 't1'. Run the task 'gate' first."
    stage.note("gate", "t1", "refused", summary="Refuse: worse.")
    assert register("run1", "t1", ledger=stage.ledger, registry=stage.registry) == "1"
    assert stage.registry.state["versions"]["1"]["tags"] == {
        "trimtab.gate": "refused",
        "summary": "Refuse: worse.",
        "trimtab.as_of": "2013-03-01",
        "trimtab.training_id": "t1",
    }


def labelled(
    stage: Stage,
    *,
    rows: RowsSpec = ROWS,
    label: LabelSpec = LABEL,
    slices: Sequence[SliceSpec] = SPEC.slices,
    features: Callable[[Columns], Columns] = no_feature,
    minutes: object = "100",
    source: Source | None = None,
    as_of: date = DAY + timedelta(days=1),
) -> Any:
    found = batch(0)
    source = source or Fixed({DAY: found.astype(dict.fromkeys(ROWS.key, str)).assign(air_time=minutes)})
    return feedback(
        as_of,
        source=source,
        lake=stage.lake,
        ledger=stage.ledger,
        registry=stage.registry,
        rows=rows,
        label=label,
        slices=slices,
        features=features,
    )


def answer(
    stage: Stage, keys: Sequence[str], predictions: Sequence[float], number: int = 1, request: str = "a"
) -> None:
    """Answers of version 9 to one request, moved into the lake."""
    rows = pd.DataFrame(
        {
            "_day": DAY.isoformat(),
            "request_id": request,
            "row": range(len(keys)),
            "_key": keys,
            "version": "9",
            "arm": "champion",
            "served": True,
            "route": 3,
            "prediction": predictions,
            "at": "2026-01-02T03:04:05.000+00:00",
        }
    )
    stage.lake.append("predictions", rows, "online", log="told", number=number)


def say(stage: Stage, *said: tuple[int | None, str, str | None], number: int = 1) -> None:
    """Outcomes (row, kind, value) of request "a", a minute each, moved into the lake."""
    moments = [f"2026-01-03T00:{minute:02d}:00.000+00:00" for minute in range(len(said))]
    rows = pd.DataFrame(said, columns=["row", "kind", "value"]).astype({"row": "Int64"})
    rows = rows.assign(
        request_id="a", feedback_id=[str(one) for one in range(len(said))], at=moments, _day="2026-01-03"
    )
    stage.lake.append("outcomes", rows, "online", log="said", number=number)


def test_answers_of_the_service_are_measured_beside_the_batch(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=5))
    stage.lake.write("batches", DAY, batch(0))
    score(DAY, **stage.stores, rows=ROWS)
    keys = batch(0)["_key"].tolist()
    answer(stage, keys[:2], [110.0, 80.0])
    result = labelled(stage)
    assert (result.rows, result.labelled) == (30, 30)
    assert set(result.metrics) == {"1", "9"}
    (entry,) = stage.ledger.entries("feedback")
    online = entry.payload["9"]
    assert isinstance(online, dict)
    assert (online["rows"], online["loss"], online["bias"], online["loss_name"]) == (2, 15.0, -5.0, "MAE")
    assert online["metrics"] == {
        "mae": 15.0, "rmse": pytest.approx(250**0.5), "bias": -5.0, "pinball_10": 5.5, "pinball_90": 9.5
    }  # fmt: skip
    assert (entry.subject, entry.as_of) == ("2013-03-01", date(2013, 3, 2))
    assert online["interaction"] == {"rows": 2, "correction": 0, "override": 0, "retry": 0, "click": 0}
    labelled(stage)
    assert len(stage.ledger.entries("feedback")) == 1


def test_labels_are_counted_on_the_bins_of_the_champion_of_their_day_and_add_up(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=5))
    flights, following = batch(0).astype(dict.fromkeys(ROWS.key, str)), DAY + timedelta(days=1)
    minutes = {DAY: np.arange(90, 120), following: np.arange(95, 125)}
    source = Fixed({day: flights.assign(air_time=values.astype(str)) for day, values in minutes.items()})
    for day in minutes:
        stage.lake.write("batches", day, batch(0))
        score(day, **stage.stores, rows=ROWS)
        labelled(stage, source=source, as_of=day + timedelta(days=1))
    found = stage.lake.read("label_profiles", DAY, DAY + timedelta(days=1))
    assert found["version"].tolist() == ["1", "1"]
    week = total([profile_json.validate_json(one) for one in found["profile"]]).columns[LABEL_COLUMN]
    both = np.concatenate([*minutes.values()])
    assert (week.rows, week.missing) == (60, 0)
    assert (week.mean, week.sd) == (pytest.approx(both.mean()), pytest.approx(both.std(ddof=1)))
    slices = slices_json.validate_json(found["slices"].iloc[0])
    assert sum(one.rows for name, one in slices.items() if name.startswith("carrier=")) == 30

    for _ in range(2):
        judge(following, **stage.stores, monitor=MonitorSpec())
    (verdict,) = stage.ledger.entries("verdict")
    trained = stage.registry.describe("1").reference.labels
    assert trained is not None
    first = minutes[DAY].mean()
    assert str(verdict.payload["labels"]).startswith(
        f"Labels (1 day, 30 rows): mean {first:.4g}, in training {trained.mean:.4g}; "
    ), "those of the day itself come a day later"

    stage.lake.write("batches", DAY, pd.DataFrame())
    labelled(stage)
    left = stage.lake.read("label_profiles", DAY, DAY + timedelta(days=1))
    assert left["_day"].tolist() == [following.isoformat()], "those of a batch that was blocked are deleted"


def test_labels_of_a_day_without_a_champion_are_not_counted(stage: Stage) -> None:
    stage.lake.write("batches", DAY, batch(0))
    assert labelled(stage).labelled == 30
    assert stage.lake.days("label_profiles") == []


def test_registry_that_is_away_leaves_late_labels_to_be_taken_in_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.live("1", DAY - timedelta(days=5))
    stage.lake.write("batches", DAY, batch(0))
    score(DAY, **stage.stores, rows=ROWS)
    with monkeypatch.context() as patched:
        patched.setattr(FolderRegistry, "describe", away)
        with pytest.raises(RegistryUnavailableError):
            labelled(stage)
    assert stage.lake.days("labels") == []
    assert labelled(stage).labelled == 30
    assert stage.lake.days("label_profiles") == [DAY]


def away(*_: object) -> NoReturn:
    raise RegistryUnavailableError("planted")


def test_what_clients_said_labels_rows_that_the_source_leaves_out_and_is_counted(stage: Stage) -> None:
    stage.lake.write("batches", DAY, batch(0))
    keys = batch(0)["_key"].tolist()
    answer(stage, keys[:4], [110.0, 80.0, 100.0, 100.0])
    say(
        stage,
        (0, "label", "55"),  # the source knows better
        (1, "override", "1"),
        (1, "correction", "90"),
        (1, "label", "95"),  # a correction says more
        (2, "label", "not a number"),
        (None, "retry", None),
        (3, "click", None),
        (3, "click", None),
    )
    minutes = ["100", "NA", "NA", "100", *["NA"] * 26]
    result = labelled(stage, minutes=[None if one == "NA" else one for one in minutes])
    labels = stage.lake.read("labels", DAY, DAY)
    assert labels[["_key", "label"]].to_numpy().tolist() == [[keys[0], 100], [keys[1], 90], [keys[3], 100]]
    assert result.labelled == 3
    (entry,) = stage.ledger.entries("feedback")
    online = entry.payload["9"]
    assert isinstance(online, dict)
    assert online["interaction"] == {"rows": 4, "correction": 1, "override": 1, "retry": 4, "click": 1}
    labelled(stage, minutes=[None if one == "NA" else one for one in minutes])
    assert len(stage.ledger.entries("feedback")) == 1


def test_outcome_that_is_sent_again_counts_once_and_the_last_value_holds(stage: Stage) -> None:
    stage.lake.write("batches", DAY, batch(0))
    keys = batch(0)["_key"].tolist()
    answer(stage, keys[:1], [110.0])
    for number, value in enumerate(("90", "90", "91"), 1):
        rows = pd.DataFrame({"request_id": ["a"], "row": pd.array([0], "Int64"), "kind": "label", "value": value})
        at = f"2026-01-03T00:0{number}:00.000+00:00"
        rows = rows.assign(feedback_id="one", at=at, _day="2026-01-03")
        stage.lake.append("outcomes", rows, "online", log="said", number=number)
    labelled(stage, minutes=None)
    assert stage.lake.read("labels", DAY, DAY)["label"].tolist() == [91]


def test_label_that_a_binary_model_cannot_have_is_passed_over(stage: Stage) -> None:
    stage.lake.write("batches", DAY, batch(0))
    answer(stage, batch(0)["_key"].tolist()[:3], [0.1, 0.5, 0.9])
    say(stage, (0, "label", "1"), (1, "label", "7"), (2, "override", "on time"))
    labelled(stage, minutes=None, label=LabelSpec(column="air_time", task="binary"))
    assert stage.lake.read("labels", DAY, DAY)["label"].tolist() == [1]


def test_outcomes_of_answers_about_other_days_and_of_unknown_requests_are_left_alone(stage: Stage) -> None:
    stage.lake.write("batches", DAY, batch(0))
    say(stage, (0, "label", "90"), (None, "retry", None))
    assert labelled(stage, minutes=None).labelled == 0
    answer(stage, batch(0)["_key"].tolist()[:2], [1.0, 2.0], request="another")
    assert labelled(stage, minutes=None).labelled == 0


def test_row_that_was_asked_about_again_counts_once(stage: Stage) -> None:
    stage.lake.write("batches", DAY, batch(0))
    for number in (1, 2):
        answer(stage, batch(0)["_key"].tolist()[:2], [1.0, 2.0], number=number)
    say(stage, (None, "retry", None))
    labelled(stage)
    (entry,) = stage.ledger.entries("feedback")
    online = entry.payload["9"]
    assert isinstance(online, dict)
    assert online["interaction"] == {"rows": 2, "correction": 0, "override": 0, "retry": 2, "click": 0}


def test_errors_are_measured_by_slice_of_columns_and_of_features(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=5))
    found = batch(0)
    stage.lake.write("batches", DAY, found)
    score(DAY, **stage.stores, rows=ROWS)
    age = SliceSpec(name="age", column="plane_age", edges=(10,))
    labelled(stage, slices=(*SPEC.slices, age), features=lambda rows: {"plane_age": 2013 - rows["plane_year"]})
    (entry,) = stage.ledger.entries("feedback")
    errors = TypeAdapter(DayErrors).validate_python(entry.payload["1"], extra="ignore")
    predictions = stage.lake.read("predictions", DAY, DAY)["prediction"]
    united = (found["carrier"] == "UA").to_numpy()
    assert errors.slices["carrier=UA"].rows == united.sum()
    assert errors.slices["carrier=UA"].loss == pytest.approx((predictions[united] - 100).abs().mean())
    assert {name for name in errors.slices if name.startswith("age=")} == {"age=10 and more", "age=missing"}
    for slicing in ("carrier", "distance", "age"):
        parts = [one for name, one in errors.slices.items() if name.startswith(f"{slicing}=")]
        assert sum(one.rows for one in parts) == errors.rows == 30
        assert sum(one.rows * one.loss for one in parts) == pytest.approx(30 * errors.loss)


def test_batch_older_than_a_column_of_the_spec_is_measured_without_slices(stage: Stage) -> None:
    stage.live("1", DAY - timedelta(days=5))
    stage.lake.write("batches", DAY, batch(0))
    score(DAY, **stage.stores, rows=ROWS)
    labelled(stage, rows=ROWS.model_copy(update={"columns": {**ROWS.columns, "terminal": "text?"}}))
    (entry,) = stage.ledger.entries("feedback")
    errors = entry.payload["1"]
    assert isinstance(errors, dict)
    assert (errors["rows"], errors["slices"]) == (30, {})


def test_undefined_metric_of_a_day_is_not_there_and_no_0(stage: Stage) -> None:
    """All the flights of the day took 100 minutes, so that none is long and AUC and recall are undefined."""
    stage.live("1", DAY - timedelta(days=5))
    stage.lake.write("batches", DAY, batch(0))
    score(DAY, **stage.stores, rows=ROWS)
    predictions = stage.lake.read("predictions", DAY, DAY)
    chances = predictions.assign(prediction=0.25)[
        ["request_id", "_key", "version", "arm", "served", "route", "prediction"]
    ]
    stage.lake.write("predictions", DAY, chances, part="batch")
    result = labelled(stage, label=LabelSpec(column="air_time", task="binary", above=100))
    assert dict(result.metrics["1"]) == {
        "log_loss": pytest.approx(-math.log(0.75)), "brier": 0.0625, "bias": 0.25, "calibration_error": 0.25
    }  # fmt: skip
    (entry,) = stage.ledger.entries("feedback")
    errors = entry.payload["1"]
    assert isinstance(errors, dict)
    assert (errors["loss_name"], errors["metrics"]) == ("log loss", dict(result.metrics["1"]))


@dataclass
class Trickling:
    """A source in which a label of each day comes four days late; cheap flights have the low ones."""

    today: date = DAY

    def is_ready(self, day: date) -> bool:
        return day <= self.today

    def read(self, day: date, columns: Sequence[str]) -> RawBatch:
        found = batch(0, rows=4).astype(dict.fromkeys(ROWS.key, str))
        late = None if self.today < day + timedelta(days=5) else "900"
        return RawBatch(rows=found.assign(air_time=["100", "100", "100", late])[["_row", *columns]], broken=())


def test_days_whose_labels_trickle_in_are_measured_when_they_are_complete(stage: Stage) -> None:
    source = Trickling()
    predictions = batch(0, rows=4)[["_key"]].assign(version="1", served=True, prediction=100.0)
    days = [DAY + timedelta(days=number) for number in range(70)]
    for day in days:
        stage.lake.write("batches", day, batch(0, rows=4))
        stage.lake.write("predictions", day, predictions, part=BATCH)
        source.today = day
        result = labelled(stage, source=source, as_of=day)
    assert (result.day, result.labelled) == (days[-1] - timedelta(days=1 + 7), 4)
    early, late = stage.lake.read("labels", DAY, days[20]), stage.lake.read("labels", days[55], days[-1])
    assert set(early.groupby("_day").size()) == {3, 4}
    assert set(late.groupby("_day").size()) == {4}
    assert late["_day"].max() == result.day.isoformat()
    before = len(stage.ledger.entries("labels")), stage.ledger.head("feedback")
    assert labelled(stage, source=source, as_of=days[-1]) == result
    assert (len(stage.ledger.entries("labels")), stage.ledger.head("feedback")) == before


def test_labels_of_a_batch_that_has_been_taken_back_are_taken_back(stage: Stage) -> None:
    stage.lake.write("batches", DAY, batch(0))
    assert labelled(stage).labelled == 30
    stage.lake.write("batches", DAY, pd.DataFrame())
    assert labelled(stage).labelled == 0
    assert stage.lake.days("labels") == []


def test_column_that_is_new_in_the_spec_is_named_before_the_lake_has_it() -> None:
    with pytest.raises(DataContractError) as told:
        columns_of(batch(0).drop(columns=["seats"]), ROWS)
    assert str(told.value) == (
        "The lake has no column 'seats', which rows.columns in model.yaml names. "
        "Run the days that are needed again, so that their batches have it."
    )


def test_missing_values_of_the_lake_are_nan_and_none() -> None:
    found = columns_of(batch(0), ROWS)
    assert found["seats"].dtype == np.float64
    assert np.isnan(found["seats"]).any()
    missing = [value for value in found["tailnum"] if not isinstance(value, str)]
    assert missing
    assert set(missing) == {None}
