"""Memory as a process of its own needs it, of candidates that were made to need more."""

import pytest

from trimtab.adapters.memory_trial import ProcessMemoryTrial
from trimtab.adapters.model_package import FEATURE_FILE
from trimtab.domain.guards import StepEvidence, judge_step
from trimtab.domain.memory import MemoryEvidence, MemoryUse
from trimtab.domain.spec import ReleaseSpec
from trimtab.errors import MemoryTrialError
from unit.serving_doubles import columns_of, flights, folder, package

pytestmark = pytest.mark.integration

SPEC = ReleaseSpec()
MB = 10**6
HEAVY = b"\nHELD = np.ones(500_000_000 // 8)\n"
LEAKING = b"""
_KEPT = []
_plane_age = plane_age


def plane_age(year: Numbers, plane_year: Numbers) -> Numbers:
    _KEPT.append(bytearray(10_000))
    return _plane_age(year, plane_year)
"""
CACHING = b"""
_KNOWN = {}
_weekday = weekday


def weekday(year: Numbers, month: Numbers, day: Numbers) -> Numbers:
    for key in zip(year.tolist(), month.tolist(), day.tolist()):
        if key not in _KNOWN:
            _KNOWN[key] = bytearray(50_000)
    return _weekday(year, month, day)
"""
RAISING = b"\nraise MemoryError('planted')\n"


def measured(planted: bytes = b"") -> MemoryUse:
    files = {**package(1), FEATURE_FILE: package(1)[FEATURE_FILE] + planted}
    return ProcessMemoryTrial().measure(files, columns_of(flights(1000), folder().spec))


@pytest.fixture(scope="module")
def champion() -> MemoryUse:
    return measured()


def outcome(champion: MemoryUse, challenger: MemoryUse) -> str:
    """Of a step with no other evidence: nothing but memory can trip."""
    memory = MemoryEvidence(champion=champion, challenger=challenger)
    return judge_step(StepEvidence(memory=memory), SPEC.steps[0], SPEC).outcome


def test_version_that_is_measured_again_needs_the_same(champion: MemoryUse) -> None:
    again = measured()
    assert abs(again.peak - champion.peak) < 0.05 * champion.peak
    assert again.growth < 100
    assert outcome(champion, again) == "wait"


def test_candidate_that_holds_500_mb_more_is_found(champion: MemoryUse) -> None:
    heavy = measured(HEAVY)
    assert heavy.peak - champion.peak == pytest.approx(500 * MB, rel=0.1)
    assert outcome(champion, heavy) == "trip"


def test_candidate_that_leaks_ten_kilobytes_a_call_is_found_while_it_is_still_small(champion: MemoryUse) -> None:
    leaking = measured(LEAKING)
    assert leaking.growth == pytest.approx(10_000, rel=0.2)
    assert leaking.peak < 1.5 * champion.peak
    assert outcome(champion, leaking) == "trip"


def test_candidate_that_remembers_what_it_has_seen_does_not_leak(champion: MemoryUse) -> None:
    caching = measured(CACHING)
    assert caching.growth < 100
    assert outcome(champion, caching) == "wait"


def test_candidate_that_cannot_be_opened_is_an_error_with_its_last_word() -> None:
    with pytest.raises(MemoryTrialError, match="cannot be run: MemoryError"):
        measured(RAISING)
