"""Whether a challenger may replace the champion: paired evidence on the same labelled rows.

Days, not rows, are the independent units: a storm makes all the flights of its day late, and both models err
together. So the losses are paired by row, averaged by day, and the daily differences are tested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.metrics import FloatArray
from trimtab.domain.spec import GateSpec


class CheckOutcome(StrEnum):
    """Result of one check. Only `passed` is a pass: missing evidence is not."""

    PASSED = "passed"
    FAILED = "failed"
    NO_EVIDENCE = "no_evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question that the gate asks, with its answer and the numbers behind it."""

    name: str
    outcome: CheckOutcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateDecision:
    """What the gate says. `promote` only if every check passed."""

    promote: bool
    checks: tuple[Check, ...]

    @property
    def summary(self) -> str:
        """One sentence: what decided."""
        if self.promote:
            return "Promote: " + "; ".join(check.reason for check in self.checks) + "."
        failed = [check for check in self.checks if check.outcome is not CheckOutcome.PASSED]
        return "Refuse: " + "; ".join(f"{check.name}: {check.reason}" for check in failed) + "."


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """One-sided t test on daily means of a paired difference."""

    mean: float
    """Mean over days of the daily mean difference; negative: the first is better."""
    p_value: float
    """Probability of a mean this low or lower if the true mean were not below the margin; nan: undefined."""
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Losses on the hold-out, all for the same rows (n,)."""

    loss_name: str
    """What the mean of the losses is called, such as 'MAE'."""
    day: NDArray[np.object_]
    """Day of each row."""
    challenger: FloatArray
    constant: FloatArray
    """Of predicting everywhere the mean label of the rows that the challenger's trial was fitted on."""
    baseline: FloatArray
    """Of the mean label of those rows by group, the rule that a person would use without a model."""
    champion: FloatArray | None
    """None when the model has no champion yet."""
    slices: Mapping[str, NDArray[np.object_]]
    """Name of the slicing: the slice of each row."""

    @property
    def saving(self) -> float | None:
        """Share of the champion's loss that the challenger saves, negative if it costs; None: there is no champion."""
        if self.champion is None or not self.champion.sum():
            return None
        return 1 - float(self.challenger.sum() / self.champion.sum())


def paired_test(first: FloatArray, second: FloatArray, day: NDArray[np.object_], margin: float = 0.0) -> PairedTest:
    """Test whether losses `first` (n,) are lower than `second` (n,) + margin, with days as clusters.

    Source: paired t test on cluster means, as in Cameron & Miller, "A Practitioner's Guide to Cluster-Robust
    Inference", J. Human Resources 50 (2015), for few clusters.
    """
    from scipy.special import stdtr  # 0.2 s that a routing decision need not pay

    _, index = np.unique(day.astype(str), return_inverse=True)
    rows = np.bincount(index)
    means = np.bincount(index, weights=first - second - margin) / rows
    count = len(means)
    if count < 2:  # noqa: PLR2004  # a spread needs two days
        return PairedTest(mean=float(means.mean()) if count else float("nan"), p_value=float("nan"), days=count)
    spread = means.std(ddof=1) / np.sqrt(count)
    certain = 0.0 if means.mean() < 0 else 1.0
    p_value = certain if spread == 0 else float(stdtr(count - 1, means.mean() / spread))
    return PairedTest(mean=float(means.mean()), p_value=p_value, days=count)


def decide(evidence: Evidence, spec: GateSpec) -> GateDecision:
    """Ask every question of the gate; promote only if all of them passed."""
    checks = [_enough(evidence, spec)]
    if checks[0].outcome is CheckOutcome.PASSED:
        checks.append(_better("beats a constant", evidence, evidence.constant, spec))
        checks.append(_better("no worse than the trivial baseline", evidence, evidence.baseline, spec, spec.margin))
        if evidence.champion is not None:
            checks.append(_better("beats the champion", evidence, evidence.champion, spec))
            checks.append(_no_slice_worse(evidence, evidence.champion, spec))
    return GateDecision(
        promote=all(check.outcome is CheckOutcome.PASSED for check in checks),
        checks=tuple(checks),
    )


def planted(evidence: Evidence, seed: int) -> Mapping[str, Evidence]:
    """Candidates that the gate must refuse, made from the evidence at hand.

    `shuffled` has the challenger's losses in another order on top of the constant's, which no honest gate may prefer
    to the constant; `copy` is the very model that it should beat; `silent` has no labelled row.
    """
    order = np.random.default_rng(seed).permutation(len(evidence.challenger))
    rival = evidence.champion if evidence.champion is not None else evidence.constant
    return {
        "shuffled": replace(evidence, challenger=evidence.challenger[order] + evidence.constant),
        "copy": replace(evidence, challenger=rival),
        "silent": _no_rows(evidence),
    }


def decide_and_prove(evidence: Evidence, spec: GateSpec, seed: int) -> GateDecision:
    """The decision, refused if the gate would also promote a planted candidate: a gate that cannot fail is none."""
    decision = decide(evidence, spec)
    let_through = [name for name, bad in planted(evidence, seed).items() if decide(bad, spec).promote]
    proof = Check(
        name="can refuse",
        outcome=CheckOutcome.FAILED if let_through else CheckOutcome.PASSED,
        reason=f"planted bad candidates promoted: {', '.join(let_through)}"
        if let_through
        else "all planted bad candidates refused",
    )
    return GateDecision(promote=decision.promote and not let_through, checks=(*decision.checks, proof))


def _no_rows(evidence: Evidence) -> Evidence:
    return Evidence(
        loss_name=evidence.loss_name,
        day=evidence.day[:0],
        challenger=evidence.challenger[:0],
        constant=evidence.constant[:0],
        baseline=evidence.baseline[:0],
        champion=None if evidence.champion is None else evidence.champion[:0],
        slices={name: values[:0] for name, values in evidence.slices.items()},
    )


def _enough(evidence: Evidence, spec: GateSpec) -> Check:
    days, rows = len(set(evidence.day.tolist())), len(evidence.challenger)
    if days >= spec.min_days and rows >= spec.min_rows:
        return Check(
            name="evidence", outcome=CheckOutcome.PASSED, reason=f"{rows} labelled rows of {days} days on the hold-out"
        )
    return Check(
        name="evidence",
        outcome=CheckOutcome.NO_EVIDENCE,
        reason=f"{rows} labelled rows of {days} days, {spec.min_rows} rows of {spec.min_days} days are needed",
    )


def _better(name: str, evidence: Evidence, rival: FloatArray, spec: GateSpec, margin: float = 0.0) -> Check:
    """Whether the losses are lower than the rival's, or lower than the rival's plus a share of them (no worse)."""
    test = paired_test(evidence.challenger, rival, evidence.day, margin=margin * float(rival.mean()))
    passed = test.p_value <= spec.significance
    within = f" plus {margin:.0%}" if margin else ""
    return Check(
        name=name,
        outcome=CheckOutcome.PASSED if passed else CheckOutcome.FAILED,
        reason=f"{name if passed else 'not shown'}: {evidence.loss_name} {evidence.challenger.mean():.3g} against "
        f"{rival.mean():.3g}{within}, p = {test.p_value:.2g} over {test.days} days "
        f"({spec.significance:g} needed)",
    )


def _no_slice_worse(evidence: Evidence, champion: FloatArray, spec: GateSpec) -> Check:
    """The significance is spread over the slices: of twenty that are as good, one would else be refused by chance."""
    judged = [
        (f"{slicing} {name}", rows)
        for slicing, names in evidence.slices.items()
        for name, rows in _judged_slices(names, spec)
    ]
    worse = [
        f"{name} ({evidence.loss_name} {evidence.challenger[rows].mean():.3g} against {champion[rows].mean():.3g}, "
        f"{rows.sum()} rows)"
        for name, rows in judged
        if _worsening(evidence, champion, rows, spec).p_value <= spec.significance / len(judged)
    ]
    return Check(
        name="no slice is worse",
        outcome=CheckOutcome.FAILED if worse else CheckOutcome.PASSED,
        reason="worse on " + ", ".join(worse) if worse else f"no slice is worse by {spec.margin:.0%}",
    )


def _judged_slices(names: NDArray[np.object_], spec: GateSpec) -> Sequence[tuple[str, NDArray[np.bool_]]]:
    masks = [(str(name), names == name) for name in sorted(set(names.tolist()))]
    return [(name, rows) for name, rows in masks if rows.sum() >= spec.min_slice_rows]


def _worsening(evidence: Evidence, champion: FloatArray, rows: NDArray[np.bool_], spec: GateSpec) -> PairedTest:
    """Test of a rise beyond the margin on some rows."""
    margin = -spec.margin * float(champion[rows].mean())
    return paired_test(champion[rows], evidence.challenger[rows], evidence.day[rows], margin=margin)
