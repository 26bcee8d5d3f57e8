"""Ask the gate whether a candidate may be released, and record its answer."""

from collections.abc import Sequence

from trimtab.domain.gate import Evidence, GateDecision, decide_and_prove
from trimtab.domain.journal import Draft, Ledger, Payload, record
from trimtab.domain.metrics import LOSS_NAMES, FloatArray, losses
from trimtab.domain.ports import Lake, Registry, Trainer
from trimtab.domain.spec import CandidateSpec, GateSpec, LabelSpec, RowsSpec, SliceSpec, Task
from trimtab.domain.training import Snapshot
from trimtab.stages.evaluate import Comparison, compare, judged


def gate(
    taken: Snapshot,
    training_id: str,
    candidate: CandidateSpec,
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    trainer: Trainer,
    rows: RowsSpec,
    slices: Sequence[SliceSpec],
    label: LabelSpec,
    gate_spec: GateSpec,
    seed: int,
) -> GateDecision:
    """Decide on the hold-out's paired evidence; the decision and every check's reason go to the ledger."""
    comparison = compare(
        taken, training_id, candidate,
        lake=lake, ledger=ledger, registry=registry, trainer=trainer, rows=rows, slices=slices, label=label,
        gate=gate_spec,
    )  # fmt: skip
    evidence = _evidence(comparison, label.task)
    decision = decide_and_prove(evidence, gate_spec, seed)
    payload: Payload = {
        "champion": comparison.champion_version,
        "judged": judged(taken, trainer),
        "checks": [{"name": c.name, "outcome": c.outcome.value, "reason": c.reason} for c in decision.checks],
        "summary": decision.summary,
        "saving": evidence.saving,
    }
    kind = "promoted" if decision.promote else "refused"
    record(ledger, Draft(stream="gate", subject=training_id, kind=kind, as_of=taken.as_of, payload=payload))
    return decision


def _evidence(comparison: Comparison, task: Task) -> Evidence:
    def losses_of(predictions: FloatArray) -> FloatArray:
        return losses(task, comparison.holdout.y_true, predictions)

    return Evidence(
        loss_name=LOSS_NAMES[task],
        day=comparison.holdout.day,
        challenger=losses_of(comparison.challenger),
        constant=losses_of(comparison.constant),
        baseline=losses_of(comparison.baseline),
        champion=None if comparison.champion is None else losses_of(comparison.champion),
        slices=comparison.slices,
    )
