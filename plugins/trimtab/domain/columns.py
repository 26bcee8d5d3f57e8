"""Rows as columns, and columns as the model's matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.metrics import FloatArray

if TYPE_CHECKING:
    from trimtab.domain.spec import FeaturesSpec, SliceSpec  # what reads profiles needs no spec

Column: TypeAlias = NDArray[np.float64] | NDArray[np.object_]
"""(n,): float with nan for a missing number, or object with None for a missing text."""
Columns: TypeAlias = Mapping[str, Column]

MAX_CATEGORIES = 254
"""HistGradientBoosting takes codes below its 255 bins; what is rarer shares the code of the unknown."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Turns features into a matrix. A category never seen in training, or missing, becomes nan."""

    numeric: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    """The known values of each categorical feature; the code is the position."""

    @classmethod
    def fit(cls, features: Columns, spec: FeaturesSpec) -> Encoder:
        """Learn the categories of training features: the most frequent ones, in alphabetical order."""
        return cls(spec.numeric, {name: _frequent(features[name]) for name in spec.categorical})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the matrix's columns."""
        return (*self.numeric, *self.categories)

    @property
    def categorical_indices(self) -> list[int]:
        """Positions of the categorical columns in the matrix."""
        return list(range(len(self.numeric), len(self.names)))

    def matrix(self, features: Columns) -> FloatArray:
        """Features (n each) as a float matrix (n, p), columns in the order of `names`."""
        matrix = np.empty((len(features[self.names[0]]), len(self.names)))
        for position, name in enumerate(self.numeric):
            matrix[:, position] = features[name]
        for position, (name, known) in enumerate(self.categories.items(), start=len(self.numeric)):
            code = _codes(known)
            matrix[:, position] = [code.get(value, np.nan) for value in _categories(features[name])]
        return matrix


@lru_cache(maxsize=64)
def _codes(known: tuple[str, ...]) -> Mapping[str | None, float]:
    return {value: float(position) for position, value in enumerate(known)}


def _categories(values: Column) -> list[str | None]:
    """Values as names of categories; a number is named like an integer where it is one."""
    return [
        value if isinstance(value, str) else None if _is_missing(value) else value_name(value)
        for value in values.tolist()
    ]


def _frequent(values: Column) -> tuple[str, ...]:
    present = [value for value in _categories(values) if value is not None]
    names, counts = np.unique(np.array(present, dtype=object), return_counts=True)
    kept = names[np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]]
    return tuple(sorted(kept.tolist()))


def slice_names(columns: Columns, spec: SliceSpec) -> NDArray[np.object_]:
    """The slice of each row (n,): the value itself, or the band as 'low to high'; 'missing' where there is none."""
    values = columns[spec.column]
    if not spec.edges:
        return np.array([value_name(value) for value in values.tolist()], dtype=object)
    bands = _band_names(spec.edges)
    numbers = np.asarray(values, dtype=np.float64)
    names: NDArray[np.object_] = np.array([bands[index] for index in np.digitize(numbers, spec.edges)], dtype=object)
    names[np.isnan(numbers)] = "missing"
    return names


def slices_of(columns: Columns, specs: Sequence[SliceSpec]) -> Mapping[str, NDArray[np.object_]]:
    """By name of the slicing, the slice of each row (n,)."""
    return {spec.name: slice_names(columns, spec) for spec in specs}


def row_keys(columns: Columns, key: Sequence[str]) -> NDArray[np.object_]:
    r"""The key of each row (n,) as text: its parts joined by '|', integers without a decimal point.

    A '|' inside one of several parts is written as '\|', so that two keys never look the same.
    """
    parts = [[value_name(value) for value in columns[name].tolist()] for name in key]
    if len(parts) > 1:
        parts = [[value.replace("\\", "\\\\").replace("|", "\\|") for value in part] for part in parts]
    return np.array(["|".join(row) for row in zip(*parts, strict=True)], dtype=object)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def value_name(value: object) -> str:
    """A value as text: an integer without a decimal point, 'missing' where there is none."""
    if _is_missing(value):
        return "missing"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _band_names(edges: Sequence[float]) -> list[str]:
    inner = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [f"below {edges[0]:g}", *inner, f"{edges[-1]:g} and more"]
