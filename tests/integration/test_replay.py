"""A replay lives the past as the stages would, and ends the same however often it was killed or in how many parts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from loops import Loop, days, load_folder, small_flights
from trimtab.adapters.day_files import DayFiles
from trimtab.cli.replay import plan_replay
from trimtab.cli.replay_past import load_month, months
from trimtab.cli.replay_policies import policy_root, run_policy
from trimtab.domain.ports import Table
from trimtab.domain.replaying import Outcome

pytestmark = pytest.mark.integration
SOURCE_FIRST, FIRST, LAST = date(2013, 1, 1), date(2013, 1, 20), date(2013, 2, 3)
MINE = """
name: mine
description: every six days, whatever the gate says, through all steps of a release
act: {kind: schedule, days: 6}
ask_gate: false
sections:
  gate: {significance: 0.2}
"""
COMMAND = "from trimtab.cli.main import app; app()"
DEADLINE_S = 240.0
OWN_TABLES: tuple[Table, ...] = ("predictions", "profiles")


@pytest.fixture(scope="module")
def model(flights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fifth of the real flights of January, and a learner that takes a moment."""
    root = tmp_path_factory.mktemp("model")
    (root / "mine.yaml").write_text(MINE, encoding="utf-8")
    return small_flights(root, SOURCE_FIRST, LAST, candidates=1).path


@pytest.fixture(scope="module")
def undisturbed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a replay that ran through."""
    work = tmp_path_factory.mktemp("undisturbed")
    finish(begin(model, work))
    return work


def policies(model: Path) -> list[str]:
    return ["static", str(model.parents[1] / "mine.yaml")]


def begin(model: Path, work: Path, last: date = LAST) -> "subprocess.Popen[str]":
    chosen = [argument for name in policies(model) for argument in ("--policy", name)]
    arguments = ["replay", str(model), "--from", str(FIRST), "--to", str(last), "--work", str(work), "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TRIMTAB_REGISTRY": ""}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", COMMAND, *arguments, *chosen],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, output
    return output


def planned(model: Path, work: Path, last: date = LAST) -> Any:
    return plan_replay(model, FIRST, last, policies=policies(model), work=work, warm_up=None)


def outcome(root: Path) -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads((root / "outcome.json").read_text())["outcome"]
    return {name: value for name, value in found.items() if name != "seconds"}


def content(model: Path, work: Path) -> Mapping[str, Any]:
    """All that a replay has left but for clock times."""
    found = {}
    for name in ("static", "mine"):
        (root,) = work.glob(f"{name}-*")
        files = DayFiles(root / "lake")
        rows = {table: files.read(table, FIRST, LAST, columns=None, part=None).to_json() for table in OWN_TABLES}
        found[name] = {**Loop(load_folder(model), root).content(), **rows, "outcome": outcome(root)}
    return found


def noted(work: Path, folders: str) -> int:
    """Days that are done in some folders."""
    return sum(len(json.loads(file.read_text())["done"]) for file in work.glob(f"{folders}/progress.json"))


def kill_when(process: "subprocess.Popen[str]", is_time: Callable[[], bool]) -> None:
    """SIGKILL the command at a moment of its work, and see its workers end by themselves."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_time():
        assert process.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []


def test_a_replay_that_is_killed_again_and_again_ends_as_one_that_was_not(
    model: Path, undisturbed: Path, tmp_path: Path
) -> None:
    kill_when(begin(model, tmp_path), lambda: noted(tmp_path, "past-*/*") >= 5)
    kill_when(begin(model, tmp_path), lambda: noted(tmp_path, "[sm]*") >= 3)
    kill_when(begin(model, tmp_path), lambda: noted(tmp_path, "[sm]*") >= 17)  # about when a training is under way
    finish(begin(model, tmp_path))
    assert content(model, tmp_path) == content(model, undisturbed)


def test_a_replay_that_goes_on_to_a_later_day_ends_as_one_that_began_with_it(
    model: Path, undisturbed: Path, tmp_path: Path
) -> None:
    finish(begin(model, tmp_path, LAST - timedelta(days=5)))
    finish(begin(model, tmp_path))
    assert content(model, tmp_path) == content(model, undisturbed)


def test_what_is_finished_is_not_done_again(model: Path, undisturbed: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in undisturbed.rglob("*.json")}
    replay = planned(model, undisturbed)
    for month in months(replay.plan):
        load_month(replay.plan, month)
    again = [run_policy(replay.plan, policy) for policy in replay.policies]
    assert {file: file.stat().st_mtime_ns for file in undisturbed.rglob("*.json")} == before
    assert [one.policy for one in again] == ["static", "mine"]


def test_policies_differ_by_what_they_do_and_begin_with_the_same_model(model: Path, undisturbed: Path) -> None:
    replay = planned(model, undisturbed)
    static, mine = (run_policy(replay.plan, policy) for policy in replay.policies)
    assert (static.fits, static.count("promotion")) == (0, 0)
    trained = [event.day for event in mine.events if event.kind == "retrain"]
    assert trained[:1] == [FIRST + timedelta(days=5)]
    assert mine.fits == len(trained)
    assert mine.count("promotion") == len(trained)
    assert until(static, trained[0]) == until(mine, trained[0])
    assert [one.day for one in static.days] == days(FIRST, LAST - timedelta(days=1))  # the last labels are to come


def until(found: Outcome, day: date) -> list[tuple[date, float]]:
    return [(one.day, one.loss) for one in found.days if one.day <= day]


def test_a_replay_predicts_what_the_stages_predict_day_by_day(model: Path, undisturbed: Path, tmp_path: Path) -> None:
    """The same days on a lake that is written day by day, as Airflow's tasks would, where nothing can be foreseen."""
    loop = Loop(load_folder(model), tmp_path)
    eve, end = FIRST - timedelta(days=1), FIRST + timedelta(days=4)
    for day in days(SOURCE_FIRST, eve):
        loop.take_in(day)
        loop.label(day)
    window = (FIRST - SOURCE_FIRST).days - 1 - loop.spec.train.holdout_days
    version, _ = loop.train(eve, "first training", window_days=window) or pytest.fail("too few labels")
    loop.approve(version, eve, "first training")
    loop.go_live(version, eve)
    for day in days(FIRST, end):
        loop.day(day)
        loop.bake(day)
    replay = planned(model, undisturbed)
    replayed = Loop(load_folder(model), policy_root(replay.plan, replay.policies[0]))
    files = DayFiles(replayed.root / "lake")
    by_hand = loop.lake.read("predictions", FIRST, end, part="batch")
    assert len(by_hand) > 500
    found = files.read("predictions", FIRST, end, columns=None, part="batch")
    # A lake puts columns that came after its first write at the end; a replay's files keep the order of each write.
    assert set(found) == set(by_hand)
    assert found[list(by_hand)].equals(by_hand)
    verdicts = [(one.subject, one.kind, one.payload) for one in loop.ledger.entries("verdict")]
    assert [(one.subject, one.kind, one.payload) for one in replayed.ledger.entries("verdict")][:5] == verdicts
