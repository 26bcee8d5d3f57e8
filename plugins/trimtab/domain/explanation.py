"""Why a prediction is what it is: what becomes of it when one feature after the other takes its typical value.

Each feature is changed by itself, so that the effects do not add up where features act together, and a change may make
a row that never occurs. It is the prediction difference of Robnik-Sikonja & Kononenko, "Explaining Classifications For
Individual Instances", IEEE TKDE 20 (2008), with one typical value in the place of all values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from trimtab.domain.columns import Column, Columns
from trimtab.domain.feature_code import FeatureValue, feature_rows
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import ColumnBins, Reference

SHOWN = 3
"""Features of a row that are named."""
ROWS_AT_ONCE = 1000
"""Rows that are explained with one call of the model, which then predicts as many for each feature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureEffect:
    """What one feature does to the prediction of a row."""

    feature: str
    value: FeatureValue
    """As the model saw it."""
    typical: FeatureValue
    """Median, or most frequent category, of the rows that the model was trained with."""
    effect: float
    """Prediction, minus that of the same row with the typical value; in the unit of the prediction."""


Effects: TypeAlias = tuple[FeatureEffect, ...]
"""Of one row, the largest first."""


def typical_values(reference: Reference) -> Mapping[str, FeatureValue]:
    """Median of each number and most frequent category of each text in the reference, as far as it has one."""
    return {
        name: _median(bins, [day.columns[name].counts for day in reference.days.values() if name in day.columns])
        if bins.edges
        else bins.categories[0]
        for name, bins in reference.bins.items()
        if bins.edges or bins.categories
    }


def feature_effects(
    predict: Callable[[Columns], FloatArray],
    features: Columns,
    predictions: FloatArray,
    typical: Mapping[str, FeatureValue],
) -> list[Effects]:
    """The largest effects of each row (n), at most SHOWN of them.

    Args:
        predict: Predictions (m,) for features (m each).
        features: Of the rows (n each).
        predictions: What was predicted for them (n,).
        typical: Typical value of each feature; one that has none is left out.
    """
    return [
        effects
        for start in range(0, len(predictions), ROWS_AT_ONCE)
        for effects in _effects(
            predict,
            {name: values[start : start + ROWS_AT_ONCE] for name, values in features.items()},
            predictions[start : start + ROWS_AT_ONCE],
            {name: value for name, value in typical.items() if name in features},
        )
    ]


def _effects(
    predict: Callable[[Columns], FloatArray],
    features: Columns,
    predictions: FloatArray,
    typical: Mapping[str, FeatureValue],
) -> list[Effects]:
    if not typical:
        return [()] * len(predictions)
    changed = {name: _with_typical(name, values, typical) for name, values in features.items()}
    others = np.asarray(predict(changed), dtype=np.float64).reshape(len(typical), len(predictions))
    effects = np.nan_to_num(predictions - others, nan=0.0, posinf=0.0, neginf=0.0)
    order = np.argsort(-np.abs(effects), axis=0, kind="stable")[:SHOWN]
    names = list(typical)
    return [
        tuple(
            FeatureEffect(feature=names[at], value=row[names[at]], typical=typical[names[at]], effect=float(own[at]))
            for at in places
            if own[at]
        )
        for row, own, places in zip(feature_rows(features), effects.T, order.T.tolist(), strict=True)
    ]


def _with_typical(name: str, values: Column, typical: Mapping[str, FeatureValue]) -> Column:
    """The values once for each feature that is changed, and the typical one where it is this feature's turn."""
    usual = np.full(len(values), typical.get(name), dtype=values.dtype)
    return np.concatenate([usual if turn == name else values for turn in typical])


def _median(bins: ColumnBins, days: Sequence[Sequence[int]]) -> float:
    """Of a number, to the width of a bin; the mean if nothing was counted."""
    reached = np.cumsum(np.sum(days, axis=0)) if days else np.zeros(1)
    half = reached[-1] / 2
    place = int(np.searchsorted(reached, half))
    if not half or not 0 < place < len(bins.edges):
        return bins.centre
    if bins.discrete:
        return _values(bins.edges)[place - 1]
    low, high = bins.edges[place - 1 : place + 1]
    return float(np.interp(half, [reached[place - 1], reached[place]], [low, high]))


def _values(edges: Sequence[float]) -> list[float]:
    """The values of which each has a bin: the first edge is the first of them, each other lies midway between two."""
    values = [edges[0]]
    for edge in edges[1:-1]:
        values.append(2 * edge - values[-1])
    return values
