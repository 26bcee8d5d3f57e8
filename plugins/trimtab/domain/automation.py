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
from numpy.typing import NDArray

from trimtab.domain.columns import Columns, slices_of
from trimtab.domain.explanation import Effects
from trimtab.domain.journal import Entry
from trimtab.domain.metrics import FloatArray
from trimtab.domain.spec import LabelSpec, SliceSpec

Level: TypeAlias = Literal["human", "shadow", "assist", "partial", "full"]
Decider: TypeAlias = Literal["model", "person"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""From the person to the model."""
ALL = "all"
"""The slice of all rows."""
SILENT: frozenset[Level] = frozenset(("human", "shadow"))
"""Levels at which the person who decides must not see what the model would have said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Automation:
    """The level of a slice, and why."""

    level: Level = "full"
    sureness: float = math.inf
    """At `partial`: a prediction that is less sure goes to a person; see `sureness`."""
    actor: str = ""
    reason: str = "nobody has set a level"
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Who decides about one row."""

    level: Level = "full"
    decided_by: Decider = "model"
    effects: Effects = ()
    """Why the model proposes what it does, where a person decides on its proposal."""

    @property
    def is_silent(self) -> bool:
        """Whether what the model would have said is not shown."""
        return self.level in SILENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Deciding:
    """Who decides about some rows (n)."""

    levels: NDArray[np.object_]
    """Level that holds for each (n,)."""
    by_person: NDArray[np.bool_]
    """(n,)."""

    @property
    def proposed(self) -> NDArray[np.bool_]:
        """Rows about which a person decides who sees what the model proposes (n,)."""
        return self.by_person & ~np.isin(self.levels, list(SILENT))


def automations(entries: Iterable[Entry]) -> Mapping[str, Automation]:
    """The level of each slice that has one, after these entries of the stream `automation`."""
    folded: dict[str, Automation] = {}
    for entry in entries:
        level, sure = str(entry.payload.get("level")), entry.payload.get("sureness")
        folded[entry.subject] = Automation(
            level=next((known for known in LEVELS if known == level), "human"),
            sureness=float(sure) if isinstance(sure, (int, float)) else math.inf,
            actor=str(entry.payload.get("actor", "")),
            reason=str(entry.payload.get("reason", "")),
            sequence=entry.sequence,
        )
    return folded


def in_force(known: Mapping[str, Automation]) -> Mapping[str, Automation]:
    """The levels if one of them lets people decide; none if the model decides everything."""
    return known if any(one.level != "full" for one in known.values()) else {}


def slicings(known: Mapping[str, Automation], specs: Sequence[SliceSpec]) -> Sequence[SliceSpec]:
    """The slicings that tell which level holds for a row."""
    used = {name.partition("=")[0] for name in known if name != ALL}
    return [spec for spec in specs if spec.name in used]


def deciding(
    known: Mapping[str, Automation],
    columns: Columns,
    specs: Sequence[SliceSpec],
    predictions: FloatArray,
    label: LabelSpec,
) -> Deciding:
    """Who decides about rows (n): the most careful level of all rows and of each row's slices holds.

    Args:
        known: Level of each slice ('carrier=UA') that has one.
        columns: Those of the rows (n each) that `slicings` needs.
        specs: The slicings of the model.
        predictions: What the model says (n,).
        label: What is predicted; only a probability says how sure the model is.
    """
    slices = slices_of(columns, slicings(known, specs))
    ordered = sorted({ALL: Automation(), **known}.items(), key=lambda item: _freedom(item[1]), reverse=True)
    place = np.zeros(len(predictions), dtype=np.intp)
    for at, (name, _) in enumerate(ordered):  # the most careful last
        place[_rows_in(name, slices, len(predictions))] = at
    needed = np.array([_needed(one) for _, one in ordered])[place]
    unknown = np.full(len(predictions), np.nan)
    sure = sureness(predictions, label.decision_threshold) if label.task == "binary" else unknown
    return Deciding(
        levels=np.array([one.level for _, one in ordered], dtype=object)[place],
        by_person=(needed > -math.inf) & ~(sure >= needed),
    )


def _freedom(automation: Automation) -> tuple[int, float]:
    """Grows with what the model may decide."""
    return LEVELS.index(automation.level), -automation.sureness


def _rows_in(name: str, slices: Mapping[str, NDArray[np.object_]], count: int) -> NDArray[np.bool_]:
    """Rows of a slice (n,); none of one whose slicing the model no longer has."""
    if name == ALL:
        return np.ones(count, dtype=bool)
    slicing, _, value = name.partition("=")
    return slices[slicing] == value if slicing in slices else np.zeros(count, dtype=bool)


def _needed(automation: Automation) -> float:
    """How sure the model must be to decide."""
    if automation.level == "full":
        return -math.inf
    return automation.sureness if automation.level == "partial" else math.inf


def lowered(level: Level) -> Level:
    """The level after an alarm: one less; at `human` there is nothing to lower."""
    return LEVELS[max(LEVELS.index(level) - 1, 0)]


def sureness(probability: FloatArray, threshold: float) -> FloatArray:
    """How sure the model is of the better decision: 0 where a probability (n,) is the threshold, 1 where it is 0 or 1.

    A threshold t says that what a wrong 1 costs is to what a wrong 0 costs as t to 1 - t. The better decision then
    costs less than a guess at the threshold by this share, so that handing over what is less sure spares the most.

    Source: Chow, "On Optimum Recognition Error and Reject Tradeoff", IEEE Transactions on Information Theory 16 (1970).
    """
    return np.where(
        probability < threshold, (threshold - probability) / threshold, (probability - threshold) / (1 - threshold)
    )


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
