"""What the status page says about a model, and to whom."""

import asyncio
import math
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

os.environ.setdefault("AIRFLOW_HOME", str(Path(tempfile.gettempdir()) / "trimtab-unit-airflow"))

import itertools

import httpx
import pytest
from airflow.api_fastapi.core_api.security import get_user
from fastapi.routing import APIRoute
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from tests.doubles import FLIGHTS

from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.replay_stores import FolderStores
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.cli.release import described
from trimtab.domain.guards import ArmTraffic
from trimtab.domain.journal import Draft, Entry, Ledger, Stream
from trimtab.domain.release import Routing
from trimtab.domain.verdict import Finding, Status
from trimtab.errors import NotFoundError
from trimtab.ui import chart
from trimtab.ui.evidence import GuardReader
from trimtab.ui.history import Bounds, Marker, Measured, ModelHistory
from trimtab.ui.pages import HEADERS, ago, number, source_hash
from trimtab.ui.queries import ModelPage, StatusReader
from trimtab.ui.routes import create_app
from trimtab.ui.status import STREAMS, Level, ModelStatus, closest, nearness

MODEL = "flight_air_time"
NOW = datetime(2013, 4, 20, 6, 0, tzinfo=UTC)
DAY = date(2013, 4, 19)
PASSWORD = "hunter2"


@dataclass
class World:
    """Model folders and a real ledger on SQLite, whose clock the test sets."""

    folder: Path
    engine: Engine
    at: datetime = NOW - timedelta(hours=1)

    def ledger(self, model: str = MODEL) -> SqlLedger:
        return SqlLedger(self.engine, model, lambda: self.at)

    def put(
        self, stream: Stream, subject: str, kind: str, day: date = DAY, model: str = MODEL, **payload: Any
    ) -> Entry:
        ledger = self.ledger(model)
        draft = Draft(stream=stream, subject=subject, kind=kind, as_of=day, payload=payload)
        return ledger.append(draft, after=ledger.head(stream))

    def release(self, version: str, *kinds: str, day: date = DAY, **payload: Any) -> None:
        for kind in kinds:
            self.put("release", version, kind, day, **payload)

    def verdict(self, kind: str, day: date = DAY, findings: Sequence[dict[str, Any]] = (), **payload: Any) -> None:
        payload = {"version": "1", "summary": f"It is {kind}.", "findings": list(findings), **payload}
        self.put("verdict", day.isoformat(), kind, day, **payload)

    def change_spec(self, old: str, new: str) -> None:
        file = self.folder / MODEL / "model.yaml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    @property
    def reader(self) -> StatusReader:
        return StatusReader(lambda: [self.folder], self.ledger)

    @property
    def page(self) -> ModelPage:
        return self.reader.model(MODEL, NOW)

    @property
    def status(self) -> ModelStatus:
        return self.page.status

    def get(self, path: str, *, anonymous: bool = False, method: str = "GET", root: str = "/trimtab") -> httpx.Response:
        return ask(self.reader, path, anonymous=anonymous, method=method, root=root)


def ask(
    reader: StatusReader, path: str, *, anonymous: bool = False, method: str = "GET", root: str = "/trimtab"
) -> httpx.Response:
    app = create_app(reader, lambda: NOW)
    if not anonymous:
        app.dependency_overrides[get_user] = lambda: "somebody"

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(app, root_path=root, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as http:
            return await http.request(method, f"{root}{path}")

    return asyncio.run(request())


def text_of(response: httpx.Response) -> str:
    """What a reader sees."""
    body = response.text.partition("<main>")[2]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", "", body)))


def finding(
    signal: str, value: float | None, limit: float | None, *, days: int = 7, kind: str = "input"
) -> dict[str, Any]:
    return {
        "kind": kind,
        "signal": signal,
        "horizon_days": days,
        "value": value,
        "expected": 1.0,
        "limit": limit,
        "flagged": value is not None and limit is not None and value > limit,
        "note": "",
    }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    shutil.copytree(FLIGHTS, tmp_path / "models" / MODEL)
    engine = open_engine(f"sqlite:///{tmp_path}/ledger.db")
    migrate(engine)
    yield World(tmp_path / "models", engine)
    engine.dispose()


def test_a_model_with_an_empty_ledger_needs_a_first_training(world: World) -> None:
    status = world.status
    assert (status.live, status.release, status.verdict, status.batch) == (None, None, None, None)
    assert [(one.level, one.dag) for one in status.proposals] == [(Level.UNKNOWN, f"{MODEL}.train")]
    assert "The ledger has no entry of this model yet." in text_of(world.get(f"/model/{MODEL}"))


def test_no_model_folder_at_all_is_said(world: World) -> None:
    shutil.rmtree(world.folder / MODEL)
    response = world.get("/")
    assert response.status_code == 200
    assert "There is no folder with a model.yaml yet." in text_of(response)


def test_the_live_version_is_known_with_its_day_and_nothing_is_to_do(world: World) -> None:
    world.release("1", "requested", "approved", "live", day=date(2013, 4, 1))
    world.release("1", "done", day=date(2013, 4, 4))
    world.verdict("ok")
    status = world.status
    assert status.live is not None
    assert (status.live.version, status.live.day) == ("1", date(2013, 4, 1))
    assert [one.text for one in status.proposals] == ["Nothing to do."]
    assert status.level is Level.FINE


def test_after_a_rollback_the_version_before_is_live_again(world: World) -> None:
    world.release("1", "requested", "approved", "live", "done")
    world.put("release", "2", "requested", previous="1")
    world.release("2", "approved", "live")
    world.release("2", "rolled_back", actor="guard", reason="MAE 9 against 8")
    status, markers = world.status, [one.text for one in world.page.history.markers]
    assert status.live is not None
    assert status.release is not None
    assert (status.live.version, status.release.state, status.release.reason) == ("1", "rolled_back", "MAE 9 against 8")
    assert status.proposals[0].text == "Version 2 was rolled back."
    assert markers == ["version 1 live", "version 2 live", "version 2 rolled back"]


def test_a_release_that_is_held_says_by_whom_and_where_to_go_on(world: World) -> None:
    world.release("1", "requested", "approved", "live", "done")
    world.put("release", "2", "requested", previous="1")
    world.release("2", "approved")
    world.put("release", "2", "step", step="canary_5", share=0.05)
    world.put("release", "2", "held", actor="ann", reason="A sale is on.")
    text = text_of(world.get("/"))
    assert "held at step canary_5 version 2 after 1 gets 5 % of the traffic" in text
    assert "Version 2 is held by ann (A sale is on). Resume it or roll it back." in text
    assert world.status.level is Level.DECIDE
    assert "flight_air_time.rollback" in world.get("/").text


def test_levels_at_which_people_decide_are_shown_with_who_set_them(world: World) -> None:
    assert "Decided by" not in text_of(world.get("/"))
    world.put("automation", "carrier=UA", "set", level="full", actor="ann", reason="sure enough")
    world.put("automation", "all", "demoted", level="assist", actor="guard", reason="alarm of 2013-05-04")
    assert [(one.rows, one.level) for one in world.status.deciders] == [("all", "assist")]
    assert "Decided by assist all rows" in text_of(world.get("/"))
    assert "guard: alarm of 2013-05-04" in text_of(world.get("/"))


def test_a_rollback_shows_what_its_golden_rows_have_shown(world: World) -> None:
    world.release("1", "requested", "approved", "live", "done")
    world.put("release", "2", "requested", previous="1")
    world.release("2", "approved", "live", "rolled_back")
    world.put("release", "2", "verified", reason="version 1 predicts 20 of 20 golden rows, checked 1.5 s after")
    assert "Version 1 predicts 20 of 20 golden rows, checked 1.5 s after." in text_of(world.get("/"))


def test_a_request_waits_for_a_person_and_says_by_when(world: World) -> None:
    world.release("7", "requested", reason="better by far")
    status = world.status
    assert status.release is not None
    assert status.release.waits_for == "a person's yes or no; none within 24 h is a no"
    assert (status.level, status.proposals[0].text) == (Level.DECIDE, "Approve or reject version 7.")
    assert f'href="/dags/{MODEL}.release"' in world.get("/").text


def test_a_request_of_a_model_that_asks_nobody_waits_for_nobody(world: World) -> None:
    world.change_spec("release:\n", "release:\n  automation: full\n")
    world.release("7", "requested")
    status = world.status
    assert status.release is not None
    assert (status.level, status.release.waits_for) == (Level.WATCH, "its run to begin the first step")


def test_a_canary_shows_its_step_share_and_missing_evidence(world: World) -> None:
    world.release("1", "requested", "approved", "live", "done")
    world.put("release", "2", "requested", previous="1")
    world.release("2", "approved")
    world.put("release", "2", "step", step="canary_5", share=0.05)
    assert "step canary_5 version 2 after 1 gets 5 % of the traffic" in text_of(world.get("/"))
    assert "Waits for 50 requests that it has predicted." in text_of(world.get("/"))


class Arms:
    """Traffic that may have to be waited for."""

    def __init__(self) -> None:
        self.is_read = threading.Event()
        self.looks = 0

    def arms(self, _routing: Routing) -> dict[str, ArmTraffic]:
        self.looks += 1
        self.is_read.wait(30)
        return {"2": ArmTraffic(requests=30)}


def in_shadow(tmp_path: Path) -> FolderStores:
    shutil.copytree(FLIGHTS, tmp_path / "models" / MODEL)
    stores = FolderStores(load_folder(tmp_path / "models" / MODEL), tmp_path / "stores", str)
    for subject, kind, payload in (
        ("1", "requested", {}),
        ("1", "approved", {}),
        ("1", "live", {}),
        ("1", "done", {}),
        ("2", "requested", {"previous": "1"}),
        ("2", "approved", {}),
        ("2", "step", {"step": "shadow", "share": 0.0}),
    ):
        draft = Draft(stream="release", subject=subject, kind=kind, as_of=DAY, payload=payload)
        stores.ledger.append(draft, after=stores.ledger.head("release"))
    return stores


def test_a_step_shows_what_its_guards_still_need_in_the_words_of_the_command_line(tmp_path: Path) -> None:
    stores, arms = in_shadow(tmp_path), Arms()
    stores.__dict__["traffic"] = arms
    arms.is_read.set()
    guards = GuardReader(lambda _: stores, wait_s=30)
    response = ask(StatusReader(lambda: [tmp_path / "models"], lambda _: stores.ledger, guards.said), "/")
    seen = text_of(response)
    words = described(stores).partition("guards: ")[2].split("\n  ")
    assert len(words) > 2
    assert "failures: 0 of 30 rows failed, 0 of 0 of the champion; 270 more are needed" in words
    assert f"Guards {' '.join(words)}" in seen


def test_a_page_does_not_wait_for_a_log_that_takes_long_and_shows_what_is_known_the_next_time(tmp_path: Path) -> None:
    stores, arms = in_shadow(tmp_path), Arms()
    stores.__dict__["traffic"] = arms
    guards = GuardReader(lambda _: stores, wait_s=0.1)
    start = time.perf_counter()
    for _ in range(5):
        assert guards.said(MODEL, 7) is None
    assert time.perf_counter() - start < 3
    assert arms.looks <= 1, "a look that is under way is not begun again"
    arms.is_read.set()
    end = time.perf_counter() + 20
    while guards.said(MODEL, 7) is None:
        assert time.perf_counter() < end
    assert guards.said(MODEL, 7).outcome == "wait"  # type: ignore[union-attr]


def test_a_page_is_shown_although_the_guards_cannot_be_asked(tmp_path: Path) -> None:
    stores = in_shadow(tmp_path)

    def gone(_: str) -> FolderStores:
        raise NotFoundError("no connection")

    response = ask(StatusReader(lambda: [tmp_path / "models"], lambda _: stores.ledger, GuardReader(gone).said), "/")
    assert response.status_code == 200
    assert "Waits for 300 requests" in text_of(response)
    assert "Guards" not in text_of(response)


def test_a_new_champion_bakes_until_its_labelled_days_have_come(world: World) -> None:
    world.release("1", "requested", "approved", "live", day=date(2013, 4, 1))
    for day in (date(2013, 4, 1), date(2013, 4, 2), date(2013, 4, 3)):
        world.put(
            "feedback",
            day.isoformat(),
            "measured",
            day,
            **{"1": {"rows": 9, "loss": 8.0, "loss_name": "MAE", "bias": 0.0}},
        )
    release = world.status.release
    assert release is not None
    assert (release.is_open, release.waits_for) == (True, "labels of 3 days, 2 have come")


def test_the_three_findings_nearest_to_their_limit_are_shown_in_order(world: World) -> None:
    found = [finding("a", 1, 4), finding("b", 3, 2), finding("c", 3, 4), finding("d", None, 4), finding("e", 2, 4)]
    world.verdict("drift", findings=[*found, finding("f", 1, None), finding("g", math.nan, 1)])
    verdict = world.status.verdict
    assert verdict is not None
    assert [one.signal for one in verdict.closest] == ["b", "c", "e"]
    assert re.search(r"b 7 d 3 of 2 \(150 %\)", text_of(world.get("/")))


def test_findings_of_another_version_of_trimtab_leave_status_and_summary(world: World) -> None:
    world.verdict("drift", findings=[{"name": "old"}], summary="something moved", labels="Labels (2 days)")
    verdict = world.status.verdict
    assert verdict is not None
    assert (verdict.status, verdict.summary, verdict.closest) == (Status.DRIFT, "something moved", ())
    assert verdict.labels == "Labels (2 days)"


def test_a_second_look_at_an_older_day_does_not_hide_the_latest(world: World) -> None:
    world.verdict("decay", DAY)
    world.verdict("ok", DAY - timedelta(days=5))
    assert world.status.verdict is not None
    assert world.status.verdict.day == DAY


@pytest.mark.parametrize(
    ("decision", "day", "level", "text"),
    [
        (None, DAY, Level.ACT, "The model errs more than it need, and nothing is decided yet."),
        (
            "nothing",
            DAY - timedelta(days=1),
            Level.ACT,
            "The model errs more than it need, and nothing is decided yet.",
        ),
        ("retrain", DAY, Level.WATCH, "The model errs more than it need. A retraining was started."),
        ("recall", DAY, Level.WATCH, "The model errs more than it need. A former champion is released again."),
        (
            "recalibrate",
            DAY,
            Level.WATCH,
            "The model errs more than it need. The champion is released with its level corrected.",
        ),
        ("nothing", DAY, Level.WATCH, "The model errs more than it need. The policy waits; see its reason below."),
    ],
)
def test_decay_says_what_the_policy_makes_of_it(
    world: World, decision: str | None, day: date, level: Level, text: str
) -> None:
    world.release("1", "requested", "approved", "live", "done")
    world.verdict("decay")
    if decision:
        world.put("retraining", day.isoformat(), decision, day, reason="so")
    assert [(one.level, one.text) for one in world.status.proposals] == [(level, text)]


def test_an_incident_about_a_batch_is_open_until_the_batch_is_accepted(world: World) -> None:
    world.put("batch", DAY.isoformat(), "blocked", failures=["no distance"], rows_accepted=0)
    world.put("incident", f"batch {DAY}", "opened", reason="Batch blocked: no distance.", cure="Mend the feed.")
    seen = text_of(world.get("/"))
    assert f"Batch {DAY}: Mend the feed. Open {MODEL}.daily" in seen
    assert "blocked 2013-04-19 · 60 min ago 0 rows accepted, 0 quarantined, 1 failure" in seen
    assert world.status.level is Level.ACT
    world.put("batch", DAY.isoformat(), "accepted", rows_accepted=900, rows_quarantined=3)
    assert world.status.incidents == ()
    assert "900 rows accepted, 3 quarantined" in text_of(world.get("/"))


def incident_days(world: World) -> list[date]:
    return [incident.day for incident in world.status.incidents]


def test_an_incident_about_a_verdict_is_open_until_the_errors_are_within_their_limits(world: World) -> None:
    opened = DAY - timedelta(days=3)
    world.verdict("decay", opened)
    world.put("incident", f"verdict {opened}", "opened", opened, reason="too many", cure="Look.")
    world.verdict("not_enough_data", DAY - timedelta(days=2))
    world.verdict("decay", DAY - timedelta(days=1))
    assert incident_days(world) == [opened]
    world.verdict("drift", DAY)
    assert incident_days(world) == []


def test_an_incident_about_a_verdict_ends_when_another_version_goes_live(world: World) -> None:
    world.put("incident", f"verdict {DAY}", "opened", reason="too many", cure="Look.")
    world.at += timedelta(minutes=1)
    world.release("1", "requested", "approved")
    assert incident_days(world) == [DAY]
    world.release("1", "live")
    assert incident_days(world) == []


def test_of_incidents_about_verdicts_only_the_newest_is_open(world: World) -> None:
    for day in (DAY - timedelta(days=2), DAY, DAY - timedelta(days=1)):
        world.put("incident", f"verdict {day}", "opened", day, reason="too many", cure="Look.")
    assert incident_days(world) == [DAY]


def test_an_incident_that_somebody_closed_is_closed(world: World) -> None:
    world.put("incident", f"batch {DAY}", "opened", reason="blocked", cure="Mend.")
    world.put("incident", f"batch {DAY}", "closed", reason="a holiday")
    assert incident_days(world) == []


def test_silence_is_noticed_unless_no_further_batch_is_due(world: World) -> None:
    world.release("1", "requested", "approved", "live", "done")
    world.at = NOW - timedelta(days=3)
    world.put("batch", DAY.isoformat(), "accepted", rows_accepted=9)
    assert world.status.proposals[0].text == "No batch for 3 days; the last one was that of 2013-04-19."
    world.put("batch", "2013-12-31", "accepted", date(2013, 12, 31), rows_accepted=9)
    assert world.status.level is Level.FINE


def test_a_training_that_began_after_the_last_gate_is_what_counts(world: World) -> None:
    world.put("gate", "abc", "refused", summary="Refuse: no better.")
    world.at += timedelta(minutes=1)
    world.put("training", DAY.isoformat(), "begun", reason="decay")
    assert world.status.training is not None
    assert (world.status.training.kind, world.status.training.reason) == ("begun", "decay")


def test_a_broken_folder_shows_its_error_and_what_is_still_live(world: World) -> None:
    world.release("1", "requested", "approved", "live", "done")
    world.change_spec("holdout_days", "<b>holdout_dais")
    response = world.get("/")
    assert "there is no such key" in text_of(response)
    assert "<b>holdout" not in response.text
    assert "version 1 live since 2013-04-19" in text_of(response)
    assert world.status.level is Level.ACT
    assert world.get(f"/model/{MODEL}").status_code == 200


def test_models_are_ordered_by_urgency_then_name(world: World) -> None:
    for name in ("zebra_crossing", "apple_weight"):
        shutil.copytree(world.folder / MODEL, world.folder / name)
        spec = world.folder / name / "model.yaml"
        spec.write_text(spec.read_text().replace(f"name: {MODEL}", f"name: {name}"))
    world.put("release", "1", "requested", model="zebra_crossing")
    board = world.reader.board(NOW)
    assert [model.name for model in board.models] == ["zebra_crossing", "apple_weight", MODEL]


@pytest.mark.parametrize("path", ["/", f"/model/{MODEL}", f"/dag/{MODEL}.daily"])
@pytest.mark.parametrize(
    "url", ["sqlite:////no/such/folder/ledger.db", f"postgresql+nodriver://me:{PASSWORD}@localhost/x", PASSWORD, None]
)
def test_a_ledger_that_is_down_is_said_in_one_line_without_its_address(
    world: World, path: str, url: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    def open_ledger(model: str) -> Ledger:
        if url is None:
            raise NotFoundError(f"Connection with {PASSWORD} has no 'uri'.")
        return SqlLedger(open_engine(url), model)

    response = ask(StatusReader(lambda: [world.folder], open_ledger), path)
    assert response.status_code == 503
    assert "The ledger cannot be read" in text_of(response)
    assert "trimtab migrate" in text_of(response)
    assert PASSWORD not in response.text
    assert "no/such/folder" not in response.text
    assert any(record.exc_info for record in caplog.records), "the log must have the cause"


def test_a_ledger_without_tables_asks_for_a_migration(world: World, tmp_path: Path) -> None:
    empty = open_engine(f"sqlite:///{tmp_path}/new.db")
    response = ask(StatusReader(lambda: [world.folder], lambda model: SqlLedger(empty, model)), "/")
    empty.dispose()
    assert response.status_code == 503
    assert "run `trimtab migrate` if it is new" in text_of(response)


def hostile(world: World) -> str:
    """Fill every text of a ledger with markup."""
    evil = "\"'><script>alert(1)</script>"
    world.release("1", "requested", "approved", "live", reason=evil, actor=evil)
    world.put("release", "2", "requested", previous=evil)
    world.put("release", "2", "approved", reason=evil)
    world.put("release", "2", "step", step=evil, share=0.5)
    world.verdict("drift", findings=[finding(evil, 3, 2)], summary=evil, labels=evil)
    world.put("retraining", DAY.isoformat(), evil[:40], reason=evil)
    world.put("training", evil, "begun", reason=evil)
    world.put("gate", evil, "refused", summary=evil)
    world.put("incident", f"batch {evil}", "opened", reason=evil, cure=evil)
    world.put("batch", DAY.isoformat(), "accepted", warnings=[evil], failures=[evil])
    world.put("feedback", DAY.isoformat(), "measured", **{evil: {"rows": 3, "loss": 2.0}})
    return evil


@pytest.mark.parametrize("path", ["/", f"/model/{MODEL}", f"/dag/{MODEL}.daily"])
def test_markup_in_the_ledger_stays_text(world: World, path: str) -> None:
    evil = hostile(world)
    response = world.get(path)
    assert response.status_code == 200
    assert "<script>alert" not in response.text
    assert evil in text_of(response)


@pytest.mark.parametrize("path", ["/model/<script>alert(1)<%2Fscript>", "/dag/<script>alert(1)<%2Fscript>"])
def test_markup_in_the_address_stays_text(world: World, path: str) -> None:
    assert "<script>alert" not in world.get(path).text


def test_only_the_pages_own_style_and_script_may_run(world: World) -> None:
    response = world.get("/")
    policy = response.headers["content-security-policy"]
    assert policy == HEADERS["Content-Security-Policy"]
    for tag in ("style", "script"):
        inside = re.findall(rf"<{tag}>(.*?)</{tag}>", response.text, re.DOTALL)
        assert [f"{tag}-src {source_hash(text)}" in policy for text in inside] == [True]
    assert "unsafe" not in policy
    assert not re.search(r'\s(style|on\w+)="', response.text), "the policy would block it"
    assert not re.search(r'(src|href)="(https?:)?//', response.text), "no assets from elsewhere"


def paths() -> list[str]:
    app = create_app(StatusReader(list, lambda _: pytest.fail("an anonymous request reached the ledger")))
    return [route.path for route in app.routes if isinstance(route, APIRoute)]


@pytest.mark.parametrize("path", paths())
def test_no_route_answers_anybody_that_airflow_does_not_know(world: World, path: str) -> None:
    response = world.get(path.format(name=MODEL, dag_id=f"{MODEL}.daily"), anonymous=True)
    assert (response.status_code, response.json()) == (401, {"detail": "Not authenticated"})


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"])
def test_there_are_no_documentation_routes(world: World, path: str) -> None:
    assert world.get(path, anonymous=True).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(world: World, method: str) -> None:
    world.release("1", "requested")
    before = [world.ledger().entries(stream) for stream in STREAMS]
    assert {world.get(path, method=method).status_code for path in ("/", f"/model/{MODEL}")} == {405}
    assert [world.get(path).status_code for path in ("/", f"/model/{MODEL}")] == [200, 200]
    assert [world.ledger().entries(stream) for stream in STREAMS] == before


def test_an_unknown_model_is_not_found_and_the_known_are_named(world: World) -> None:
    response = world.get("/model/flight_air")
    assert response.status_code == 404
    assert f"There is no model folder 'flight_air'. There are: {MODEL}." in text_of(response)


def test_the_tab_of_a_dag_shows_its_model(world: World) -> None:
    assert f"<b>{MODEL}</b>" in world.get(f"/dag/{MODEL}.release").text
    assert "DAG 'other.daily' is not one of Trimtab's." in text_of(world.get("/dag/other.daily"))


def test_links_keep_the_path_that_airflow_is_mounted_at(world: World) -> None:
    world.release("7", "requested")
    page = world.get("/", root="/ops/airflow/trimtab").text
    assert f'href="/ops/airflow/dags/{MODEL}.release"' in page
    assert f'href="/ops/airflow/trimtab/model/{MODEL}"' in page


def test_the_page_refreshes_itself(world: World) -> None:
    assert '<meta http-equiv="refresh" content="30">' in world.get("/").text


def test_the_timeline_has_the_last_fifty_entries_of_all_streams_newest_first(world: World) -> None:
    for number_of_day in range(40):
        world.at = NOW - timedelta(days=40 - number_of_day)
        day = DAY - timedelta(days=40 - number_of_day)
        world.put("batch", day.isoformat(), "accepted", day, rows_accepted=number_of_day)
        world.verdict("ok", day)
    timeline = world.page.history.timeline
    assert len(timeline) == 50
    assert [row.recorded_at for row in timeline] == sorted((row.recorded_at for row in timeline), reverse=True)
    assert {row.stream for row in timeline} == {"batch", "verdict"}
    assert timeline[0].day == DAY - timedelta(days=1)


@pytest.mark.parametrize(
    ("stream", "kind", "payload", "text"),
    [
        ("batch", "accepted", {"rows_accepted": 9, "warnings": ["odd"]}, "9 rows accepted, 0 quarantined; odd"),
        (
            "feedback",
            "measured",
            {"1": {"loss": 0.525, "loss_name": "log loss", "rows": 9}},
            "version 1: log loss 0.525 on 9 rows",
        ),
        ("verdict", "ok", {"summary": "fine"}, "fine"),
        ("gate", "refused", {"summary": "no better"}, "no better"),
        ("retraining", "nothing", {"reason": "cooldown"}, "cooldown"),
        ("incident", "opened", {"reason": "Blocked.", "cure": "Mend."}, "Blocked. Mend."),
        ("release", "approved", {"actor": "maria", "reason": "agreed"}, "maria: agreed"),
        ("release", "step", {"step": "shadow", "reason": "0%"}, "shadow: 0%"),
    ],
)
def test_an_entry_is_told_in_words(world: World, stream: Stream, kind: str, payload: dict[str, Any], text: str) -> None:
    if stream == "release":
        world.release("1", "requested")
    world.put(stream, "1" if stream == "release" else DAY.isoformat(), kind, **payload)
    assert text in [row.text for row in world.page.history.timeline]


def test_a_corrected_day_counts_once_and_errors_that_are_no_number_are_left_out(world: World) -> None:
    for loss in (9.0, 8.0):
        world.put(
            "feedback",
            "2013-04-02",
            "measured",
            **{"1": {"rows": 9, "loss": loss, "loss_name": "MAE"}, "2": {"rows": 9, "loss": math.nan}},
        )
    world.put("feedback", "2013-04-01", "measured", **{"1": {"rows": 9, "loss": 7.0, "loss_name": "MAE"}})
    assert world.page.history.measured == (
        Measured(day=date(2013, 4, 1), version="1", loss=7.0, loss_name="MAE"),
        Measured(day=date(2013, 4, 2), version="1", loss=8.0, loss_name="MAE"),
    )


def test_bounds_are_those_of_one_day_and_of_the_live_version(world: World) -> None:
    world.release("1", "requested", "approved", "live", "done", day=date(2013, 4, 1))
    found = [finding("mae", 1, 3, days=days, kind="error") for days in (7, 1)]
    found[1]["limit"] = 5.0
    world.verdict("ok", findings=found)
    assert world.page.history.bounds == Bounds(since=date(2013, 4, 1), expected=1.0, limit=5.0)
    world.put("release", "2", "requested", previous="1")
    world.release("2", "approved", "live")
    assert world.page.history.bounds is None


class Counted:
    """A ledger that notes which streams are read whole."""

    def __init__(self, ledger: Ledger, reads: list[Stream]) -> None:
        self.ledger, self.reads = ledger, reads

    def append(self, draft: Draft, *, after: int) -> Entry:
        raise AssertionError(f"the page wrote {draft} after {after}")

    def entries(self, stream: Stream, subject: str | None = None) -> Sequence[Entry]:
        if subject is None:
            self.reads.append(stream)
        return self.ledger.entries(stream, subject)

    def head(self, stream: Stream) -> int:
        return self.ledger.head(stream)


def test_a_stream_is_read_again_only_after_something_was_added(world: World) -> None:
    world.verdict("ok", findings=[finding("a", 1, 4)])
    world.put("batch", DAY.isoformat(), "accepted", rows_accepted=5)
    reads: list[Stream] = []
    reader = StatusReader(lambda: [world.folder], lambda model: Counted(world.ledger(model), reads))
    first = reader.model(MODEL, NOW)
    assert set(reads) == {"verdict", "batch"}
    reads.clear()
    assert reader.model(MODEL, NOW) == first
    assert reads == []
    world.verdict("drift", DAY + timedelta(days=1), findings=[finding("b", 2, 1)])
    second = reader.model(MODEL, NOW).status.verdict
    assert reads == ["verdict"]
    assert second is not None
    assert [one.signal for one in second.closest] == ["b"]


def test_a_database_that_was_replaced_is_read_anew(world: World, tmp_path: Path) -> None:
    engines = [world.engine, open_engine(f"sqlite:///{tmp_path}/other.db")]
    migrate(engines[1])
    world.put("batch", DAY.isoformat(), "accepted", rows_accepted=5)

    class Swapped(Counted):
        def entries(self, stream: Stream, subject: str | None = None) -> Sequence[Entry]:
            return SqlLedger(world.engine, MODEL).entries(stream, subject)

        def head(self, stream: Stream) -> int:
            return SqlLedger(world.engine, MODEL).head(stream)

    reader = StatusReader(lambda: [world.folder], lambda _: Swapped(world.ledger(), []))
    assert reader.model(MODEL, NOW).status.batch is not None
    world.engine, world.at = engines[1], NOW
    world.put("batch", DAY.isoformat(), "blocked", failures=["x"])
    batch = reader.model(MODEL, NOW).status.batch
    engines[1].dispose()
    assert batch is not None
    assert not batch.accepted


def history(measured: Sequence[Measured], markers: Sequence[Marker] = (), bounds: Bounds | None = None) -> ModelHistory:
    return ModelHistory(measured=tuple(measured), markers=tuple(markers), bounds=bounds, timeline=())


def test_there_is_no_chart_without_measurements() -> None:
    assert chart.chart_of(history([])) is None


def test_a_single_day_is_drawn() -> None:
    drawn = chart.chart_of(history([Measured(day=DAY, version="1", loss=0.0, loss_name="MAE")]))
    assert drawn is not None
    assert [(line.name, len(line.points)) for line in drawn.lines] == [("version 1", 1)]
    assert [tick.text for tick in drawn.values] == ["0", "1"]


measurements = st.lists(
    st.builds(
        Measured,
        day=st.dates(date(2013, 1, 1), date(2016, 1, 1)),
        version=st.sampled_from(["1", "2", "10", "x"]),
        loss=st.floats(0, 1e9),
        loss_name=st.just("MAE"),
    ),
    min_size=1,
    max_size=30,
)
marked = st.lists(st.builds(Marker, day=st.dates(date(2012, 1, 1), date(2017, 1, 1)), text=st.just("live")), max_size=5)
bounded = st.none() | st.builds(
    Bounds,
    since=st.dates(date(2012, 1, 1), date(2017, 1, 1)),
    expected=st.floats(0, 1e9),
    limit=st.none() | st.floats(0, 1e9),
)


@given(measurements, marked, bounded)
def test_everything_is_drawn_inside_the_axes(
    measured: list[Measured], markers: list[Marker], bounds: Bounds | None
) -> None:
    drawn = chart.chart_of(history(sorted(measured, key=lambda one: one.day), markers, bounds))
    assert drawn is not None
    xs = [point.x for line in drawn.lines for point in line.points] + [flag.x for flag in drawn.flags]
    ys = [point.y for line in drawn.lines for point in line.points] + [level.y for level in drawn.levels]
    assert all(chart.LEFT <= x <= chart.WIDTH - chart.RIGHT for x in xs)
    assert all(chart.TOP - 0.1 <= y <= chart.HEIGHT - chart.BOTTOM for y in ys)
    assert sum(len(line.points) for line in drawn.lines) == len(measured)
    assert 2 <= len(drawn.values) <= 7
    assert 1 <= len(drawn.days) <= chart.MAX_TICKS


def test_names_at_the_right_end_do_not_touch() -> None:
    measured = [Measured(day=DAY, version=str(version), loss=8.0, loss_name="MAE") for version in (1, 2, 10)]
    drawn = chart.chart_of(history(measured, bounds=Bounds(since=DAY, expected=8.0, limit=9.0)))
    assert drawn is not None
    places = sorted([line.label_y for line in drawn.lines] + [level.label_y for level in drawn.levels])
    assert all(below - above >= chart.LABEL_HEIGHT for above, below in itertools.pairwise(places))
    assert [line.name for line in drawn.lines] == ["version 1", "version 2", "version 10"]


@given(st.floats(0, 1e6), st.floats(1e-6, 1e6), st.none() | st.floats(0, 1e6))
def test_a_bar_stays_on_its_track(value: float, limit: float, expected: float | None) -> None:
    one = Finding(
        kind="input", signal="a", horizon_days=1, value=value, expected=expected, limit=limit, flagged=value > limit
    )
    bar = chart.bar_of(one)
    assert 0 <= bar.width <= chart.BAR_WIDTH
    assert bar.expected_at is None or 0 <= bar.expected_at <= chart.BAR_WIDTH
    assert math.isclose(bar.percent, 100 * value / limit)


def test_a_value_at_its_limit_ends_at_the_mark() -> None:
    one = Finding(kind="input", signal="a", horizon_days=1, value=2.0, expected=1.0, limit=2.0, flagged=False)
    assert (chart.bar_of(one).width, chart.bar_of(one).expected_at) == (chart.BAR_LIMIT_AT, chart.BAR_LIMIT_AT / 2)


def test_nearness_needs_value_and_limit() -> None:
    def near(value: float | None, limit: float | None) -> float:
        return nearness(
            Finding(kind="input", signal="a", horizon_days=1, value=value, expected=1.0, limit=limit, flagged=False)
        )

    assert near(3.0, 2.0) == 1.5
    assert math.isnan(near(None, 2.0))
    assert math.isnan(near(3.0, None))
    assert math.isnan(near(3.0, 0.0))
    assert closest([]) == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "just now"),
        (119, "just now"),
        (120, "2 min ago"),
        (7199, "119 min ago"),
        (7200, "2 h ago"),
        (172800, "2 d ago"),
    ],
)
def test_ages_are_told_in_the_largest_unit_of_which_there_are_two(seconds: int, text: str) -> None:
    assert ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.07448, "0.0745"), (0.0, "0"), (12.615, "12.6"), (999.0, "999"), (13899.4, "13,899")]
)
def test_numbers_have_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == text
