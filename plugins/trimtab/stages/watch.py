"""Ask the retraining policy about a judged day, with what the stores know beside the verdict."""

from datetime import date
from functools import partial
from typing import Any

from trimtab.domain.journal import Ledger
from trimtab.domain.ports import Lake, Registry
from trimtab.domain.retraining import RetrainDecision
from trimtab.domain.spec import GateSpec, LabelSpec, MonitorSpec, RetrainSpec, RowsSpec, TrainSpec
from trimtab.stages.prospect import doubt
from trimtab.stages.recall import recall
from trimtab.stages.retrain import retrain


def watch(
    day: date,
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    rows: RowsSpec,
    label: LabelSpec,
    gate: GateSpec,
    train: TrainSpec,
    monitor: MonitorSpec,
    policy: RetrainSpec,
    recalls: bool = True,
) -> RetrainDecision:
    """Decide as `retrain` does, where a former champion (`recalls`) or too long a window can change the answer.

    Raises:
        NotFoundError: If the day has not been judged.
    """
    known: dict[str, Any] = {"lake": lake, "ledger": ledger, "label": label, "monitor": monitor}
    former = partial(recall, day, **known, registry=registry, rows=rows, gate=gate)
    return retrain(
        day,
        ledger=ledger,
        policy=policy,
        train=train,
        monitor=monitor,
        former=former if recalls else lambda: None,
        doubt=partial(doubt, day, **known, window_days=train.shortest_window_days),
    )
