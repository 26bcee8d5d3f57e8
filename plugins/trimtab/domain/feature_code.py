"""Feature functions of a model folder, resolved by name: a function's name is the feature, its parameters the inputs."""

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

from trimtab.domain.columns import Column, Columns
from trimtab.domain.spec import FeaturesSpec, RowsSpec
from trimtab.errors import SpecError

FeatureFunction: TypeAlias = Callable[..., Column]


class FeatureCode:
    """The features that a spec asks for, computed by the functions of one module."""

    def __init__(self, module: ModuleType, features: FeaturesSpec, rows: RowsSpec) -> None:
        """Check that every feature can be computed.

        Raises:
            SpecError: If a feature is neither a column nor a function, or functions need each other in a circle.
        """
        self._functions = _functions(module)
        self._names = features.names
        for name in self._names:
            self._check(name, rows, ())

    def compute(self, rows: Columns) -> Columns:
        """All features (n each) of rows (n each)."""
        known: dict[str, Column] = dict(rows)
        return {name: self._value(name, known) for name in self._names}

    def _value(self, name: str, known: dict[str, Column]) -> Column:
        if name in self._functions:
            if name not in known:
                known[name] = self._functions[name](
                    **{parameter: self._value(parameter, known) for parameter in _parameters(self._functions[name])}
                )
            return known[name]
        return known[name]

    def _check(self, name: str, rows: RowsSpec, path: tuple[str, ...]) -> None:
        if name in path:
            raise SpecError("features.py", name, f"needs itself: {' -> '.join((*path, name))}. Break the circle.")
        if name in rows.columns and name not in self._functions:
            return
        if name not in self._functions:
            asked = f" (needed by {path[-1]!r})" if path else ""
            raise SpecError(
                "features.py", name, f"is neither a column of rows.columns nor a function here{asked}. Add one of the two."
            )
        for parameter in _parameters(self._functions[name]):
            self._check(parameter, rows, (*path, name))


def _functions(module: ModuleType) -> Mapping[str, FeatureFunction]:
    return {
        name: member
        for name, member in vars(module).items()
        if inspect.isfunction(member) and member.__module__ == module.__name__ and not name.startswith("_")
    }


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(inspect.signature(function).parameters)
