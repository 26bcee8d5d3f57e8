"""The steps of a day and of a training without Airflow: the same stage functions, for loading a past."""

from datetime import date

from trimtab.adapters.stores import Stores
from trimtab.domain.gate import GateDecision
from trimtab.errors import NotFoundError
from trimtab.stages.evaluate import evaluate
from trimtab.stages.feedback import FeedbackResult, feedback
from trimtab.stages.gate import gate
from trimtab.stages.ingest import ingest
from trimtab.stages.judge import judge
from trimtab.stages.profile_batch import profile_batch
from trimtab.stages.register import register
from trimtab.stages.release import answer_release, finish_release, go_live, release_of, request_release, watch_bake
from trimtab.stages.retrain import retrain
from trimtab.stages.score import score
from trimtab.stages.snapshot import snapshot
from trimtab.stages.train import train
from trimtab.stages.validate import validate


def load_day(day: date, stores: Stores) -> FeedbackResult:
    """Take in one day's batch and the labels that arrive with it, as the first and last tasks of `daily` do."""
    spec = stores.folder.spec
    ingest(day, source=stores.source, lake=stores.lake, rows=spec.rows)
    validate(day, validator=stores.validator, lake=stores.lake, ledger=stores.ledger)
    return feedback(
        day,
        source=stores.source,
        lake=stores.lake,
        ledger=stores.ledger,
        traffic=stores.traffic,
        rows=spec.rows,
        label=spec.label,
    )


def watch_day(day: date, stores: Stores) -> None:
    """Score, profile and judge a loaded day, and ask the retraining policy."""
    spec = stores.folder.spec
    score(day, lake=stores.lake, ledger=stores.ledger, registry=stores.registry, rows=spec.rows)
    profile_batch(day, lake=stores.lake, ledger=stores.ledger, registry=stores.registry, rows=spec.rows)
    judge(day, lake=stores.lake, ledger=stores.ledger, registry=stores.registry, monitor=spec.monitor)
    retrain(day, ledger=stores.ledger, policy=spec.retrain)


def train_first(as_of: date, stores: Stores, *, window_days: int, reason: str) -> tuple[str, GateDecision]:
    """Train, evaluate, gate and register; the version, and whether the gate promotes it.

    Raises:
        NotFoundError: If there are too few labelled rows.
    """
    spec = stores.folder.spec
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
        raise NotFoundError(f"No training as of {as_of}: {result.reason}. Load more days.")
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
            seed=spec.train.seed,
            reason=reason,
        )
        for candidate in spec.train.candidates
    ]
    best = evaluate(
        taken,
        runs,
        lake=stores.lake,
        ledger=stores.ledger,
        registry=stores.registry,
        trainer=stores.trainer,
        plotter=stores.plotter,
        candidates=spec.train.candidates,
        rows=spec.rows,
        slices=spec.slices,
        label=spec.label,
        gate=spec.gate,
    )
    decision = gate(
        taken,
        best.training_id,
        next(candidate for candidate in spec.train.candidates if candidate.name == best.candidate),
        lake=stores.lake,
        ledger=stores.ledger,
        registry=stores.registry,
        trainer=stores.trainer,
        rows=spec.rows,
        slices=spec.slices,
        gate_spec=spec.gate,
        seed=spec.train.seed,
    )
    version = register(best.run_id, best.training_id, ledger=stores.ledger, registry=stores.registry)
    return version, decision


def release_first(version: str, stores: Stores, *, as_of: date, actor: str, reason: str) -> None:
    """Make the first version of a model champion: there is none that it could run beside."""
    ledger, registry = stores.ledger, stores.registry
    request_release(version, as_of=as_of, reason=reason, ledger=ledger, registry=registry)
    answer_release(version, approved=True, actor=actor, comment=reason, as_of=as_of, ledger=ledger, registry=registry)
    go_live(version, as_of=as_of, reason="first version", ledger=ledger, registry=registry)


def finish_baking(version: str, stores: Stores, *, as_of: date) -> bool:
    """End the release if it has baked well; whether it has ended."""
    if release_of(version, stores.ledger).state == "done":
        return True
    report = watch_bake(version, spec=stores.folder.spec.release, ledger=stores.ledger, lake=stores.lake)
    if report.outcome == "pass":
        finish_release(version, as_of=as_of, reasons=report.reasons, ledger=stores.ledger, registry=stores.registry)
    return report.outcome == "pass"
