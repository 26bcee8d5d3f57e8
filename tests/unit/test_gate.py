"""The gate promotes on paired evidence alone, and proves that it can refuse."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from trimtab.domain import gate
from trimtab.domain.gate import CheckOutcome, Evidence, GateDecision, decide, decide_and_prove, paired_test, planted
from trimtab.domain.metrics import FloatArray
from trimtab.domain.spec import GateSpec

DAYS, PER_DAY = 7, 60
SPEC = GateSpec(min_days=5, min_rows=100, min_slice_rows=50, margin=0.1)


def day_names(days: int = DAYS, per_day: int = PER_DAY) -> NDArray[np.object_]:
    return np.repeat(np.array([f"2013-01-{day:02d}" for day in range(1, days + 1)], dtype=object), per_day)


def evidence(
    seed: int, gain: float, *, days: int = DAYS, slices: dict[str, NDArray[np.object_]] | None = None
) -> Evidence:
    """Errors around 10 for the champion and 10 - gain for the challenger, both worse on the same bad days."""
    random = np.random.default_rng(seed)
    day = day_names(days)
    storm = np.repeat(random.normal(0, 2, days), PER_DAY)

    def losses(level: float) -> FloatArray:
        own_day = np.repeat(random.normal(0, 0.5, days), PER_DAY)
        return np.abs(level + storm + own_day + random.normal(0, 3, len(day)))

    return Evidence(
        loss_name="MAE",
        day=day,
        challenger=losses(10 - gain),
        constant=losses(40),
        baseline=losses(12),
        champion=losses(10),
        slices=slices or {},
    )


def outcomes(decision: GateDecision) -> dict[str, CheckOutcome]:
    return {check.name: check.outcome for check in decision.checks}


@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(-1, 1))
def test_paired_test_is_the_t_test_of_daily_means(seed: int, days: int, margin: float) -> None:
    random = np.random.default_rng(seed)
    day = np.array([f"d{number}" for number in random.integers(0, days, 200)], dtype=object)
    first, second = random.exponential(2, 200), random.exponential(2, 200)
    means = [(first - second - margin)[day == one].mean() for one in np.unique(day.astype(str))]
    expected = ttest_1samp(means, 0, alternative="less")
    found = paired_test(first, second, day, margin)
    assert found.days == len(means)
    assert found.mean == pytest.approx(np.mean(means), abs=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)


def test_paired_test_of_one_day_or_none_has_no_p_value() -> None:
    one = paired_test(np.array([1.0, 2]), np.array([2.0, 4]), np.array(["a", "a"], dtype=object))
    assert (one.days, one.mean) == (1, -1.5)
    assert np.isnan(one.p_value)
    none = paired_test(np.array([]), np.array([]), np.array([], dtype=object))
    assert none.days == 0
    assert np.isnan(none.p_value)


@pytest.mark.parametrize(("shift", "p_value"), [(-1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_paired_test_of_a_difference_without_spread_is_certain(shift: float, p_value: float) -> None:
    second = np.arange(4.0)
    assert paired_test(second + shift, second, np.array(["a", "a", "b", "b"], dtype=object)).p_value == p_value


def test_clear_gain_is_promoted_with_the_numbers_that_decided() -> None:
    decision = decide_and_prove(evidence(0, 3), SPEC, seed=0)
    assert decision.promote
    assert set(outcomes(decision).values()) == {CheckOutcome.PASSED}
    assert decision.summary.startswith("Promote: 420 labelled rows of 7 days on the hold-out; beats a constant: MAE ")
    assert decision.summary.endswith("no slice is worse by 10%; all planted bad candidates refused.")


def test_reasons_name_the_loss_of_the_task() -> None:
    slices = {"carrier": np.where(np.arange(DAYS * PER_DAY) % 6 == 0, "HA", "UA").astype(object)}
    found = replace(evidence(0, 3, slices=slices), loss_name="log loss")
    assert "beats the champion: log loss " in decide(found, SPEC).summary
    hurt = found.challenger.copy()
    hurt[slices["carrier"] == "HA"] += 6
    refused = decide(replace(found, challenger=hurt), SPEC).summary
    assert "worse on carrier HA (log loss " in refused
    assert "MAE" not in refused


def test_clear_gain_is_promoted_almost_always() -> None:
    promoted = sum(decide_and_prove(evidence(seed, 2), SPEC, seed).promote for seed in range(200))
    assert promoted >= 190


def test_equal_challenger_is_promoted_about_as_often_as_the_level_says() -> None:
    promoted = sum(decide(evidence(seed, 0), SPEC).promote for seed in range(1000))
    assert 30 <= promoted <= 70  # 50 are expected at 5 %; the bounds are three standard deviations wide


def test_worse_challenger_is_refused() -> None:
    decision = decide_and_prove(evidence(0, -2), SPEC, seed=0)
    assert not decision.promote
    assert outcomes(decision)["beats the champion"] is CheckOutcome.FAILED
    assert "beats the champion: not shown: MAE " in decision.summary


@given(st.integers(0, 10_000), st.booleans(), st.floats(-5, 5))
def test_planted_candidates_are_always_refused(seed: int, has_champion: bool, gain: float) -> None:
    found = evidence(seed, gain)
    if not has_champion:
        found = replace(found, champion=None)
    for bad in planted(found, seed).values():
        assert not decide(bad, SPEC).promote


def test_gate_that_lets_everything_through_refuses_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "decide", lambda evidence, spec: GateDecision(promote=True, checks=()))
    decision = decide_and_prove(evidence(0, 3), SPEC, seed=0)
    assert not decision.promote
    assert decision.summary == "Refuse: can refuse: planted bad candidates promoted: shuffled, copy, silent."


@pytest.mark.parametrize(
    ("days", "rows", "reason"),
    [
        (4, 240, "evidence: 240 labelled rows of 4 days, 100 rows of 5 days are needed"),
        (7, 70, "evidence: 70 labelled rows of 7 days, 100 rows of 5 days are needed"),
        (7, 0, "evidence: 0 labelled rows of 0 days, 100 rows of 5 days are needed"),
    ],
)
def test_missing_evidence_is_never_a_pass(days: int, rows: int, reason: str) -> None:
    found = evidence(0, 5, days=days)
    chosen = np.linspace(0, len(found.day) - 1, rows).astype(int)
    few = Evidence(
        loss_name="MAE",
        day=found.day[chosen],
        challenger=found.challenger[chosen],
        constant=found.constant[chosen],
        baseline=found.baseline[chosen],
        champion=None if found.champion is None else found.champion[chosen],
        slices={},
    )
    decision = decide_and_prove(few, SPEC, seed=0)
    assert not decision.promote
    assert outcomes(decision)["evidence"] is CheckOutcome.NO_EVIDENCE
    assert decision.summary == f"Refuse: {reason}."


def test_error_that_is_not_a_number_is_never_a_pass() -> None:
    found = evidence(0, 5)
    broken = found.challenger.copy()
    broken[3] = np.nan
    decision = decide_and_prove(replace(found, challenger=broken), SPEC, seed=0)
    assert not decision.promote
    assert outcomes(decision)["beats the champion"] is CheckOutcome.FAILED


def test_first_model_needs_no_champion_but_must_beat_constant_and_baseline() -> None:
    found = replace(evidence(0, 0), champion=None)
    assert decide_and_prove(found, SPEC, seed=0).promote
    assert not decide_and_prove(replace(found, challenger=found.constant + 1), SPEC, seed=0).promote
    assert not decide_and_prove(replace(found, baseline=found.challenger / 2), SPEC, seed=0).promote


def test_baseline_may_be_better_by_less_than_the_margin() -> None:
    found = replace(evidence(0, 0), champion=None)
    near = replace(found, baseline=found.challenger * 0.97)
    assert decide(near, SPEC).promote
    assert not decide(near, SPEC.model_copy(update={"margin": 0.0})).promote


def test_gain_on_the_whole_that_costs_a_slice_is_refused() -> None:
    slices = {"carrier": np.where(np.arange(DAYS * PER_DAY) % 6 == 0, "HA", "UA").astype(object)}
    found = evidence(0, 3, slices=slices)
    assert decide(found, SPEC).promote
    hurt = found.challenger.copy()
    hurt[slices["carrier"] == "HA"] += 6
    decision = decide(replace(found, challenger=hurt), SPEC)
    assert not decision.promote
    assert outcomes(decision)["beats the champion"] is CheckOutcome.PASSED
    assert "no slice is worse: worse on carrier HA (MAE " in decision.summary
    assert decision.summary.endswith(", 70 rows).")


def test_slice_of_few_rows_is_not_judged() -> None:
    slices = {"carrier": np.where(np.arange(DAYS * PER_DAY) < 40, "OO", "UA").astype(object)}
    found = evidence(0, 3, slices=slices)
    hurt = found.challenger.copy()
    hurt[:40] += 6
    assert decide(replace(found, challenger=hurt), SPEC).promote
