"""Change who decides, the model or a person, and record it."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
import pandas as pd

from trimtab.domain.automation import ALL, LEVELS, Automation, Level, automations, lowered, sureness, sureness_for
from trimtab.domain.columns import Columns, slice_names
from trimtab.domain.journal import Draft, Ledger, Payload
from trimtab.domain.ports import BATCH, Lake
from trimtab.domain.release import GUARD, routing
from trimtab.domain.spec import LabelSpec, RowsSpec, SliceSpec
from trimtab.domain.verdict import Status
from trimtab.errors import NotFoundError, RequestError, listed
from trimtab.stages.frames import columns_of

RECENT_DAYS = 28
"""Whose predictions say how sure the model is."""
ALARMS = (Status.DECAY,)
"""Verdicts that lower a level: the errors have grown."""


def set_level(
    level: str,
    *,
    actor: str,
    reason: str,
    as_of: date,
    ledger: Ledger,
    lake: Lake,
    label: LabelSpec,
    rows: RowsSpec,
    slices: Sequence[SliceSpec],
    features: Callable[[Columns], Columns],
    part: str,
    of: str = ALL,
    capacity: float | None = None,
) -> Automation:
    """Let a person change the level of a slice; setting what holds already changes nothing.

    Args:
        level: One of `LEVELS`.
        actor: Who.
        reason: Why.
        as_of: Day in the model's own time.
        ledger: Journal of the model.
        lake: Rows of the model, whose recent predictions say how many are unsure.
        label: What is predicted.
        rows: Columns of a row.
        slices: Those of the model.
        features: Computes the features of rows; it is only called if the slice is one of a feature.
        part: Of the predictions, that people share the deciding of: answers of the service, or batches.
        of: The slice, as 'carrier=UA'; all rows by default.
        capacity: For `partial`: rows that people can review in a day.

    Raises:
        RequestError: If there is no such level or slicing, or `partial` cannot be had.
        NotFoundError: If there are no recent predictions for `partial`.
    """
    known = next((one for one in LEVELS if one == level), None)
    if known is None:
        raise RequestError(f"There is no level {level!r}. There are: {', '.join(LEVELS)}.")
    group = _slicing(of, slices)
    payload: Payload = {"level": known, "actor": actor, "reason": reason}
    if known == "partial":
        if label.task != "binary" or capacity is None:
            raise RequestError(
                "Level 'partial' needs a binary label, whose probability says how sure the model is, and the rows that "
                "people can review in a day. Choose 'assist', or give a capacity."
            )
        recent = _recent(as_of, part, ledger, lake)
        if group is not None:
            recent = _of_slice(recent, of, group, _batches(as_of, lake), rows, features)
        payload["sureness"] = _sureness(recent, capacity, label)
    return _recorded(of, "set", payload, as_of, ledger)


def demote_on_alarm(day: date, *, ledger: Ledger) -> list[str]:
    """Lower every level that somebody has set by one if the verdict of the day is an alarm, once.

    Nothing ever raises a level but a person.

    Returns:
        The slices whose level was lowered.
    """
    verdicts = [entry for entry in ledger.entries("verdict", day.isoformat()) if entry.kind in ALARMS]
    if not verdicts:
        return []
    lowered_slices = []
    for name, automation in automations(ledger.entries("automation")).items():
        done = any(entry.payload.get("alarm") == day.isoformat() for entry in ledger.entries("automation", name))
        if done or automation.level == "human":
            continue
        reason = f"alarm of {day}: {verdicts[-1].payload.get('summary', verdicts[-1].kind)}"
        payload: Payload = {
            "level": _lowered(automation),
            "actor": GUARD,
            "reason": reason,
            "alarm": day.isoformat(),
        }
        _recorded(name, "demoted", payload, day, ledger)
        lowered_slices.append(name)
    return lowered_slices


def _lowered(automation: Automation) -> Level:
    """`partial` needs a capacity that only a person knows, so an alarm goes past it."""
    level = lowered(automation.level)
    return lowered(level) if level == "partial" else level


def _recorded(name: str, kind: str, payload: Payload, as_of: date, ledger: Ledger) -> Automation:
    after = ledger.head("automation")
    entries = ledger.entries("automation", name)
    if not entries or (entries[-1].kind, entries[-1].payload) != (kind, payload):
        ledger.append(Draft(stream="automation", subject=name, kind=kind, as_of=as_of, payload=payload), after=after)
    return automations(ledger.entries("automation"))[name]


def _slicing(of: str, slices: Sequence[SliceSpec]) -> SliceSpec | None:
    """The slicing of a slice; None: it is that of all rows."""
    found = next((one for one in slices if one.name == of.partition("=")[0]), None)
    if of == ALL or (found is not None and "=" in of):
        return found
    names = f"one of {listed([one.name for one in slices])}, with a value, as 'name=value'" if slices else "none"
    raise RequestError(f"There is no slice {of!r}. Slices of model.yaml: {names}; or {ALL!r}.")


def _recent(as_of: date, part: str, ledger: Ledger, lake: Lake) -> pd.DataFrame:
    """What the champion has lately predicted for the traffic, or for the batches while there is no traffic."""
    first, champion = as_of - timedelta(days=RECENT_DAYS), routing(ledger.entries("release")).champion
    for chosen in (part, BATCH):
        recent = lake.read("predictions", first, as_of, part=chosen)
        if len(recent) and (recent["version"] == champion).any():
            return recent[recent["version"] == champion].dropna(subset="prediction")
    raise NotFoundError(f"No prediction of the {RECENT_DAYS} days up to {as_of} says how sure the model is.")


def _batches(as_of: date, lake: Lake) -> pd.DataFrame:
    return lake.read("batches", as_of - timedelta(days=RECENT_DAYS), as_of)


def _of_slice(
    recent: pd.DataFrame,
    of: str,
    group: SliceSpec,
    batches: pd.DataFrame,
    rows: RowsSpec,
    features: Callable[[Columns], Columns],
) -> pd.DataFrame:
    """The predictions for rows of a slice, as far as a batch has them."""
    if len(batches):
        columns = columns_of(batches, rows)
        known = columns if group.column in columns else features(columns)
        mine = batches.loc[slice_names(known, group) == of.partition("=")[2], ["_day", "_key"]]
        recent = recent.merge(mine, on=["_day", "_key"])
    if not len(batches) or not len(recent):
        raise NotFoundError(f"No row of slice {of!r} was predicted lately. Mend its name, or choose 'assist'.")
    return recent


def _sureness(recent: pd.DataFrame, capacity: float, label: LabelSpec) -> float:
    found = sureness(recent["prediction"].to_numpy(dtype=np.float64), label.decision_threshold)
    threshold = sureness_for(found, rows_per_day=len(recent) / recent["_day"].nunique(), capacity=capacity)
    return min(threshold, 2.0)  # beyond 1 nothing is sure enough, and JSON has no infinity
