"""Compare features as they were served with those of the batch rows that arrived later, and with those of training.

Source: Breck and others, "Data Validation for Machine Learning", MLSys 2019, section 3.2: feature skew is found by
joining served and training values by key, distribution skew by comparing their distributions.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from trimtab.domain.columns import Column, Columns
from trimtab.domain.counting import profile
from trimtab.domain.feature_code import FeatureValue, feature_rows
from trimtab.domain.ports import DescribedModel, Lake, Registry
from trimtab.domain.profiles import PREDICTION, ColumnBins
from trimtab.domain.reference_days import ReferenceDaysRule
from trimtab.domain.season import of_season
from trimtab.domain.verdict import Current, Finding
from trimtab.stages.collect import ONLINE
from trimtab.stages.frames import columns_of

WORST = 3
"""Examples of a feature that are given."""
NONE = "{}"
"""Features of a row that could not be computed."""
ABSENT = object()
"""Differs from every value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewExample:
    """One value that was served otherwise than the batch has it."""

    request_id: str
    key: str
    served: FeatureValue
    batch: FeatureValue

    @property
    def distance(self) -> float:
        """Between two numbers; infinite where one of them is none."""
        if isinstance(self.served, float) and isinstance(self.batch, float):
            return abs(self.served - self.batch)
        return math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSkew:
    """One feature of one version."""

    version: str
    feature: str
    rows: int
    """Served rows that have a batch row."""
    differing: int
    examples: Sequence[SkewExample]
    """Those that are furthest apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedDistribution:
    """What one version was asked about, beside the days that it was trained on."""

    version: str
    days: int
    comparisons: int
    """Means, distributions, missing and new values that could be compared; 0: the reference has too few days."""
    beyond: Sequence[Finding]
    """Those that no ordinary day would show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkewReport:
    """What was compared, and what differs."""

    served: int
    """Rows that were served with features."""
    compared: int
    """Those of them whose key a batch of their day has."""
    differing: int
    """Those of them with at least one feature that differs."""
    columns: Sequence[ColumnSkew]
    """By version and feature, those with the most differences first."""
    distributions: Sequence[ServedDistribution] = ()
    """By version, of all rows that were served with features, those of no batch too."""


def audit_skew(first: date, last: date, *, lake: Lake, registry: Registry) -> SkewReport:
    """Compare what was served for rows of the days first to last; a value differs unless it is the very same.

    The batch's features are computed by the package of the version that was asked. How the served values are
    distributed is compared with the days of that version's reference, as a batch is by `judge`.
    """
    served = lake.read("served", first, last, part=ONLINE)
    served = served[served["features"] != NONE] if len(served) else served
    joined = _joined(served, lake.read("batches", first, last))
    found: list[ColumnSkew] = []
    differing = 0
    for version, rows in joined.groupby("_version"):
        columns, rows_differing = _compare(str(version), rows, registry.describe(str(version)))
        found += columns
        differing += rows_differing
    found.sort(key=lambda column: -column.differing)
    return SkewReport(
        served=len(served),
        compared=len(joined),
        differing=differing,
        columns=found,
        distributions=[
            _distribution(str(version), rows, registry.describe(str(version)))
            for version, rows in (served.groupby("version") if len(served) else ())
        ],
    )


def _distribution(version: str, served: pd.DataFrame, model: DescribedModel) -> ServedDistribution:
    """The judgement of a day's batch, on rows as they were served."""
    bins = {name: how for name, how in model.reference.bins.items() if name != PREDICTION}
    profiles = {
        str(day): profile(_columns([json.loads(text) for text in texts], bins), bins)
        for day, texts in served.groupby("_day")["features"]
    }
    current = Current(profiles=profiles, errors={})
    reference = of_season(replace(model.reference, bins=bins, errors={}), date.fromisoformat(max(profiles)))
    verdict = ReferenceDaysRule().judge(reference, current, model.spec.monitor)
    compared = [one for one in verdict.findings if one.value is not None]
    return ServedDistribution(version=version, days=len(profiles), comparisons=len(compared), beyond=verdict.flagged)


def _columns(served: Sequence[Mapping[str, FeatureValue]], bins: Mapping[str, ColumnBins]) -> Columns:
    """Features that were served (n), as columns (n each); one that was not served is missing."""
    found: dict[str, Column] = {}
    for name, how in bins.items():
        values = [row.get(name) for row in served]
        found[name] = np.array(values, np.float64) if how.edges else np.array(values, np.object_)
    return found


def _joined(served: pd.DataFrame, batch: pd.DataFrame) -> pd.DataFrame:
    """Batch rows beside what was served about them: `_request_id`, `_version` and `_features`."""
    if not (len(served) and len(batch)):
        return pd.DataFrame(columns=["_version"])
    names = {name: f"_{name}" for name in ("request_id", "version", "features")}
    return served[["_day", "_key", *names]].rename(columns=names).merge(batch, on=["_day", "_key"])


def _compare(version: str, rows: pd.DataFrame, model: DescribedModel) -> tuple[list[ColumnSkew], int]:
    """Each feature of a version, and the rows with at least one that differs."""
    served = [json.loads(text) for text in rows["_features"]]
    features = model.features(columns_of(rows, model.spec.rows))
    expected = feature_rows(features)
    apart = {
        name: [place for place, row in enumerate(expected) if served[place].get(name, ABSENT) != row[name]]
        for name in features
    }
    asked = list(zip(rows["_request_id"], rows["_key"], strict=True))
    columns = []
    for name, places in apart.items():
        examples = [
            SkewExample(
                request_id=asked[at][0], key=asked[at][1], served=served[at].get(name), batch=expected[at][name]
            )
            for at in places
        ]
        worst = tuple(sorted(examples, key=lambda one: -one.distance)[:WORST])
        columns.append(ColumnSkew(version=version, feature=name, rows=len(rows), differing=len(places), examples=worst))
    return columns, len({place for places in apart.values() for place in places})
