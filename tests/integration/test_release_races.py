"""Two processes that move one release at the same time."""

from itertools import combinations
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.domain.journal import Draft
from trimtab.domain.release import allowed, releases, routing
from victims import DAY, race_release

pytestmark = pytest.mark.integration
MOVES = ("step", "rollback", "hold", "request")


def in_shadow(url: str) -> None:
    """Version 1 is champion and version 2 its shadow."""
    migrate(open_engine(url))
    ledger = SqlLedger(open_engine(url), "race")
    history = [("1", kind) for kind in ("requested", "approved", "live", "done")]
    for version, kind in [*history, ("2", "requested"), ("2", "approved"), ("2", "step")]:
        payload: Any = {"previous": "1" if version == "2" else None, "step": "shadow", "share": 0.0}
        draft = Draft(stream="release", subject=version, kind=kind, as_of=DAY, payload=payload)
        ledger.append(draft, after=ledger.head("release"))


@pytest.mark.parametrize("moves", list(combinations(MOVES, 2)), ids="-".join)
def test_whoever_wins_the_history_is_one_that_a_single_writer_could_have_made(
    moves: tuple[str, str], forkserver: ForkServerContext, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    in_shadow(url)
    start, outcome = forkserver.Barrier(2), forkserver.Queue()
    processes = [
        forkserver.Process(target=race_release, args=(url, str(tmp_path), move, start, outcome)) for move in moves
    ]
    for process in processes:
        process.start()
    told = dict(outcome.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert "made" in told.values()
    entries = SqlLedger(open_engine(url), "race").entries("release")
    for count in range(7, len(entries)):
        entry, before = entries[count], releases(entries[:count])
        if entry.kind == "requested":
            assert not any(one.is_open for one in before.values())
        else:
            assert entry.kind in allowed(before[entry.subject])
    assert sum(one.is_open for one in releases(entries).values()) <= 1
    assert routing(entries).champion == "1"
