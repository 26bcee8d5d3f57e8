"""Who decides about the rows of a model, the model or a person, as the ledger says at this moment."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from trimtab.domain.automation import (
    ALL,
    Automation,
    Decider,
    Deciding,
    Ruling,
    automations,
    deciding,
    in_force,
    slicings,
)
from trimtab.domain.columns import Columns
from trimtab.domain.explanation import Effects, feature_effects, typical_values
from trimtab.domain.feature_code import FeatureValue
from trimtab.domain.journal import Ledger
from trimtab.domain.ports import Predictor
from trimtab.domain.spec import ModelSpec
from trimtab.serving.attempts import Attempt, Positions
from trimtab.serving.rows import Rows

logger = logging.getLogger(__name__)


class Deciders:
    """Follows the levels of automation of one model. Threads may share it."""

    def __init__(self, spec: ModelSpec, ledger: Ledger) -> None:
        """Bind; until the first `refresh` the model decides everything."""
        self._spec, self._ledger = spec, ledger
        self._known: Mapping[str, Automation] = {}
        self._head: int | None = None
        self._typical: dict[str, Mapping[str, FeatureValue]] = {}

    def refresh(self) -> None:
        """Follow the ledger; cheap when nothing has changed. If it raises, what was in force stays in force."""
        head = self._ledger.head("automation")
        if head == self._head:
            return
        known = automations(self._ledger.entries("automation"))
        names = {spec.name for spec in self._spec.slices}
        for name in known:
            if name != ALL and name.partition("=")[0] not in names:
                logger.warning("%s: the level of %s holds for no row: there is no such slice", self._spec.name, name)
        self._known, self._head = in_force(known), head
        logger.info("%s: levels %s", self._spec.name, {name: one.level for name, one in known.items()})

    def ruled(
        self, attempts: tuple[Attempt, ...], rows: Rows, predictors: Mapping[str, Predictor]
    ) -> tuple[Attempt, ...]:
        """The attempts at rows, with who decides about each; as they are while the model decides everything."""
        known = self._known
        if not known:
            return attempts
        return tuple(self._ruled(known, tried, rows, predictors[tried.version]) for tried in attempts)

    def _ruled(self, known: Mapping[str, Automation], tried: Attempt, rows: Rows, predictor: Predictor) -> Attempt:
        columns, label = self._columns(known, tried, rows), predictor.spec.label
        found = deciding(known, columns, self._spec.slices, tried.predictions, label)
        proposed = np.flatnonzero(found.proposed & ~np.isnan(tried.predictions))
        effects = dict(zip(proposed.tolist(), self._effects(tried, rows, predictor, proposed), strict=True))
        return replace(tried, rulings=_rulings(found, effects))

    def _columns(self, known: Mapping[str, Automation], tried: Attempt, rows: Rows) -> Columns:
        """What the slices need: features as the version saw them, which cannot raise again, or columns of the rows."""
        wanted = {spec.column for spec in slicings(known, self._spec.slices)}
        features = wanted & set(self._spec.features.names)
        return {
            name: np.array([row.get(name) for row in tried.features], dtype=object)
            if name in features
            else rows.columns[name][tried.positions]
            for name in wanted
        }

    def _effects(self, tried: Attempt, rows: Rows, predictor: Predictor, places: Positions) -> Sequence[Effects]:
        """Of some rows of the attempt; a person decides without, if they cannot be had."""
        if not len(places):
            return ()
        try:
            features = predictor.features(rows.take(tried.positions[places]))
            typical = self._typical_values(tried.version, predictor)
            return feature_effects(predictor.predict_features, features, tried.predictions[places], typical)
        except Exception as exc:  # noqa: BLE001  # feature code and estimator may raise anything
            logger.warning("version %s cannot be explained: %s: %s", tried.version, type(exc).__name__, exc)
            return [()] * len(places)

    def _typical_values(self, version: str, predictor: Predictor) -> Mapping[str, FeatureValue]:
        if version not in self._typical:
            self._typical[version] = typical_values(predictor.reference)
        return self._typical[version]


def _rulings(found: Deciding, effects: Mapping[int, Effects]) -> list[Ruling]:
    people: Sequence[Decider] = ["person" if by_person else "model" for by_person in found.by_person.tolist()]
    return [
        Ruling(level=level, decided_by=who, effects=effects.get(place, ()))
        for place, (level, who) in enumerate(zip(found.levels.tolist(), people, strict=True))
    ]
