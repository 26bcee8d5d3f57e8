"""Feature functions of a model folder: a function's name is the feature, its parameters the inputs."""

import inspect
import math
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TypeAlias, cast

import numpy as np

from trimtab.domain.columns import Column, Columns
from trimtab.domain.row_types import is_text
from trimtab.domain.spec import FeaturesSpec, RowsSpec
from trimtab.errors import SpecError

FeatureValue: TypeAlias = float | str | None
"""One feature of one row where it is written down."""
FeatureFunction: TypeAlias = Callable[..., Column]


class FeatureCode:
    """The features that a spec asks for, computed by the functions of one module."""

    def __init__(self, module: ModuleType, features: FeaturesSpec, rows: RowsSpec) -> None:
        """Check that every feature can be computed.

        Raises:
            SpecError: If a feature is neither a column nor a function, or functions need each other in a circle.
        """
        self._functions = _functions(module)
        self._inputs = {name: tuple(inspect.signature(code).parameters) for name, code in self._functions.items()}
        self._names = features.names
        for name in self._names:
            self._check(name, rows, ())
        for name in features.numeric:
            if name not in self._functions and is_text(rows.columns[name]):
                raise SpecError("features.py", name, "is a text in rows.columns. List it under features.categorical.")

    def compute(self, rows: Columns) -> Columns:
        """All features (n each) of rows (n each).

        Raises:
            SpecError: If a function does not give one value for each row.
        """
        # A function takes the place of a column that bears its name.
        known: dict[str, Column] = {name: values for name, values in rows.items() if name not in self._functions}
        return {name: self._value(name, known) for name in self._names}

    def _value(self, name: str, known: dict[str, Column]) -> Column:
        if name not in known:
            inputs = {parameter: self._value(parameter, known) for parameter in self._inputs[name]}
            known[name] = _as_column(name, self._functions[name](**inputs), inputs)
        return known[name]

    def _check(self, name: str, rows: RowsSpec, path: tuple[str, ...]) -> None:
        if name in path:
            raise SpecError("features.py", name, f"needs itself: {' -> '.join((*path, name))}. Break the circle.")
        if name in rows.columns and name not in self._functions:
            return
        if name not in self._functions:
            asked = f" (needed by {path[-1]!r})" if path else ""
            raise SpecError(
                "features.py",
                name,
                f"is neither a column of rows.columns nor a function here{asked}. Add one of the two.",
            )
        for parameter in self._inputs[name]:
            self._check(parameter, rows, (*path, name))


def _as_column(name: str, result: object, inputs: Columns) -> Column:
    """What a function gave as floats, or as objects for texts."""
    values = np.asarray(result)
    expected = next((column.shape for column in inputs.values()), values.shape)
    if values.shape != expected:
        raise SpecError(
            "features.py", name, f"gives an array of shape {values.shape}. Return one value for each row: {expected}."
        )
    return values.astype(np.float64 if values.dtype.kind in "biuf" else object)


def _functions(module: ModuleType) -> Mapping[str, FeatureFunction]:
    return {
        name: member
        for name, member in vars(module).items()
        if inspect.isfunction(member) and member.__module__ == module.__name__ and not name.startswith("_")
    }


def feature_rows(features: Columns) -> list[Mapping[str, FeatureValue]]:
    """Features (n each) row by row (n) in values that JSON has: nan is None, an infinite number a text."""
    columns = [_plain_values(values) for values in features.values()]
    return [dict(zip(features, row, strict=True)) for row in zip(*columns, strict=True)]


def _plain_values(values: Column) -> list[FeatureValue]:
    if values.dtype == np.float64 and np.isfinite(values).all():
        return cast("list[FeatureValue]", values.tolist())
    return [_plain(value) for value in values.tolist()]


def _plain(value: object) -> FeatureValue:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        if math.isfinite(value):
            return float(value)
        return None if math.isnan(value) else str(value)
    return str(value)
