"""Known faults and shifts, injected into a real batch, to see whether monitoring names them.

Each drill is a pure function of the batch and a seed: the same seed, the same fault. Nothing is written anywhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.columns import Column, Columns
from trimtab.domain.diagnosis import Bug, Kind
from trimtab.domain.metrics import FloatArray

UNITS = (1.609344, 0.3048, 60.0, 1000.0, 0.01)
"""Miles as kilometres, feet as metres, hours as minutes, kilo left out, per cent as a share."""
NULL_SHARE = 0.4
TILT = 10.0
"""Odds of the highest rank to be drawn over those of the middle one, in a tilted sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A day's rows (n) on their way in, with the labels that will come."""

    rows: Columns
    y_true: FloatArray
    repeated: int = 0
    """Rows that repeat the key of another one: ingest sets them aside, so they are not among `rows`."""
    prediction_shift: float = 0.0
    """What a changed component adds to each prediction, in standard deviations of the label."""

    def take(self, positions: NDArray[np.intp]) -> "Batch":
        """The rows at these positions (m,)."""
        rows = {name: values[positions] for name, values in self.rows.items()}
        return replace(self, rows=rows, y_true=self.y_true[positions])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Which columns a drill may touch."""

    numeric: tuple[str, ...]
    """Numbers of a row that are features."""
    categorical: tuple[str, ...]
    """Texts of a row that are features."""
    day_columns: tuple[str, ...] = ()
    """Columns that say which day it is."""
    costly: str = ""
    """Number whose high values are hard to predict; the first numeric one by default."""
    harmless: str = ""
    """Number that the errors do not depend on; the last numeric one by default."""


Inject: TypeAlias = Callable[[Batch, Batch, Target, np.random.Generator], Batch]
"""(today, the day before, what may be touched, chance) -> the batch that comes instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One fault or shift, and what triage should call it."""

    name: str
    kind: Kind
    bug: Bug | None
    inject: Inject


def unit_change(today: Batch, _before: Batch, target: Target, random: np.random.Generator) -> Batch:
    """One number comes in another unit."""
    name, factor = _one(target.numeric, random), float(random.choice(UNITS))
    return _with(today, name, np.asarray(today.rows[name], dtype=np.float64) * factor)


def null_surge(today: Batch, _before: Batch, target: Target, random: np.random.Generator) -> Batch:
    """Two fifths of a column's values are missing."""
    name = _one((*target.numeric, *target.categorical), random)
    gone = random.random(len(today.y_true)) < NULL_SHARE
    values = today.rows[name]
    if values.dtype.kind == "f":
        return _with(today, name, np.where(gone, np.nan, np.asarray(values, dtype=np.float64)))
    texts = np.array(values, dtype=object)
    texts[gone] = None
    return _with(today, name, texts)


def stuck_feed(today: Batch, before: Batch, target: Target, _random: np.random.Generator) -> Batch:
    """The rows of the day before come again, under today's date."""
    days = {name: np.full(len(before.y_true), today.rows[name][0]) for name in target.day_columns}
    return replace(before, rows={**before.rows, **days})


def missing_feed(today: Batch, _before: Batch, _target: Target, _random: np.random.Generator) -> Batch:
    """The file ends after half of the rows."""
    return today.take(np.arange(len(today.y_true) // 2))


def duplicated_batch(today: Batch, _before: Batch, _target: Target, _random: np.random.Generator) -> Batch:
    """Every row is sent twice."""
    return replace(today, repeated=len(today.y_true))


def renamed_category(today: Batch, _before: Batch, target: Target, random: np.random.Generator) -> Batch:
    """The most frequent value of a category has a new name."""
    name = _one(target.categorical, random)
    values = np.array(today.rows[name], dtype=object)
    present = [value for value in values.tolist() if value is not None]
    frequent = max(sorted(set(present)), key=present.count)
    values[values == frequent] = f"{frequent} (new)"
    return _with(today, name, values)


def encoding_damage(today: Batch, _before: Batch, target: Target, random: np.random.Generator) -> Batch:
    """The texts of a column are read with a wrong encoding."""
    name = _one(target.categorical, random)
    values = [None if value is None else f"\ufeff{value}" for value in today.rows[name].tolist()]
    return _with(today, name, np.array(values, dtype=object))


def prior_shift(today: Batch, _before: Batch, _target: Target, random: np.random.Generator) -> Batch:
    """Rows with a high label are drawn more often: P(Y) moves, P(X|Y) does not."""
    return _tilted(today, today.y_true, random)


def covariate_shift(today: Batch, _before: Batch, target: Target, random: np.random.Generator) -> Batch:
    """Only rows that are hard to predict come, the highest fifth by a feature: P(X) moves, P(Y|X) does not."""
    values = np.nan_to_num(np.asarray(today.rows[target.costly or target.numeric[0]], dtype=np.float64))
    hard = np.flatnonzero(values >= np.quantile(values, 0.8))
    return today.take(np.sort(random.choice(hard, len(values))))


def benign_shift(today: Batch, _before: Batch, target: Target, random: np.random.Generator) -> Batch:
    """Rows are drawn by a feature that the errors do not depend on."""
    name = target.harmless or target.numeric[-1]
    return _tilted(today, np.asarray(today.rows[name], dtype=np.float64), random)


def concept_drift(today: Batch, _before: Batch, target: Target, _random: np.random.Generator) -> Batch:
    """The label rises by half a standard deviation where a feature is high, and falls where it is low."""
    name = target.costly or target.numeric[0]
    values = np.asarray(today.rows[name], dtype=np.float64)
    high = np.where(values > np.nanmedian(values), 0.5, -0.5)
    return replace(today, y_true=today.y_true + high * today.y_true.std())


def changed_component(today: Batch, _before: Batch, _target: Target, _random: np.random.Generator) -> Batch:
    """Something between features and answer adds half a standard deviation to each prediction."""
    return replace(today, prediction_shift=0.5)


DRILLS: Mapping[str, Drill] = MappingProxyType(
    {
        drill.name: drill
        for drill in (
            Drill(name="unit_change", kind=Kind.DATA_BUG, bug=Bug.UNIT_CHANGE, inject=unit_change),
            Drill(name="null_surge", kind=Kind.DATA_BUG, bug=Bug.MISSING_SURGE, inject=null_surge),
            Drill(name="stuck_feed", kind=Kind.DATA_BUG, bug=Bug.STUCK_FEED, inject=stuck_feed),
            Drill(name="missing_feed", kind=Kind.DATA_BUG, bug=Bug.MISSING_FEED, inject=missing_feed),
            Drill(name="duplicated_batch", kind=Kind.DATA_BUG, bug=Bug.DUPLICATED_BATCH, inject=duplicated_batch),
            Drill(name="renamed_category", kind=Kind.DATA_BUG, bug=Bug.RENAMED_CATEGORY, inject=renamed_category),
            Drill(name="encoding_damage", kind=Kind.DATA_BUG, bug=Bug.ENCODING, inject=encoding_damage),
            Drill(name="prior_shift", kind=Kind.PRIOR_SHIFT, bug=None, inject=prior_shift),
            Drill(name="covariate_shift", kind=Kind.COVARIATE_SHIFT, bug=None, inject=covariate_shift),
            Drill(name="benign_shift", kind=Kind.BENIGN_SHIFT, bug=None, inject=benign_shift),
            Drill(name="concept_drift", kind=Kind.CONCEPT_DRIFT, bug=None, inject=concept_drift),
            Drill(name="changed_component", kind=Kind.CHANGED_COMPONENT, bug=None, inject=changed_component),
        )
    }
)


def _one(names: Sequence[str], random: np.random.Generator) -> str:
    return names[int(random.integers(len(names)))]


def _with(batch: Batch, name: str, values: Column) -> Batch:
    return replace(batch, rows={**batch.rows, name: values})


def _tilted(batch: Batch, by: FloatArray, random: np.random.Generator) -> Batch:
    """As many rows, drawn again with odds that rise with the rank of `by` (n,)."""
    rank = np.argsort(np.argsort(np.nan_to_num(by, nan=np.nanmin(by)), kind="stable")) / max(len(by) - 1, 1)
    weights = TILT ** (2 * rank - 1)
    return batch.take(np.sort(random.choice(len(by), len(by), p=weights / weights.sum())))
