"""The steps of a day, of a training and of a release without Airflow: the same stage functions, in the same order.

`trimtab demo` loads a past with them, and `trimtab replay` lives one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from trimtab.adapters.stores import Stores
from trimtab.domain.gate import GateDecision
from trimtab.domain.guards import GuardReport, Quality
from trimtab.domain.release import Release
from trimtab.domain.retraining import RetrainDecision
from trimtab.domain.spec import StepSpec
from trimtab.domain.verdict import Verdict
from trimtab.errors import NotFoundError
from trimtab.stages import release as releasing
from trimtab.stages.bake import watch_bake
from trimtab.stages.evaluate import evaluate
from trimtab.stages.feedback import FeedbackResult, feedback
from trimtab.stages.gate import gate
from trimtab.stages.ingest import ingest
from trimtab.stages.judge import judge
from trimtab.stages.profile_batch import profile_batch
from trimtab.stages.register import register
from trimtab.stages.score import score
from trimtab.stages.snapshot import snapshot
from trimtab.stages.train import train
from trimtab.stages.validate import ValidateResult, validate
from trimtab.stages.watch import watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """What a training has come to."""

    version: str
    decision: GateDecision


def days(first: date, last: date) -> Sequence[date]:
    """Every day from the first to the last."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def take_in(day: date, stores: Stores) -> ValidateResult:
    """Ingest and validate a day's batch."""
    ingest(day, source=stores.source, lake=stores.lake, rows=stores.folder.spec.rows)
    return validate(day, validator=stores.validator, lake=stores.lake, ledger=stores.ledger)


def label_day(day: date, stores: Stores) -> FeedbackResult:
    """Take in the labels that arrive with a day's batch, and measure what had been predicted."""
    spec = stores.folder.spec
    return feedback(
        day,
        source=stores.source,
        lake=stores.lake,
        ledger=stores.ledger,
        registry=stores.registry,
        rows=spec.rows,
        label=spec.label,
        slices=spec.slices,
        features=stores.features,
    )


def load_day(day: date, stores: Stores) -> FeedbackResult:
    """Take in a day's batch, and the labels that arrive with it."""
    take_in(day, stores)
    return label_day(day, stores)


def judge_day(day: date, stores: Stores) -> Verdict:
    """Score, profile and judge a day that has been taken in."""
    spec, ports = stores.folder.spec, _ports(stores)
    score(day, **ports, rows=spec.rows, slices=spec.slices)
    profile_batch(day, **ports, rows=spec.rows)
    return judge(day, **ports, monitor=spec.monitor)


def decide_day(day: date, stores: Stores, *, recalls: bool = True) -> RetrainDecision:
    """What the retraining policy says about a judged day; `recalls`: a version without a training may be the answer."""
    spec = stores.folder.spec
    return watch(
        day,
        lake=stores.lake,
        ledger=stores.ledger,
        registry=stores.registry,
        trainer=lambda: stores.trainer,
        plotter=lambda: stores.plotter,
        rows=spec.rows,
        slices=spec.slices,
        label=spec.label,
        gate=spec.gate,
        train=spec.train,
        monitor=spec.monitor,
        policy=spec.retrain,
        recalls=recalls,
    )


def watch_day(day: date, stores: Stores) -> RetrainDecision:
    """Score, profile and judge a loaded day, and ask the retraining policy."""
    judge_day(day, stores)
    return decide_day(day, stores)


def train_challenger(as_of: date, stores: Stores, *, reason: str, window_days: int | None = None) -> Challenger | str:
    """Train, evaluate, ask the gate and register; the words of the snapshot, if there is too little to learn from."""
    spec, ports = stores.folder.spec, _ports(stores)
    result = snapshot(
        as_of,
        lake=stores.lake,
        ledger=stores.ledger,
        train=spec.train,
        label=spec.label,
        reason=reason,
        window_days=window_days,
    )
    if result.snapshot is None:
        return result.reason
    taken = result.snapshot
    runs = [
        train(
            taken,
            candidate,
            lake=stores.lake,
            registry=stores.registry,
            trainer=stores.trainer,
            rows=spec.rows,
            features=spec.features,
            label=spec.label,
            slices=spec.slices,
            seed=spec.train.seed,
            reason=reason,
        )
        for candidate in spec.train.candidates
    ]
    ports |= {"trainer": stores.trainer, "rows": spec.rows, "slices": spec.slices, "label": spec.label}
    best = evaluate(taken, runs, **ports, plotter=stores.plotter, candidates=spec.train.candidates, gate=spec.gate)
    candidate = next(one for one in spec.train.candidates if one.name == best.candidate)
    decision = gate(taken, best.training_id, candidate, **ports, gate_spec=spec.gate, seed=spec.train.seed)
    version = register(best.run_id, best.training_id, ledger=stores.ledger, registry=stores.registry)
    return Challenger(version=version, decision=decision)


def train_first(as_of: date, stores: Stores, *, window_days: int, reason: str) -> Challenger:
    """The first training of a model.

    Raises:
        NotFoundError: If there are too few labelled rows.
    """
    trained = train_challenger(as_of, stores, window_days=window_days, reason=reason)
    if isinstance(trained, str):
        raise NotFoundError(f"No training as of {as_of}: {trained}. Load more days.")
    return trained


def release(
    version: str, stores: Stores, *, as_of: date, actor: str, reason: str, steps: Sequence[StepSpec] = ()
) -> Release:
    """Approve a version, let it pass some steps within the day, and switch; or take it back where a guard trips.

    The first version of a model has none that it could run beside, and goes live at once. A step that has seen too
    little traffic is passed: there is nobody here to wait for more.
    """
    writes: dict[str, Any] = {"as_of": as_of, "ledger": stores.ledger, "registry": stores.registry}
    requested = releasing.request_release(version, **writes, reason=reason)
    if not requested.is_open:
        return requested
    releasing.answer_release(version, approved=True, actor=actor, comment=reason, **writes)
    spec = stores.folder.spec.release
    for step in steps if requested.previous else ():
        releasing.begin_step(version, step, **writes, traffic=stores.traffic)
        report = releasing.watch_step(
            version, step, spec=spec, ledger=stores.ledger, traffic=stores.traffic, quality=Quality()
        )
        if report.outcome == "trip":
            words = f"{step.name}: {'; '.join(report.reasons)}"
            return releasing.roll_back(version, **writes, actor="guard", reason=words)
    reason = "all steps passed" if requested.previous else "first version"
    return releasing.go_live(version, **writes, reason=reason, lake=stores.lake, rows=stores.folder.spec.rows)


def bake(version: str, stores: Stores) -> GuardReport:
    """What the labels say so far about a release that is live."""
    spec = stores.folder.spec
    return watch_bake(version, spec=spec.release, label=spec.label, ledger=stores.ledger, lake=stores.lake)


def finish_baking(version: str, stores: Stores, *, as_of: date) -> bool:
    """End the release if it has baked well; whether it has ended."""
    if releasing.release_of(version, stores.ledger).state == "done":
        return True
    report = bake(version, stores)
    if report.outcome == "pass":
        finish(version, stores, as_of=as_of, reasons=report.reasons)
    return report.outcome == "pass"


def finish(version: str, stores: Stores, *, as_of: date, reasons: Sequence[str]) -> Release:
    """End a release."""
    return releasing.finish_release(
        version, as_of=as_of, reasons=reasons, ledger=stores.ledger, registry=stores.registry
    )


def _ports(stores: Stores) -> dict[str, Any]:
    return {"lake": stores.lake, "ledger": stores.ledger, "registry": stores.registry}
