"""Change who decides, the model or a person, and record it."""

from datetime import date, timedelta

import numpy as np

from trimtab.domain.automation import ALL, LEVELS, Automation, Level, automations, lowered, sureness, sureness_for
from trimtab.domain.journal import Draft, Ledger, Payload
from trimtab.domain.ports import Lake
from trimtab.domain.release import GUARD, routing
from trimtab.domain.spec import Task
from trimtab.domain.verdict import Status
from trimtab.errors import NotFoundError, RequestError

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
    task: Task,
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
        task: What is predicted.
        of: The slice, as 'carrier=UA'; all rows by default.
        capacity: For `partial`: rows that people can review in a day.

    Raises:
        RequestError: If there is no such level, or `partial` cannot be had.
        NotFoundError: If there are no recent predictions for `partial`.
    """
    known = next((one for one in LEVELS if one == level), None)
    if known is None:
        raise RequestError(f"There is no level {level!r}. There are: {', '.join(LEVELS)}.")
    payload: Payload = {"level": known, "actor": actor, "reason": reason}
    if known == "partial":
        payload["sureness"] = _sureness(capacity, task, as_of, ledger, lake)
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


def _sureness(capacity: float | None, task: Task, as_of: date, ledger: Ledger, lake: Lake) -> float:
    if task != "binary" or capacity is None:
        raise RequestError(
            "Level 'partial' needs a binary label, whose probability says how sure the model is, and the rows that "
            "people can review in a day. Choose 'assist', or give a capacity."
        )
    champion = routing(ledger.entries("release")).champion
    recent = lake.read("predictions", as_of - timedelta(days=RECENT_DAYS), as_of)
    recent = recent[recent["version"] == champion] if len(recent) else recent
    if not len(recent):
        raise NotFoundError(f"No prediction of the {RECENT_DAYS} days up to {as_of} says how sure the model is.")
    found = sureness(recent["prediction"].dropna().to_numpy(dtype=np.float64))
    days = recent["_day"].nunique()
    threshold = sureness_for(found, rows_per_day=len(recent) / days, capacity=capacity)
    return min(threshold, 2.0)  # beyond 1 nothing is sure enough, and JSON has no infinity
