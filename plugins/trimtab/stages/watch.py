"""Ask the retraining policy about a judged day, with what the stores know beside the verdict."""

from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any

from trimtab.domain.journal import Ledger
from trimtab.domain.ports import Lake, Plotter, Registry, Trainer
from trimtab.domain.retraining import RetrainDecision
from trimtab.domain.spec import GateSpec, LabelSpec, MonitorSpec, RetrainSpec, RowsSpec, SliceSpec, TrainSpec
from trimtab.stages.prospect import doubt
from trimtab.stages.recalibrate import Recalibration, recalibrate
from trimtab.stages.recall import recall
from trimtab.stages.retrain import retrain


def watch(
    day: date,
    *,
    lake: Lake,
    ledger: Ledger,
    registry: Registry,
    trainer: Callable[[], Trainer],
    plotter: Callable[[], Plotter],
    rows: RowsSpec,
    slices: Sequence[SliceSpec],
    label: LabelSpec,
    gate: GateSpec,
    train: TrainSpec,
    monitor: MonitorSpec,
    policy: RetrainSpec,
    recalls: bool = True,
) -> RetrainDecision:
    """Decide as `retrain` does, where a version without a training or too long a window can change the answer.

    `recalls`: whether versions are compared, be it with a former champion or with the champion, its level corrected.
    `trainer` and `plotter` are only opened where such a correction is put to the gate.

    Raises:
        NotFoundError: If the day has not been judged.
    """
    known: dict[str, Any] = {"lake": lake, "ledger": ledger, "label": label}
    former = partial(recall, day, **known, registry=registry, rows=rows, gate=gate, monitor=monitor)

    def corrected(why: str, *, in_place_of_training: bool) -> Recalibration:
        return recalibrate(
            day, why, in_place_of_training=in_place_of_training, **known, registry=registry, trainer=trainer,
            plotter=plotter, rows=rows, slices=slices, train=train, gate=gate,
        )  # fmt: skip

    return retrain(
        day,
        ledger=ledger,
        policy=policy,
        train=train,
        monitor=monitor,
        former=former if recalls else None,
        doubt=partial(doubt, day, **known, monitor=monitor, window_days=train.shortest_window_days),
        corrected=corrected if recalls else None,
    )
