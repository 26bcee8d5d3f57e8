"""How workers agree about the routing in force: here some in this process, and some that have died."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.serving import cutover
from trimtab.serving.cutover import PATIENCE_S, SUFFIX, Cutover, left_behind
from unit.serving_doubles import Service, client, new_service

SLOTS = 3


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / f"flights{SUFFIX}"


def workers(file: Path, clock: Clock, count: int = SLOTS) -> list[Cutover]:
    """Workers that follow routing 1."""
    made = [Cutover(file, slot, SLOTS, timer=clock) for slot in range(count)]
    for one in made:
        one.prepare(1, 0.0)
    assert seen(made) == {1}
    return made


def seen(made: Sequence[Cutover]) -> set[int | None]:
    return {one.in_force for one in made}


def test_one_worker_follows_what_it_has_prepared_at_once() -> None:
    alone = Cutover()
    assert alone.in_force is None
    alone.prepare(0, 0.0)
    assert alone.in_force == 0
    alone.prepare(7, 0.0)
    assert alone.in_force == 7


def test_routing_is_in_force_for_all_when_the_last_worker_has_prepared_it(file: Path, clock: Clock) -> None:
    made = workers(file, clock)
    for one in made[:-1]:
        one.prepare(2, 0.0)
        assert seen(made) == {1}
    made[-1].prepare(2, 0.0)
    assert seen(made) == {2}
    assert made[0].behind() == []


def test_routing_that_some_have_passed_over_is_not_put_in_force(file: Path, clock: Clock) -> None:
    first, second, third = workers(file, clock)
    first.prepare(2, 0.0)
    second.prepare(3, 0.0)
    third.prepare(3, 0.0)
    assert seen([first, second, third]) == {1}
    first.prepare(3, 0.0)
    assert seen([first, second, third]) == {3}


def test_worker_that_has_died_is_not_waited_for(file: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, dead = workers(file, clock)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead._own[cutover._PID] = gone.pid
    first.prepare(2, 0.0)
    assert seen([first, second]) == {1}
    second.prepare(2, 0.0)
    assert seen([first, second]) == {2}
    assert first.behind() == []


def test_worker_that_hangs_holds_the_others_only_so_long_and_is_named(file: Path, clock: Clock) -> None:
    first, second, hung = workers(file, clock)
    for one in (first, second):
        one.prepare(2, 3.0)
    clock.now = PATIENCE_S + 2.9
    assert seen([first, second, hung]) == {1}
    clock.now = PATIENCE_S + 3.0
    assert first.in_force == 2
    assert seen([second, hung]) == {2}, "in the same moment"
    assert second.behind() == [os.getpid()]
    assert left_behind(file.parent) == {os.getpid()}
    for one in (first, second):
        one.prepare(3, 0.0)
    assert seen([first, second]) == {3}, "it is not waited for again"
    hung.prepare(3, 0.0)
    assert left_behind(file.parent) == set()


def test_time_that_an_earlier_routing_took_is_not_waited_for_again(file: Path, clock: Clock) -> None:
    first, second, third = workers(file, clock)
    for one in (first, second, third):
        one.prepare(2, 60.0)
    assert second.in_force == 2, "put in force by another worker than the first"
    first.prepare(3, 0.0)
    clock.now = PATIENCE_S
    assert first.in_force == 3
    second.prepare(3, 0.0)
    first.prepare(4, 10.0)
    first.prepare(5, 0.0)
    clock.now += 9.0 + PATIENCE_S
    assert first.in_force == 3, "the others may still be at what took this one so long"
    clock.now += 1.0
    assert first.in_force == 5


def test_new_worker_in_the_slot_of_a_dead_one_neither_takes_back_what_is_in_force_nor_holds_the_others(
    file: Path, clock: Clock
) -> None:
    first, second, third = workers(file, clock)
    for one in (first, second, third):
        one.prepare(2, 0.0)
    assert third.in_force == 2
    new = Cutover(file, 2, SLOTS, timer=clock)
    assert new.in_force == 2
    for one in (first, second):
        one.prepare(3, 0.0)
    assert seen([first, second, new]) == {3}
    assert new.behind() == [], "it has not begun to answer"
    new.prepare(3, 0.0)
    for one in (first, second):
        one.prepare(4, 0.0)
    assert seen([first, second, new]) == {3}, "now it is waited for"


STEPS = st.tuples(st.sampled_from(["prepare", "catch up", "look", "restart", "wait"]), st.integers(0, SLOTS - 1))


@given(st.lists(STEPS, max_size=60))
def test_what_is_in_force_never_goes_back_and_has_been_prepared_by_all_whose_time_is_not_over(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    file, clock = tmp_path_factory.mktemp("cutover") / f"m{SUFFIX}", Clock()
    made = [Cutover(file, slot, SLOTS, timer=clock) for slot in range(SLOTS)]
    prepared, newest, in_force = [0] * SLOTS, 1, 0
    for what, slot in steps:
        if what in ("prepare", "catch up"):
            newest += what == "prepare"
            prepared[slot] = newest
            made[slot].prepare(newest, 0.0)
        elif what == "restart":
            prepared[slot] = 0
            made[slot] = Cutover(file, slot, SLOTS, timer=clock)
        elif what == "wait":
            clock.now += PATIENCE_S
        before, in_force = in_force, made[slot].in_force or 0
        assert in_force >= before
        if in_force > before and clock.now < PATIENCE_S:
            assert {own for own in prepared if own >= max(before, 1)} == {in_force}


def test_worker_that_is_behind_refuses_instead_of_answering_by_a_routing_that_others_have_left(
    tmp_path: Path, file: Path, clock: Clock
) -> None:
    service: Service = new_service(tmp_path)
    other = Cutover(file, 0, 2, timer=clock)
    service.server._cutover = Cutover(file, 1, 2, timer=clock)
    service.go_live("1")
    service.server.refresh()
    other.prepare(3, 0.0)
    assert service.server.state.version == "1"
    service.step("2", 0.5)
    other.prepare(7, 0.0)
    assert (service.server.state.routing, service.server.state.problem) == (3, None)
    clock.now = PATIENCE_S
    assert other.in_force == 7
    state = service.server.state
    assert (state.version, state.problem) == (None, f"routing 7 is in force, and not prepared in process {os.getpid()}")
    assert service.server.is_missed
    assert not service.server.is_following
    service.server.refresh()
    assert (service.server.state.routing, service.server.state.problem) == (7, None)


def test_new_worker_is_not_following_before_it_is_at_the_routing_in_force(
    tmp_path: Path, file: Path, clock: Clock
) -> None:
    service: Service = new_service(tmp_path)
    service.go_live("1")
    other = Cutover(file, 0, 2, timer=clock)
    other.prepare(2, 0.0)
    assert other.in_force == 2
    service.server._cutover = Cutover(file, 1, 2, timer=clock)
    service.server.refresh()
    assert service.server.is_missed
    assert not service.server.is_following
    other.prepare(3, 0.0)
    assert other.in_force == 3
    assert service.server.is_following
    assert not service.server.is_missed
    assert service.server.state.version == "1"


def test_versions_of_a_routing_are_let_go_when_all_follow_the_next(tmp_path: Path, file: Path, clock: Clock) -> None:
    service: Service = new_service(tmp_path)
    other = Cutover(file, 0, 2, timer=clock)
    service.server._cutover = Cutover(file, 1, 2, timer=clock)
    service.go_live("1")
    service.server.refresh()
    other.prepare(3, 0.0)
    service.go_live("3")
    service.server.refresh()
    assert service.server.state.version == "1"
    assert set(service.server._prepared) == {3, 7}
    other.prepare(7, 0.0)
    assert service.server.state.version == "3"
    service.server.refresh()
    assert set(service.server._prepared) == {7}


def test_worker_whom_the_ledger_does_not_answer_follows_what_another_one_has_had_of_it(
    tmp_path: Path, file: Path, clock: Clock
) -> None:
    service, other = new_service(tmp_path), new_service(tmp_path)
    for slot, one in enumerate((service, other)):
        one.server._cutover = Cutover(file, slot, 2, timer=clock)
    service.go_live("1")
    for one in (service, other):
        one.server.refresh()
    service.go_live("2", previous="1", done=False)
    service.server.refresh()
    other.ledger.down = True
    other.server.refresh()
    assert (service.server.state.version, other.server.state.version) == ("2", "2")
    assert "does not answer" in (other.server.problem or "")
    service.move("2", "rolled_back")
    service.server.refresh()
    assert sorted(one.name.split(".")[1] for one in file.parent.glob("*.routing")) == ["8"]


def test_new_worker_that_has_nothing_does_not_listen_while_another_one_answers(
    tmp_path: Path, file: Path, clock: Clock
) -> None:
    service = new_service(tmp_path)
    service.go_live("1")
    other = Cutover(file, 0, 2, timer=clock)
    other.prepare(3, 0.0)
    assert other.in_force == 3
    service.server._cutover = Cutover(file, 1, 2, timer=clock)
    assert not service.server.is_answered_elsewhere, "the other one is of this process"
    other._own[cutover._PID] = os.getppid()
    service.ledger.down = True
    service.server.refresh()
    assert service.server.is_missed
    assert service.server.is_answered_elsewhere
    app = service.app(load_first_s=0.2)

    async def start() -> bool:
        try:
            async with asyncio.timeout(2), client(app):
                return True
        except TimeoutError:
            return False

    assert not asyncio.run(start())
    other._own[cutover._PID] = 2**22 + 1
    assert asyncio.run(start())
