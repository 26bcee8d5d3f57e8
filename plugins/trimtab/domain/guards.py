"""What lets a challenger go on with a release, and what sends it back.

A guard that has shown harm trips. One that has ruled out harm passes. In between it waits and says what is missing, so
that no data is never a pass. All are judged again whenever there is new evidence, as often as one likes: their levels
hold at any look (`trimtab.domain.sequential`), and the budget of false alarms is spread over all that could raise one.
Source for asking both questions, "is it worse?" and "can it still be much worse?": Schultzberg, Ankargren and Franberg,
"Risk-aware product decisions in A/B tests with multiple metrics" (2024), arXiv 2402.11609.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from trimtab.domain.interaction import Interaction, InteractionKind
from trimtab.domain.latency import bins_of_ratio, quantile_bin, quantile_ms
from trimtab.domain.memory import MemoryEvidence
from trimtab.domain.sequential import (
    Interval,
    Moments,
    log_evidence_of_excess,
    log_evidence_of_less,
    log_evidence_of_rise,
    mean_difference,
    rate_interval,
)

if TYPE_CHECKING:
    from trimtab.domain.metrics import FloatArray
    from trimtab.domain.release import Release
    from trimtab.domain.spec import GuardsSpec, ReleaseSpec, StepSpec

Outcome: TypeAlias = Literal["pass", "trip", "wait"]

RULED_OUT = 0.05
"""Probability at which a harm counts as ruled out that is as large as the guard is to find."""
MEDIAN, TAIL = 0.5, 0.95
COMPLAINTS: tuple[InteractionKind, ...] = ("correction", "override", "retry")
"""What users do to an answer that they do not take; a click may be either."""
ALARMS_A_STEP = 5 + len(COMPLAINTS)
"""Failures, latency at two quantiles, outputs, losses, and each complaint."""
MOST_DOUBLINGS = 8
"""Of the rows there are, when the number that is needed is looked for."""
SMALL_SAMPLE = 50
"""Rows below which a mean is not taken for nearly normal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmTraffic:
    """What one version did on the traffic of one routing, on the rows that were its own.

    A row that the champion took over from a challenger that had failed is none of the champion's own.
    """

    requests: int = 0
    """Rows that it was asked about."""
    failures: int = 0
    """Rows that ended in an exception or in a prediction that is not a finite number."""
    latencies: Mapping[int, int] = field(default_factory=dict)
    """Calls by bin of `trimtab.domain.latency`: the rows of a call share its time, and it counts once."""
    outputs: Moments = field(default_factory=Moments)
    """Of its predictions."""

    @property
    def latency_ms_p50(self) -> float:
        """Median milliseconds of a call; nan of none."""
        return quantile_ms(self.latencies, MEDIAN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What labels and users have said so far about the predictions of a step."""

    paired: FloatArray = field(default_factory=lambda: np.zeros(0))
    """Of labelled rows that both versions predicted (n,): loss of the challenger minus that of the champion, over their
    sum; see `relative_losses`."""
    champion: Moments = field(default_factory=Moments)
    """Losses of the labelled rows that it answered alone."""
    challenger: Moments = field(default_factory=Moments)
    interactions: tuple[Interaction, Interaction] = (Interaction(), Interaction())
    """What users did with the answers of champion and challenger."""


def relative_losses(challenger: FloatArray, champion: FloatArray) -> FloatArray:
    """Differences of two losses (n,), each over their sum, from -1 to 1; 0 where both are 0.

    Of losses of 0 and 1 it is who was right alone, as in McNemar's test. Others count by how much worse, not by how
    large they are, so that a single row cannot decide.
    """
    total = challenger + champion
    difference: FloatArray = np.divide(challenger - champion, total, out=np.zeros_like(total), where=total > 0)
    return difference


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvidence:
    """What is known about a challenger in one step of its release."""

    champion: ArmTraffic = ArmTraffic()
    challenger: ArmTraffic = ArmTraffic()
    shadow: tuple[Moments, Moments] | None = None
    """Predictions of champion and challenger in the shadow step; None: there was none before this step."""
    quality: Quality = field(default_factory=Quality)
    memory: MemoryEvidence | str = "not measured"
    """What both versions need, or why that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReport:
    """What one guard says, or all of them together."""

    outcome: Outcome
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    """How much evidence a guard of this step needs."""

    planned: int
    labels: int
    is_shadow: bool
    level: float
    spec: GuardsSpec

    @property
    def log_evidence(self) -> float:
        """From here on a harm is shown."""
        return -math.log(self.level)


def judge_step(evidence: StepEvidence, step: StepSpec, spec: ReleaseSpec) -> GuardReport:
    """Ask every guard of a step: one that trips decides, else one that waits, else the step is passed."""
    alarms = ALARMS_A_STEP * len(spec.steps)
    bar = _Bar(
        planned=step.requests,
        labels=step.labels,
        is_shadow=step.share == 0,
        level=spec.guards.false_rollbacks / alarms,
        spec=spec.guards,
    )
    said = [guard(evidence, bar) for guard in GUARDS if guard is not _latency or spec.traffic == "online"]
    for outcome in ("trip", "wait"):
        reasons = tuple(reason for one in said if one.outcome == outcome for reason in one.reasons)
        if reasons:
            return GuardReport(outcome=outcome, reasons=reasons)
    return GuardReport(outcome="pass", reasons=tuple(reason for one in said for reason in one.reasons))


def waived(release: Release, report: GuardReport) -> GuardReport:
    """The report, or a pass, if it waits and a person lets the release go on without what it waits for."""
    if report.outcome != "wait" or release.waived_by is None:
        return report
    words = f"{release.waived_by} lets it go on without the evidence: {'; '.join(report.reasons)}"
    return GuardReport(outcome="pass", reasons=(words,))


def _failures(evidence: StepEvidence, bar: _Bar) -> GuardReport:
    old, new = evidence.champion, evidence.challenger
    counts = f"{new.failures} of {new.requests} rows failed, {old.failures} of {old.requests} of the champion"
    if log_evidence_of_excess(new.failures, old.failures, _share(old.requests, new.requests)) >= bar.log_evidence:
        return GuardReport(outcome="trip", reasons=(f"failures: {counts}",))
    missing = _missing_rows(old, new, bar.planned)
    if missing:
        return GuardReport(outcome="wait", reasons=(f"failures: {counts}; {missing}",))
    return GuardReport(outcome="pass", reasons=(f"failures: {counts}",))


def tolerated_failures(planned: int) -> float:
    """The rate of additional failures that so many rows without a failure rule out, and that a step must rule out."""
    return rate_interval(0, planned, planned=planned, level=RULED_OUT).high


def _missing_rows(old: ArmTraffic, new: ArmTraffic, planned: int) -> str:
    """What is missing to tell the failures from more than tolerable ones; empty: nothing."""
    if new.requests < planned:
        return f"{planned - new.requests} more are needed"
    if not new.failures:
        return ""
    tolerated = tolerated_failures(planned)
    for times in (2**doublings for doublings in range(MOST_DOUBLINGS)):
        high = rate_interval(new.failures * times, new.requests * times, planned=planned, level=RULED_OUT).high
        low = rate_interval(old.failures * times, old.requests * times, planned=planned, level=RULED_OUT).low
        if high - low <= tolerated:
            return "" if times == 1 else f"up to {new.requests * (times - 1)} more are needed"
    return f"it is not less than {tolerated:.1%} more often"


def _latency(evidence: StepEvidence, bar: _Bar) -> GuardReport:
    """The calls that are slow for the champion, or, a factor slower, for the challenger."""
    old, new = evidence.champion.latencies, evidence.challenger.latencies
    if not old or not new:
        return GuardReport(outcome="wait", reasons=("latency: no call of both versions to compare",))
    words = ", ".join(
        f"{name} {quantile_ms(new, share):.3g} ms against {quantile_ms(old, share):.3g} ms"
        for name, share in (("median", MEDIAN), ("p95", TAIL))
    )
    if bar.is_shadow:
        # It predicts in spare time, beside the answers; what users would wait for shows in the canary.
        return GuardReport(outcome="pass", reasons=(f"latency: {words}",))
    if any(_slower(old, new, quantile, bar, log_evidence_of_excess) >= bar.log_evidence for quantile in (MEDIAN, TAIL)):
        return GuardReport(
            outcome="trip", reasons=(f"latency: {words}, more than {bar.spec.latency_ratio:g} x is not allowed",)
        )
    evidence_of_speed = _slower(old, new, MEDIAN, bar, log_evidence_of_less)
    if evidence_of_speed < -math.log(RULED_OUT):
        seen = sum(new.values())
        need = f"{bar.spec.latency_ratio:g} x is not ruled out after {seen} calls"
        return GuardReport(outcome="wait", reasons=(f"latency: {words}, {need}",))
    return GuardReport(outcome="pass", reasons=(f"latency: {words}",))


def _slower(
    old: Mapping[int, int],
    new: Mapping[int, int],
    quantile: float,
    bar: _Bar,
    log_evidence: Callable[[int, int, float], float],
) -> float:
    limit = quantile_bin(old, quantile)
    allowed = limit + bins_of_ratio(bar.spec.latency_ratio)
    slow_old = sum(count for position, count in old.items() if position >= limit)
    slow_new = sum(count for position, count in new.items() if position >= allowed)
    return log_evidence(slow_new, slow_old, _share(sum(old.values()), sum(new.values())))


def _memory(evidence: StepEvidence, bar: _Bar) -> GuardReport:
    """What each version needs, measured by itself before the first step."""
    ratio, found = bar.spec.memory_ratio, evidence.memory
    if ratio is None:
        return GuardReport(outcome="pass", reasons=())
    if isinstance(found, str):
        return GuardReport(outcome="wait", reasons=(f"memory: {found}",))
    words = f"memory: {found.challenger.sentence} against {found.champion.sentence}"
    if found.exceeds(ratio):
        return GuardReport(outcome="trip", reasons=(f"{words}, more than {ratio:g} x is not allowed",))
    return GuardReport(outcome="pass", reasons=(words,))


def _outputs(evidence: StepEvidence, bar: _Bar) -> GuardReport:
    """Whether the challenger predicts in the canary as in the shadow, beside the champion on the same traffic."""
    old, new = evidence.champion.outputs, evidence.challenger.outputs
    seen = min(old.count, new.count)
    if seen < SMALL_SAMPLE:
        return _counted("outputs", seen, min(SMALL_SAMPLE, bar.planned), "predictions of each version")
    now = mean_difference(new, old, planned=bar.planned, level=bar.level)
    words = f"outputs: {now.middle:+.3g} against the champion's"
    if evidence.shadow is None:
        return GuardReport(outcome="pass", reasons=(words,))
    shadowed_old, shadowed_new = evidence.shadow
    then = mean_difference(shadowed_new, shadowed_old, planned=bar.planned, level=bar.level)
    apart, limit = _apart(now, then), bar.spec.output_shift * math.sqrt(old.variance)
    trips = apart.low > limit or apart.high < -limit
    return GuardReport(outcome="trip" if trips else "pass", reasons=(f"{words}, {then.middle:+.3g} in the shadow",))


def _apart(now: Interval, then: Interval) -> Interval:
    """What the two may differ by: their errors are independent, and add up as squares."""
    width = math.hypot(now.high - now.middle, then.high - then.middle)
    middle = now.middle - then.middle
    return Interval(low=middle - width, high=middle + width)


def _losses(evidence: StepEvidence, bar: _Bar) -> GuardReport:
    """On labels as they come: by row where both predicted it, else by arm."""
    if len(evidence.quality.paired):
        return _paired(evidence.quality.paired, bar)
    old, new = evidence.quality.champion, evidence.quality.challenger
    seen = min(old.count, new.count)
    if seen < max(bar.labels, SMALL_SAMPLE):
        return _counted("quality", seen, bar.labels, "labelled rows of each version")
    apart = mean_difference(new, old, planned=max(bar.labels, SMALL_SAMPLE), level=bar.level)
    words = f"quality: mean loss {new.mean:.3g} against {old.mean:.3g} on {new.count} and {old.count} labelled rows"
    return GuardReport(outcome="trip" if apart.low > 0 else "pass", reasons=(words,))


def _paired(differences: FloatArray, bar: _Bar) -> GuardReport:
    worse, better = int((differences > 0).sum()), int((differences < 0).sum())
    words = f"quality: worse on {worse} and better on {better} of {len(differences)} labelled rows that both predicted"
    if log_evidence_of_rise(differences) >= bar.log_evidence:
        return GuardReport(outcome="trip", reasons=(words,))
    if len(differences) < bar.labels:
        return _counted("quality", len(differences), bar.labels, "labelled rows")
    return GuardReport(outcome="pass", reasons=(words,))


def _counted(guard: str, seen: int, needed: int, of_what: str) -> GuardReport:
    """A guard that has nothing to say before it has seen so much; one that needs nothing lets pass."""
    if seen < needed:
        return GuardReport(
            outcome="wait", reasons=(f"{guard}: {seen} of {needed} {of_what}, {needed - seen} more are needed",)
        )
    return GuardReport(outcome="pass", reasons=(f"{guard}: {seen} {of_what} yet, judged later",))


def _interactions(evidence: StepEvidence, bar: _Bar) -> GuardReport:
    old, new = evidence.quality.interactions
    share = _share(old.rows, new.rows)
    shown = [
        f"{kind}s: {getattr(new, kind)} of {new.rows} answers, {getattr(old, kind)} of {old.rows} of the champion"
        for kind in COMPLAINTS
        if log_evidence_of_excess(getattr(new, kind), getattr(old, kind), share) >= bar.log_evidence
    ]
    if shown:
        return GuardReport(outcome="trip", reasons=tuple(shown))
    return GuardReport(outcome="pass", reasons=())


def _share(others: int, own: int) -> float:
    return own / (own + others) if own + others else 0.0


GUARDS: Sequence[Callable[[StepEvidence, _Bar], GuardReport]] = (
    _failures,
    _latency,
    _memory,
    _outputs,
    _losses,
    _interactions,
)
