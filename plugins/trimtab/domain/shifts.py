"""Which of P(X), P(Y) and P(Y|X) has moved, and what that costs.

Marginal profiles do not hold P(Y|X), but they bound what can have happened to it. A shift spreads from the variable in
which it began, and no other variable can differ by more than that one (the data-processing inequality): inputs that
have moved further than the predictions have moved them, and predictions that have moved further than every input have
followed the label. And a shift of the inputs can raise a mean loss only so far: what has grown by more is another
dependence of the label on the inputs.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from trimtab.domain.change import CAUSE, Change
from trimtab.domain.diagnosis import Advice, Evidence, Kind, Triage, largest
from trimtab.domain.profiles import PREDICTION
from trimtab.domain.verdict import Finding

FOREIGN = 0.2
"""Share of values that the reference never had from which on a person looks before anything is learnt from them."""


def shift(evidence: Evidence) -> Triage:
    """Name a shift in data that are not broken."""
    change = Change(evidence=evidence)
    if change.errors or change.moved:
        return next(found for name in NAMES if (found := name(change)))
    other = evidence.flagged("rows", "slice_mean")
    if other:
        return Triage(kind=Kind.UNKNOWN, sudden=True, advice=Advice.NOTE, reasons=tuple(largest(other)))
    return Triage(kind=Kind.NOTHING)


def _said(kind: Kind, advice: Advice, *reasons: str, by: Sequence[Finding], window_days: int | None = None) -> Triage:
    return Triage(kind=kind, sudden=_is_sudden(by), advice=advice, reasons=reasons, window_days=window_days)


def _foreign(change: Change) -> Triage | None:
    """Costly values that the reference never had: nobody can say what they mean."""
    today = change.evidence.today
    names = change.evidence.moved_today("mean", "shares", "new")
    if today is None or not names or not change.is_costly:
        return None
    columns = {name: today.columns[name] for name in names}
    shares = {name: np.nan_to_num(one.new_share + one.out_of_range_share) for name, one in columns.items()}
    full = [
        f"{name}: {share:.0%} of the values are new to the model" for name, share in shares.items() if share >= FOREIGN
    ]
    if not full:
        return None
    by = change.errors or change.moved
    return _said(Kind.UNKNOWN, Advice.INCIDENT, *largest(change.errors), *full, by=by)


def _component(change: Change) -> Triage | None:
    """The predictions have moved, be it within their limits, and neither an input nor the label has."""
    is_seen = change.errors and change.levels.off and abs(change.levels.predicted) >= CAUSE * _usual_sd(change.evidence)
    if change.causes or not (is_seen or (change.effects and not _nearly(change.evidence))):
        return None
    if not change.levels.label_stood:
        return None
    reasons = ["the predictions have moved and no input has", *largest([*change.errors, *change.predictions])]
    if change.levels.off:
        reasons.append(change.levels.in_words)
    return _said(Kind.CHANGED_COMPONENT, Advice.INCIDENT, *reasons, by=change.predictions or change.errors)


def _concept(change: Change) -> Triage | None:
    """The errors have grown by more than what has moved can explain."""
    moved = {finding.column for finding in (*change.causes, *change.effects)}
    bound = _largest_growth(change, moved)
    if not change.errors or (moved and not change.growth > bound):
        return None
    why = f"of which the inputs can explain {bound:.0%}" if moved else "and no input has moved"
    return _said(
        Kind.CONCEPT_DRIFT,
        Advice.RETRAIN,
        *largest(change.errors),
        f"the loss has grown by {change.growth:.0%}, {why}: the label depends on the inputs in another way",
        by=change.errors,
        window_days=change.days_since_step if _is_sudden(change.errors) else None,
    )


def _prior(change: Change) -> Triage | None:
    """The label has moved with the predictions, and these further than any input, be that within its limits.

    One odd day of the reference can widen an input's limits; it does not let the predictions move by themselves.
    """
    if not change.effects or not change.levels.label_followed:
        return None
    predictions = change.divergence(PREDICTION)
    if predictions < CAUSE or predictions <= max(map(change.divergence, change.judged_inputs), default=0.0):
        return None
    reasons = [change.levels.in_words, "no input has moved further", *largest(change.errors or change.moved)]
    return _said(Kind.PRIOR_SHIFT, Advice.RECALIBRATE, *reasons, by=change.errors or change.moved)


def _covariate(change: Change) -> Triage | None:
    """Inputs have moved, and the errors have grown, or nobody knows whether they have."""
    if not _errors_are_known(change.evidence):
        reason = "inputs have moved, and no labels say what that costs"
        advice = Advice.ASK_FOR_LABELS
    elif change.is_costly:
        reason, advice = "inputs have moved, and the errors have grown since", Advice.RETRAIN
    else:
        return None
    reasons = [reason, *largest(change.errors), *largest(change.moved)]
    return _said(Kind.COVARIATE_SHIFT, advice, *reasons, by=change.errors or change.moved)


def _benign(change: Change) -> Triage:
    reason = "inputs have moved, and the errors have not grown with them"
    return _said(Kind.BENIGN_SHIFT, Advice.NOTE, reason, *largest(change.moved), by=change.moved)


NAMES = (_foreign, _component, _concept, _prior, _covariate, _benign)
"""In the order in which one excludes the next."""


def _largest_growth(change: Change, moved: Iterable[str]) -> float:
    """How far a shift of these columns can raise a mean loss, as a share of it.

    The root of Pearson's divergence times the loss's coefficient of variation, for which that of Laplace errors stands:
    1. Those of columns that move independently of each other add up.

    Source: Hammersley, JRSS B 12 (1950), and Chapman & Robbins, Ann. Math. Statist. 22 (1951).
    """
    reached = sum(math.log1p(change.reach(name)) for name in moved)
    return math.sqrt(math.expm1(min(reached, 700.0)))


def _usual_sd(evidence: Evidence) -> float:
    return evidence.ordinary.columns[PREDICTION].sd


def _nearly(evidence: Evidence) -> bool:
    """Whether an input has come near its limit, so that it may be behind what the predictions show."""
    return any(
        f.kind == "input" and f.value is not None and f.limit is not None and f.value >= max(CAUSE, f.limit / 2)
        for f in evidence.verdict.findings
    )


def _errors_are_known(evidence: Evidence) -> bool:
    return any(f.kind == "error" and f.limit is not None and f.value is not None for f in evidence.verdict.findings)


def _is_sudden(findings: Iterable[Finding]) -> bool:
    """Whether one day alone is beyond its limit, or the last week differs from the weeks before."""
    return any(finding.horizon_days == 1 or finding.view == "trailing" for finding in findings)
