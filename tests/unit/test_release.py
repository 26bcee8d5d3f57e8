"""A release as a state machine, and the routing that follows from it."""

from datetime import UTC, date, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.journal import Entry, Payload
from trimtab.domain.release import (
    PROGRESS,
    Kind,
    Release,
    Routing,
    allowed,
    check,
    has_reached,
    releases,
    routing,
    unit_interval,
)
from trimtab.errors import TransitionError

KINDS: tuple[Kind, ...] = get_args(Kind)


def entry(sequence: int, version: str, kind: str, **payload: object) -> Entry:
    return Entry(
        stream="release",
        sequence=sequence,
        subject=version,
        kind=kind,
        as_of=date(2013, 1, 1),
        payload=dict(payload),  # type: ignore[arg-type]
        recorded_at=datetime(2013, 1, 1, tzinfo=UTC),
    )


class History:
    """Release entries as the stages write them: one open release at a time, each previous one recorded."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.share = 0.0

    def request(self) -> str:
        version = str(len(releases(self.entries)) + 1)
        self._add(version, "requested", {"previous": routing(self.entries).champion})
        self.share = 0.0
        return version

    def move(self, version: str, to: Kind, share: float = 0.0) -> None:
        check(releases(self.entries).get(version), version, to)
        payload: Payload = {"step": f"s{share}", "share": share} if to == "step" else {}
        self._add(version, to, {"actor": "ann"} if to == "held" else payload)

    def _add(self, version: str, kind: str, payload: Payload) -> None:
        self.entries.append(entry(len(self.entries) + 1, version, kind, **payload))


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Any sequence of legal transitions of several releases, one after the other."""
    history = History()
    for _ in range(draw(st.integers(0, 25))):
        known = releases(history.entries)
        options = [(version, to) for version, one in known.items() for to in allowed(one)]
        if not any(one.is_open for one in known.values()):
            options.append(("", "requested"))
        version, to = draw(st.sampled_from(options))
        if to == "requested":
            history.request()
        else:
            history.share = draw(st.floats(history.share, 1)) if to == "step" else history.share
            history.move(version, to, history.share)
    return history


@given(histories())
def test_any_legal_history_routes_to_one_champion_and_at_most_one_challenger(history: History) -> None:
    known, route = releases(history.entries), routing(history.entries)
    assert sum(one.is_open for one in known.values()) <= 1
    settled = {version for version, one in known.items() if one.state in ("live", "done")}
    assert (route.champion in settled) if settled else (route.champion is None)
    assert len(set(route.versions)) == len(route.versions)
    if route.challenger:
        assert known[route.challenger].state == "step"
        assert route.share == known[route.challenger].share
    else:
        assert route.share == 0
    assert 0 <= route.sequence <= len(history.entries)
    assert (route.sequence == 0) == (route == Routing(sequence=0, champion=None))


@given(histories())
def test_ending_the_newest_release_returns_to_the_champion_before_it(history: History) -> None:
    version = history.request() if not any(one.is_open for one in releases(history.entries).values()) else ""
    if not version:
        return
    before = routing(history.entries).champion
    history.move(version, "approved")
    history.move(version, "live")
    live = routing(history.entries)
    assert (live.champion, live.previous) == (version, before)
    history.move(version, "rolled_back")
    assert routing(history.entries).champion == before


@given(histories(), st.sampled_from(KINDS))
def test_transition_is_refused_unless_the_state_allows_it(history: History, to: Kind) -> None:
    for version, release in releases(history.entries).items():
        if to in allowed(release):
            check(release, version, to)
        else:
            with pytest.raises(TransitionError) as told:
                check(release, version, to)
            words = ", ".join(map(repr, allowed(release))) or "nothing: it has ended"
            where = f"held at {release.state!r} by ann" if release.held_by else repr(release.state)
            assert str(told.value) == (
                f"Release of version {version} is {where} and cannot become {to!r}. It can become {words}."
            )


@given(histories())
def test_holding_and_resuming_leave_the_traffic_and_its_evidence_alone(history: History) -> None:
    before = routing(history.entries)
    for version, release in releases(history.entries).items():
        if "held" in allowed(release):
            history.move(version, "held")
            assert routing(history.entries) == before
            assert allowed(releases(history.entries)[version]) == ("resumed", "rolled_back")
            history.move(version, "resumed")
            assert routing(history.entries) == before
            assert allowed(releases(history.entries)[version]) == allowed(release)


@given(histories())
def test_held_release_can_always_be_rolled_back_and_leaves_what_was_before(history: History) -> None:
    version = history.request() if not any(one.is_open for one in releases(history.entries).values()) else ""
    if not version:
        return
    before = routing(history.entries).champion
    for to in ("approved", "live", "held", "rolled_back"):
        history.move(version, to)  # type: ignore[arg-type]
    assert routing(history.entries).champion == before


def test_evidence_of_a_step_begins_with_its_own_entry() -> None:
    history = History()
    history.request()
    for to in ("approved", "live", "done"):
        history.move("1", to)  # type: ignore[arg-type]
    history.request()
    history.move("2", "approved")
    assert routing(history.entries).sequence == 3, "a request changes no traffic"
    history.move("2", "step", 0.0)
    history.move("2", "held")
    history.move("2", "resumed")
    assert routing(history.entries).sequence == 7
    history.move("2", "step", 0.5)
    assert routing(history.entries).sequence == 10
    history.move("2", "step", 0.5)
    assert routing(history.entries).sequence == 11, "a step of the same share is another step"


def test_release_that_was_never_requested_cannot_move() -> None:
    with pytest.raises(TransitionError) as told:
        check(None, "7", "live")
    assert str(told.value) == "Release of version 7 was never requested. Request it before the step 'live'."


@given(histories())
def test_what_has_been_reached_is_not_reached_again(history: History) -> None:
    for release in releases(history.entries).values():
        if release.state in PROGRESS:
            position = PROGRESS.index(release.state)
            assert all(has_reached(release, to, 0.0) for to in PROGRESS[: position + 1])
            assert not any(has_reached(release, to, 0.0) for to in PROGRESS[position + 1 :])
        else:
            assert has_reached(release, release.state)
            assert not any(has_reached(release, to) for to in PROGRESS)


def test_step_with_a_greater_share_has_not_been_reached() -> None:
    shadow = Release(version="2", previous="1", state="step", step="shadow", share=0.05)
    assert has_reached(shadow, "step", 0.05)
    assert not has_reached(shadow, "step", 0.5)


def test_champion_of_two_finished_releases_is_the_later_one_and_a_rollback_of_it_returns_the_earlier() -> None:
    history = History()
    for version in ("1", "2"):
        assert history.request() == version
        for to in ("approved", "live", "done"):
            history.move(version, to)  # type: ignore[arg-type]
    assert routing(history.entries) == Routing(sequence=8, champion="2")
    history.move("2", "rolled_back")
    assert routing(history.entries) == Routing(sequence=9, champion="1")


def test_model_without_a_release_routes_nowhere() -> None:
    assert routing([]) == Routing(sequence=0, champion=None)
    assert routing([]).versions == ()


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_key_keeps_its_arm_and_never_returns_to_the_champion_while_the_share_rises(
    key: str, first: float, second: float
) -> None:
    low, high = (Routing(sequence=1, champion="1", challenger="2", share=share) for share in sorted((first, second)))
    assert low.arm(key) == low.arm(key)
    if low.arm(key) == "challenger":
        assert high.arm(key) == "challenger"
    assert 0 <= unit_interval(key) < 1


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_share_of_the_challenger_is_within_binomial_bounds(share: float) -> None:
    route, count = Routing(sequence=1, champion="1", challenger="2", share=share), 20_000
    arms = [route.arm(f"UA|{number}|EWR|515") for number in range(count)]
    bound = 4 * (count * share * (1 - share)) ** 0.5
    assert abs(arms.count("challenger") - count * share) <= bound


def test_largest_hash_stays_below_one() -> None:
    largest = ((2**56 - 1) >> 3) / 2**53
    assert largest < 1
    assert (2**56 - 1) / 2**56 == 1.0, "which is why three bits are dropped"


def test_without_a_challenger_the_champion_answers() -> None:
    assert Routing(sequence=1, champion="1", share=1.0).arm("any") == "champion"
