"""Rows whose predictions are known, so that going back to a version can be checked: the same rows, the same numbers.

A package has the model, its feature code, its decision threshold, its schema and its drift reference, so a version that
predicts these rows as it did when it went live is the version that it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from trimtab.domain.journal import Entry, JsonValue, Ledger
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import Lake, Registry
from trimtab.domain.release import releases
from trimtab.domain.spec import RowsSpec
from trimtab.stages.frames import columns_of

GOLDEN_ROWS = 20
GOLDEN = "golden"
"""Field of a `live` entry."""
TOLERANCE = 1e-9
"""Relative difference that another machine's arithmetic may make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenResult:
    """What a version makes of its golden rows now."""

    version: str
    rows: int
    """Rows that were compared; 0: none is known, or left in the lake."""
    agree: int

    @property
    def sentence(self) -> str:
        """For people."""
        if not self.rows:
            return f"version {self.version} has no golden row to compare"
        return f"version {self.version} predicts {self.agree} of {self.rows} golden rows as it did when it went live"


def golden_rows(version: str, digest: str | None, *, lake: Lake, registry: Registry, rows: RowsSpec) -> JsonValue:
    """Rows of the last accepted day with what the version predicts for them; None if no day was accepted yet."""
    days = lake.days("batches")
    if not days:
        return None
    batch = lake.read("batches", days[-1], days[-1]).head(GOLDEN_ROWS)
    predicted = registry.load(version=version, expected_digest=digest).predict(columns_of(batch, rows))
    return {"day": days[-1].isoformat(), "keys": batch["_key"].tolist(), "predictions": predicted.tolist()}


def compare_golden(version: str, *, ledger: Ledger, lake: Lake, registry: Registry, rows: RowsSpec) -> GoldenResult:
    """Predict the golden rows of a version again.

    Raises:
        ModelIntegrityError: If its package is not the one that was released.
    """
    entries = ledger.entries("release", version)
    golden = _newest(entries)
    if not golden:
        return GoldenResult(version=version, rows=0, agree=0)
    day = date.fromisoformat(str(golden["day"]))
    batch = lake.read("batches", day, day)
    known = dict(zip(_texts(golden["keys"]), _numbers(golden["predictions"]), strict=True))
    batch = batch[batch["_key"].isin(known)] if len(batch) else batch
    digest = releases(entries)[version].digest
    model = registry.load(version=version, expected_digest=digest)
    if not len(batch):
        return GoldenResult(version=version, rows=0, agree=0)
    expected = np.array([known[key] for key in batch["_key"]])
    same = np.isclose(model.predict(columns_of(batch, rows)), expected, rtol=TOLERANCE, atol=0, equal_nan=True)
    return GoldenResult(version=version, rows=len(batch), agree=int(same.sum()))


def _newest(entries: Sequence[Entry]) -> dict[str, JsonValue]:
    found = [entry.payload.get(GOLDEN) for entry in entries if entry.kind == "live"]
    golden = found[-1] if found else None
    return golden if isinstance(golden, dict) else {}


def _texts(values: JsonValue) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []


def _numbers(values: JsonValue) -> FloatArray:
    return np.array(values if isinstance(values, list) else [], dtype=np.float64)
