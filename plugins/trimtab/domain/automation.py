"""Who decides, the model or a person: a level for each model and slice, as a fold over recorded changes.

human: a person decides, and what the model would have said is only written down. shadow: the same, and its answers are
compared with the person's. assist: the model proposes, a person decides. partial: the model decides where it is sure,
and hands the rest to people. full: the model decides. A person may set any level; an alarm only ever lowers one.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from trimtab.domain.journal import Entry
from trimtab.domain.metrics import FloatArray

Level: TypeAlias = Literal["human", "shadow", "assist", "partial", "full"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""From the person to the model."""
ALL = "all"
"""The slice of all rows."""
HUMAN_QUEUE: frozenset[Level] = frozenset(("human", "shadow", "assist"))
"""Levels at which a person decides about every row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Automation:
    """The level of a slice, and why."""

    level: Level = "full"
    sureness: float = 0.0
    """At `partial`: a prediction that is less sure goes to a person; see `sureness`."""
    actor: str = ""
    reason: str = "nobody has set a level"
    sequence: int = 0


def automations(entries: Iterable[Entry]) -> Mapping[str, Automation]:
    """The level of each slice that has one, after these entries of the stream `automation`."""
    folded: dict[str, Automation] = {}
    for entry in entries:
        level, sure = str(entry.payload.get("level")), entry.payload.get("sureness")
        folded[entry.subject] = Automation(
            level=next((known for known in LEVELS if known == level), "human"),
            sureness=float(sure) if isinstance(sure, (int, float)) else 0.0,
            actor=str(entry.payload.get("actor", "")),
            reason=str(entry.payload.get("reason", "")),
            sequence=entry.sequence,
        )
    return folded


def automation_of(slices: Sequence[str], known: Mapping[str, Automation]) -> Automation:
    """What holds for a row of these slices ('carrier=UA'): the most careful of its slices and of all rows."""
    candidates = [known.get(ALL, Automation()), *(known[name] for name in slices if name in known)]
    return min(candidates, key=lambda one: (LEVELS.index(one.level), -one.sureness))


def lowered(level: Level) -> Level:
    """The level after an alarm: one less; at `human` there is nothing to lower."""
    return LEVELS[max(LEVELS.index(level) - 1, 0)]


def sureness(probability: FloatArray) -> FloatArray:
    """How sure a probability (n,) of the label 1 is: 0 at a half, 1 at 0 and at 1."""
    return np.abs(2 * probability - 1)


def decides(automation: Automation, sure: float) -> bool:
    """Whether the model decides about a row that it is so sure of, and not a person."""
    if automation.level == "partial":
        return sure >= automation.sureness
    return automation.level == "full"


def sureness_for(recent: FloatArray, *, rows_per_day: float, capacity: float) -> float:
    """From which sureness on the model decides, so that people get what they can review.

    Args:
        recent: Sureness of recent predictions (n,), n > 0.
        rows_per_day: Rows that come in a day.
        capacity: Rows that people can review in a day.

    Returns:
        The sureness below which a share of capacity / rows_per_day of the recent predictions lies; inf if people can
        review everything.
    """
    share = capacity / rows_per_day if rows_per_day else math.inf
    if share >= 1:
        return math.inf
    ordered = np.sort(recent)
    return float(ordered[math.floor(share * len(ordered))])
