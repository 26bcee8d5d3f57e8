"""The guards of a release: what trips them, what they wait for, and what passes."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.domain.guards import (
    ArmTraffic,
    GuardReport,
    Quality,
    StepEvidence,
    judge_step,
    relative_losses,
    tolerated_failures,
)
from trimtab.domain.interaction import Interaction
from trimtab.domain.latency import bins_of_ratio, latency_bin, quantile_bin, quantile_ms
from trimtab.domain.memory import CALLS_AHEAD, MemoryEvidence, MemoryUse
from trimtab.domain.sequential import Moments
from trimtab.domain.spec import GuardsSpec, ReleaseSpec, StepSpec

SPEC = ReleaseSpec(guards=GuardsSpec(memory_ratio=None))
"""Memory has tests of its own."""
SHADOW, CANARY, _ = SPEC.steps


def arm(
    rows: int, *, failures: int = 0, slowness: float = 1.0, tail: float = 1.0, mean: float = 0.0, spread: float = 1.0
) -> ArmTraffic:
    """Calls from 5 to 10 ms, the last fifth of them a tail; predictions spread evenly around a mean."""
    calls = np.linspace(5, 10, rows) * slowness * np.where(np.arange(rows) >= 0.8 * rows, tail, 1)
    bins, counts = np.unique([latency_bin(call) for call in calls], return_counts=True)
    return ArmTraffic(
        requests=rows,
        failures=failures,
        latencies=dict(zip(bins.tolist(), counts.tolist(), strict=True)),
        outputs=Moments.of(np.linspace(mean - spread, mean + spread, rows)),
    )


def canary(challenger: ArmTraffic, champion: ArmTraffic | None = None, **known: object) -> GuardReport:
    """A canary of a twentieth."""
    champion = champion or arm(19 * challenger.requests)
    return judge_step(StepEvidence(champion=champion, challenger=challenger, **known), CANARY, SPEC)  # type: ignore[arg-type]


def test_challenger_as_good_as_the_champion_passes_with_the_planned_rows_and_no_earlier() -> None:
    early = canary(arm(99))
    assert (early.outcome, early.reasons) == (
        "wait",
        ("failures: 0 of 99 rows failed, 0 of 1881 of the champion; 1 more are needed",),
    )
    report = canary(arm(100))
    assert report.outcome == "pass"
    assert [reason.partition(":")[0] for reason in report.reasons] == ["failures", "latency", "outputs", "quality"]


def test_no_data_is_never_a_pass() -> None:
    for evidence in (
        StepEvidence(),
        StepEvidence(champion=arm(1000)),
        StepEvidence(challenger=arm(1000)),
        StepEvidence(champion=arm(1), challenger=arm(1000)),
    ):
        report = judge_step(evidence, SHADOW, SPEC)
        assert report.outcome == "wait"
        assert report.reasons


@given(
    rows=st.integers(0, 3000),
    others=st.integers(0, 3000),
    share=st.floats(0, 1),
    other_share=st.floats(0, 1),
)
def test_every_evidence_has_one_outcome_with_its_reasons(
    rows: int, others: int, share: float, other_share: float
) -> None:
    challenger = ArmTraffic(requests=rows, failures=round(rows * share))
    champion = ArmTraffic(requests=others, failures=round(others * other_share))
    report = judge_step(StepEvidence(champion=champion, challenger=challenger), SHADOW, SPEC)
    assert report.outcome in ("trip", "wait"), "nothing was timed"
    assert report.reasons
    more = replace(challenger, failures=rows)
    if report.outcome == "trip":
        worse = judge_step(StepEvidence(champion=champion, challenger=more), SHADOW, SPEC)
        assert worse.outcome == "trip", "more failures never help"


def test_failures_trip_as_soon_as_they_are_more_than_chance_gives() -> None:
    assert canary(arm(200, failures=2)).outcome != "trip"
    report = canary(arm(200, failures=3))
    assert (report.outcome, report.reasons) == (
        "trip",
        ("failures: 3 of 200 rows failed, 0 of 3800 of the champion",),
    )


def test_failures_that_the_champion_has_as_well_are_no_reason_to_trip_and_take_more_rows_to_pass() -> None:
    champion = arm(19_000, failures=380)
    report = canary(arm(100, failures=2), champion)
    assert report.outcome == "wait"
    assert "2 of 100 rows failed, 380 of 19000 of the champion; up to" in report.reasons[0]
    assert canary(arm(1000, failures=20), champion).outcome == "pass"


def test_rate_of_failures_that_no_number_of_rows_can_clear_says_so() -> None:
    report = canary(arm(200, failures=12), arm(200, failures=4))
    assert report.outcome == "wait"
    assert f"it is not less than {tolerated_failures(100):.1%} more often" in report.reasons[0]


@pytest.mark.parametrize(("slowness", "outcome"), [(0.5, "pass"), (1.0, "pass"), (1.2, "pass"), (2.0, "trip")])
def test_latency_is_judged_by_the_whole_distribution(slowness: float, outcome: str) -> None:
    assert canary(arm(400, slowness=slowness)).outcome == outcome


def test_slow_tail_trips_although_the_median_is_the_same() -> None:
    report = canary(arm(800, tail=4.0))
    assert report.outcome == "trip"
    assert report.reasons[0].startswith("latency: median 7.")
    assert report.reasons[0].endswith("more than 1.5 x is not allowed")


def test_shadow_is_timed_and_not_judged_by_it_since_it_works_in_spare_time() -> None:
    evidence = StepEvidence(champion=arm(1000), challenger=arm(1000, slowness=3.0))
    report = judge_step(evidence, SHADOW, SPEC)
    assert report.outcome == "pass"
    assert "latency: median 22" in "; ".join(report.reasons)


def test_batch_models_are_not_timed() -> None:
    spec = SPEC.model_copy(update={"traffic": "batch"})
    untimed = replace(arm(500), latencies={})
    evidence = StepEvidence(champion=untimed, challenger=untimed)
    assert judge_step(evidence, SHADOW, SPEC).outcome == "wait"
    assert judge_step(evidence, SHADOW, spec).outcome == "pass"


def test_outputs_are_compared_with_those_of_the_shadow_and_not_with_the_champion() -> None:
    shadow = arm(400).outputs, arm(400, mean=3.0).outputs
    assert canary(arm(400, mean=3.0), shadow=shadow).outcome == "pass"
    assert canary(arm(400, mean=0.0), shadow=shadow).outcome == "trip"
    assert canary(arm(400, mean=0.0)).outcome == "pass", "without a shadow nobody knows what to expect"
    moved = canary(arm(400, mean=53.0), arm(7600, mean=50.0), shadow=shadow)
    assert moved.outcome == "pass", "other traffic moves both versions"


def test_a_step_of_few_rows_is_not_held_up_by_a_guard_that_needs_more() -> None:
    step = StepSpec(name="canary", share=0.5, requests=30)
    assert judge_step(StepEvidence(champion=arm(30), challenger=arm(30)), step, SPEC).outcome == "pass"


def test_labels_are_waited_for_only_where_the_step_says_so() -> None:
    step = CANARY.model_copy(update={"labels": 200})
    evidence = StepEvidence(champion=arm(2000), challenger=arm(100))
    report = judge_step(evidence, step, SPEC)
    assert report.reasons == ("quality: 0 of 200 labelled rows of each version, 200 more are needed",)
    paired = replace(evidence, quality=Quality(paired=np.zeros(150)))
    assert judge_step(paired, step, SPEC).reasons == ("quality: 150 of 200 labelled rows, 50 more are needed",)
    assert judge_step(replace(evidence, quality=Quality(paired=np.zeros(200))), step, SPEC).outcome == "pass"


def test_worse_answers_trip_by_row_and_by_arm_and_better_ones_do_not() -> None:
    worse = np.tile([1.0, 0.0, 0.0, 0.0], 100)
    assert canary(arm(100), quality=Quality(paired=worse)).outcome == "trip"
    assert canary(arm(100), quality=Quality(paired=-worse)).outcome == "pass"
    losses = Moments.of(np.tile([1.0, 0.0], 500))
    arms = Quality(champion=losses, challenger=Moments.of(np.tile([1.0, 1.0, 1.0, 0.0], 250)))
    assert canary(arm(100), quality=arms).outcome == "trip"
    assert canary(arm(100), quality=replace(arms, challenger=losses)).outcome == "pass"


def test_users_who_do_not_take_the_answers_trip_and_clicks_do_not() -> None:
    old = Interaction(rows=1900, retry=19, click=19)
    for kind, outcome in (("retry", "trip"), ("override", "trip"), ("correction", "trip"), ("click", "pass")):
        quality = Quality(interactions=(old, Interaction(rows=100, **{kind: 15})))
        assert canary(arm(100), quality=quality).outcome == outcome
    alike = Quality(interactions=(old, Interaction(rows=100, retry=1)))
    assert canary(arm(100), quality=alike).outcome == "pass"


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), min_size=1))
def test_relative_losses_lie_between_minus_one_and_one_and_turn_with_the_sides(
    pairs: list[tuple[float, float]],
) -> None:
    new, old = np.array(pairs).T
    found = relative_losses(new, old)
    assert np.abs(found).max() <= 1
    assert np.array_equal(found, -relative_losses(old, new))
    assert np.array_equal(np.sign(found), np.sign(np.where(new + old > 0, new - old, 0)))


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=50), st.floats(1.05, 20))
def test_a_slower_latency_is_as_many_bins_away_as_its_ratio_says(calls: list[float], ratio: float) -> None:
    def counted(values: list[float]) -> dict[int, int]:
        bins = [latency_bin(value) for value in values]
        return {one: bins.count(one) for one in bins}

    quick, slow = counted(calls), counted([ratio * value for value in calls])
    assert abs(quantile_bin(slow, 0.5) - quantile_bin(quick, 0.5) - bins_of_ratio(ratio)) <= 1
    assert math.isnan(quantile_ms({}, 0.5))


def releases(challenger: Callable[[np.random.Generator, int], ArmTraffic], count: int, seed: int) -> dict[str, int]:
    """How often a canary of half the traffic ends how, looked at every 20 rows up to 2,000."""
    random, ended = np.random.default_rng(seed), {"pass": 0, "trip": 0, "wait": 0}
    step = SPEC.steps[2]
    for _ in range(count):
        old, new = ArmTraffic(), ArmTraffic()
        for _ in range(100):
            old, new = both(old, drawn(random, 20, 0.002, 1.0)), both(new, challenger(random, 20))
            report = judge_step(StepEvidence(champion=old, challenger=new), step, SPEC)
            if report.outcome != "wait":
                break
        ended[report.outcome] += 1
    return ended


def drawn(random: np.random.Generator, rows: int, failures: float, slowness: float) -> ArmTraffic:
    bins = [latency_bin(one) for one in random.lognormal(2, 0.5, rows) * slowness]
    return ArmTraffic(
        requests=rows,
        failures=int(random.binomial(rows, failures)),
        latencies={one: bins.count(one) for one in bins},
        outputs=Moments.of(random.normal(0, 1, rows)),
    )


def both(one: ArmTraffic, other: ArmTraffic) -> ArmTraffic:
    bins = {*one.latencies, *other.latencies}
    return ArmTraffic(
        requests=one.requests + other.requests,
        failures=one.failures + other.failures,
        latencies={bin_: one.latencies.get(bin_, 0) + other.latencies.get(bin_, 0) for bin_ in bins},
        outputs=one.outputs + other.outputs,
    )


def test_good_challengers_pass_and_bad_ones_are_sent_back_however_often_one_looks() -> None:
    good = releases(lambda random, rows: drawn(random, rows, 0.002, 1.0), 40, 1)
    assert good["trip"] <= 2
    assert good["pass"] >= 36
    assert releases(lambda random, rows: drawn(random, rows, 0.04, 1.0), 20, 2)["trip"] >= 19
    assert releases(lambda random, rows: drawn(random, rows, 0.002, 2.0), 20, 3)["trip"] == 20


MB = 10**6


def use(megabytes: int, *, leak: float = 0.0) -> MemoryUse:
    return MemoryUse(peak=megabytes * MB, growth=leak, calls=2000)


def judged_by_memory(champion: MemoryUse, challenger: MemoryUse) -> GuardReport:
    memory = MemoryEvidence(champion=champion, challenger=challenger)
    evidence = StepEvidence(champion=arm(1000), challenger=arm(1000), memory=memory)
    return judge_step(evidence, SHADOW, ReleaseSpec())


def test_memory_that_is_not_known_is_never_a_pass() -> None:
    evidence = StepEvidence(champion=arm(1000), challenger=arm(1000))
    assert judge_step(evidence, SHADOW, ReleaseSpec()) == GuardReport(outcome="wait", reasons=("memory: not measured",))
    told = replace(evidence, memory="it ended with -9")
    assert judge_step(told, SHADOW, ReleaseSpec()).reasons == ("memory: it ended with -9",)
    assert judge_step(evidence, SHADOW, SPEC).outcome == "pass", "the spec does not ask for it"


def test_challenger_that_needs_much_more_memory_trips() -> None:
    assert judged_by_memory(use(200), use(300)).outcome == "pass"
    report = judged_by_memory(use(200), use(301))
    assert (report.outcome, report.reasons) == (
        "trip",
        ("memory: 301 MB against 200 MB, more than 1.5 x is not allowed",),
    )


def test_leak_trips_before_it_has_filled_the_memory_and_not_if_the_champion_has_it_too() -> None:
    harmless = 99 * MB / CALLS_AHEAD
    assert judged_by_memory(use(200), use(200, leak=harmless)).outcome == "pass"
    report = judged_by_memory(use(200), use(200, leak=10_000))
    assert report.outcome == "trip"
    assert "200 MB and 10 kB more with each call against 200 MB" in report.reasons[0]
    assert judged_by_memory(use(200, leak=10_000), use(200, leak=10_000)).outcome == "pass"
