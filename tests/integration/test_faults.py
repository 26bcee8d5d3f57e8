"""A loop on real flights that is repeated, killed, raced and starved ends as the one that ran undisturbed."""

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from loops import Loop, days, load_folder, small_flights
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.domain.journal import Draft
from victims import (
    DAY,
    FIRST,
    LAST,
    SECOND_TRAINING,
    append_draft,
    append_with_full_disk,
    run_loop,
    write_alone,
    write_day,
    write_with_full_disk,
)

pytestmark = pytest.mark.integration
KILLED, SPAN_END = -9, SECOND_TRAINING + timedelta(days=1)
BEFORE = SECOND_TRAINING - timedelta(days=1)
GROUPS = 8


@pytest.fixture(scope="session")
def model(flights: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small model of real flights."""
    return small_flights(tmp_path_factory.mktemp("model"), FIRST, LAST, candidates=1).path


@pytest.fixture(scope="session")
def before(model: Path, forkserver: ForkServerContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores as they are when the second training is about to begin, a first one long being live."""
    root = tmp_path_factory.mktemp("before") / "stores"
    assert ended(forkserver, run_loop, model, root, FIRST, BEFORE).exitcode == 0
    return root


@pytest.fixture(scope="session")
def clean(
    model: Path, before: Path, forkserver: ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the stores hold after the second release went live without a disturbance, and how many moments that took."""
    root = copied(before, tmp_path_factory.mktemp("clean"))
    process = ended(forkserver, run_loop, model, root, SECOND_TRAINING, SPAN_END, count=True)
    assert process.exitcode == 0
    return {"content": content(model, root), "moments": int((root / "moments").read_text())}


def ended(context: ForkServerContext, run: Callable[..., None], *args: Any, **kwargs: Any) -> BaseProcess:
    """A process that has run a function to its end, whatever that was."""
    process = context.Process(target=run, args=args, kwargs=kwargs)
    process.start()
    process.join()
    return process


def copied(stores: Path, folder: Path) -> Path:
    return Path(shutil.copytree(stores, folder / "stores"))


def content(model: Path, root: Path) -> dict[str, Any]:
    return Loop(load_folder(model), root).content()


def test_loop_releases_twice_and_holds_what_it_should(clean: dict[str, Any]) -> None:
    found = clean["content"]
    kinds = [(subject, kind) for _, subject, kind, _, _ in found["ledger release"]]
    assert kinds == [
        *(("1", kind) for kind in ("requested", "approved", "live", "done")),
        *(("2", kind) for kind in ("requested", "approved", "step", "step", "live")),
    ]
    assert found["registry"]["aliases"] == {"champion": "2"}
    assert [kind for _, _, kind, _, _ in found["ledger batch"]] == ["accepted"] * len(days(FIRST, SPAN_END))
    assert len(json.loads(found["labels"])["data"]) > 4000
    last_day = [row for row in json.loads(found["predictions"])["data"] if SPAN_END.isoformat() in row]
    assert {"champion", "shadow", "challenger"} <= {value for row in last_day for value in row}
    assert clean["moments"] > 40


def test_every_day_run_three_times_changes_nothing(model: Path, forkserver: ForkServerContext, tmp_path: Path) -> None:
    for times in (1, 3):
        root = tmp_path / f"times_{times}"
        assert ended(forkserver, run_loop, model, root, FIRST, LAST, times=times).exitcode == 0
    once, thrice = content(model, tmp_path / "times_1"), content(model, tmp_path / "times_3")
    assert_same(once, thrice)
    assert once["ledger release"][-1][1:3] == ("2", "done")


@pytest.mark.parametrize("group", range(GROUPS))
def test_killed_between_any_two_writes_and_run_again_ends_as_undisturbed(
    group: int, model: Path, before: Path, clean: dict[str, Any], forkserver: ForkServerContext, tmp_path: Path
) -> None:
    for moment in range(1 + group, clean["moments"] + 1, GROUPS):
        root = copied(before, tmp_path / str(moment))
        killed = ended(forkserver, run_loop, model, root, SECOND_TRAINING, SPAN_END, kill_at=moment)
        assert killed.exitcode == KILLED
        again = ended(forkserver, run_loop, model, root, SECOND_TRAINING, SPAN_END)
        assert again.exitcode == 0, f"killed at moment {moment}"
        assert_same(clean["content"], content(model, root))
        shutil.rmtree(root)


@pytest.mark.parametrize("share", [0.15, 0.4, 0.55, 0.7, 0.85])
def test_killed_at_any_time_and_run_again_ends_as_undisturbed(
    share: float, model: Path, before: Path, clean: dict[str, Any], forkserver: ForkServerContext, tmp_path: Path
) -> None:
    """In the middle of a commit, too: the moment is a share of the time that the whole span takes."""
    root = copied(before, tmp_path)
    process = forkserver.Process(target=run_loop, args=(model, root, SECOND_TRAINING, SPAN_END))
    process.start()
    process.join(share * 2)
    process.kill()
    process.join()
    assert ended(forkserver, run_loop, model, root, SECOND_TRAINING, SPAN_END).exitcode == 0
    assert_same(clean["content"], content(model, root))


def test_killed_and_run_again_from_the_first_day_ends_as_undisturbed(
    model: Path, before: Path, clean: dict[str, Any], forkserver: ForkServerContext, tmp_path: Path
) -> None:
    root = copied(before, tmp_path)
    moment = clean["moments"] // 2
    assert ended(forkserver, run_loop, model, root, SECOND_TRAINING, SPAN_END, kill_at=moment).exitcode == KILLED
    assert ended(forkserver, run_loop, model, root, FIRST, SPAN_END).exitcode == 0
    assert_same(clean["content"], content(model, root))


def assert_same(expected: dict[str, Any], found: dict[str, Any]) -> None:
    """Equal part by part, so that a failure names the part."""
    for part, value in expected.items():
        assert found[part] == value, part
    assert set(found) == set(expected)


@pytest.mark.parametrize("state", ["no table", "other days", "the same day"])
def test_two_writers_of_one_day_leave_the_rows_of_one(
    state: str, forkserver: ForkServerContext, tmp_path: Path
) -> None:
    for attempt in range(5):
        root = str(tmp_path / str(attempt))
        if state != "no table":
            kept = DAY if state == "the same day" else DAY + timedelta(days=1)
            assert ended(forkserver, write_alone, root, kept).exitcode == 0
        race(forkserver, [(root, value, DAY) for value in (1.0, 2.0)])
        found = DeltaLake(root, "race").read("labels", DAY, DAY)
        assert len(found) == 20_000
        assert found["value"].nunique() == 1
        assert found["value"].iloc[0] in (1.0, 2.0)


def test_two_writers_of_two_days_both_keep_their_rows(forkserver: ForkServerContext, tmp_path: Path) -> None:
    for attempt in range(5):
        root = str(tmp_path / str(attempt))
        race(forkserver, [(root, 1.0, DAY), (root, 2.0, DAY + timedelta(days=1))])
        found = DeltaLake(root, "race").read("labels", DAY, DAY + timedelta(days=1))
        assert found.groupby("_day")["value"].agg(["min", "max", "size"]).to_numpy().tolist() == [
            [1.0, 1.0, 20_000],
            [2.0, 2.0, 20_000],
        ]


def race(context: ForkServerContext, writers: list[tuple[str, float, date]]) -> None:
    start = context.Barrier(len(writers))
    processes = [context.Process(target=write_day, args=(*writer, start)) for writer in writers]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(writers)


def test_one_of_two_writers_wins_the_ledger_and_the_other_is_told(
    forkserver: ForkServerContext, tmp_path: Path
) -> None:
    for attempt in range(5):
        url = f"sqlite:///{tmp_path}/{attempt}.db"
        migrate(open_engine(url))
        start, outcome = forkserver.Barrier(2), forkserver.Queue()
        processes = [forkserver.Process(target=append_draft, args=(url, actor, start, outcome)) for actor in "ab"]
        for process in processes:
            process.start()
        told = dict(outcome.get(timeout=60) for _ in processes)
        for process in processes:
            process.join()
        winner = next(actor for actor, word in told.items() if word == "won")
        loser = "b" if winner == "a" else "a"
        assert told[loser] == (
            "Ledger stream 'release' of model 'race': another writer took entry 1 before this one "
            "('approved' of '1'). Read the stream again and decide anew."
        )
        assert [entry.payload for entry in SqlLedger(open_engine(url), "race").entries("release")] == [
            {"actor": winner}
        ]


def test_full_disk_leaves_the_lake_as_it_was(forkserver: ForkServerContext, tmp_path: Path) -> None:
    root = str(tmp_path)
    assert ended(forkserver, write_alone, root, DAY).exitcode == 0
    outcome = forkserver.Queue()
    ended(forkserver, write_with_full_disk, root, outcome)
    assert outcome.get(timeout=60) != "written"
    assert DeltaLake(root, "race").read("labels", DAY, DAY)["value"].tolist() == [0.0] * 7
    assert ended(forkserver, write_alone, root, DAY).exitcode == 0
    assert DeltaLake(root, "race").read("labels", DAY, DAY)["value"].tolist() == [0.0] * 7


def test_full_disk_leaves_the_ledger_as_it_was(forkserver: ForkServerContext, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    migrate(open_engine(url))
    outcome = forkserver.Queue()
    ended(forkserver, append_with_full_disk, url, outcome)
    assert outcome.get(timeout=60) == "LedgerUnavailableError"
    ledger = SqlLedger(open_engine(url), "race")
    assert ledger.entries("release") == []
    assert (
        ledger.append(Draft(stream="release", subject="1", kind="requested", as_of=DAY, payload={}), after=0).sequence
        == 1
    )
