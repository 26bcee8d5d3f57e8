"""Whether a training could mend that a model's errors have a direction: its window may be too long to follow."""

from datetime import date, timedelta

import numpy as np
import pandas as pd

from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import Errors, FloatArray, losses
from trimtab.domain.ports import BATCH, Lake
from trimtab.domain.release import routing
from trimtab.domain.spec import LabelSpec, MonitorSpec
from trimtab.domain.staleness import DAYS, LOOK_BACK_DAYS, shift, shifted
from trimtab.stages.feedback import errors_of
from trimtab.stages.judge import broken_days


def doubt(as_of: date, *, lake: Lake, ledger: Ledger, label: LabelSpec, monitor: MonitorSpec, window_days: int) -> str:
    """Why a training would not better a stale champion, empty if it may.

    The last labelled days are shifted by the mean error of the days that a training would learn from, as staleness does
    with those of a week. What errs since last week is a small part of a long window, and a training does not learn it.
    """
    champion = routing([entry for entry in ledger.entries("release") if entry.as_of <= as_of]).champion
    measured = {} if champion is None else _measured(champion, as_of, window_days, ledger)
    saved = np.zeros(2)
    for day in sorted(measured)[1:][-DAYS:]:
        since = day - timedelta(days=window_days)
        history = [errors for other, errors in sorted(measured.items()) if since <= other < day]
        saved += _losses(day, str(champion), shift(history, window_days), lake, label)
    if not saved[0] or 1 - saved[1] / saved[0] >= monitor.smallest_saving:
        return ""
    return (
        f"a training on {window_days} days would not follow: a shift by their errors saves "
        f"{1 - saved[1] / saved[0]:.0%} of the loss"
    )


def _measured(champion: str, as_of: date, window_days: int, ledger: Ledger) -> dict[date, Errors]:
    """Errors of a champion by day, as far as they are known and can count, without the broken days."""
    oldest = as_of - timedelta(days=window_days + LOOK_BACK_DAYS)
    broken = broken_days(ledger)
    found: dict[date, Errors] = {}
    for entry in ledger.entries("feedback"):
        values, day = entry.payload.get(champion), date.fromisoformat(entry.subject)
        if isinstance(values, dict) and entry.as_of <= as_of and day >= oldest and day not in broken:
            found[day] = errors_of(values)
    return found


def _losses(day: date, champion: str, by: float | None, lake: Lake, label: LabelSpec) -> FloatArray:
    """Mean loss of a day's batch as predicted, and shifted (2,); zeros where nothing is known."""
    predictions = lake.read("predictions", day, day, part=BATCH)
    labels = lake.read("labels", day, day, columns=["_key", "label"])
    if by is None or not len(predictions) or not len(labels):
        return np.zeros(2)
    joined = _of(champion, predictions).merge(labels, on="_key")
    if not len(joined):
        return np.zeros(2)
    y_true, y_pred = (joined[name].to_numpy(dtype=np.float64) for name in ("label", "prediction"))
    pair = (y_pred, shifted(label.task, y_pred, by))
    return np.array([float(losses(label.task, y_true, values).mean()) for values in pair])


def _of(version: str, predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions.loc[predictions["version"].astype(str) == version, ["_key", "prediction"]]
