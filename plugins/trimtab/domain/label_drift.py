"""Labels that have come of late beside those of the training: noted with a verdict, which errors decide (ADR 3)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from trimtab.domain.drift import ColumnDrift, column_drift
from trimtab.domain.profiles import LABEL, Profile, Reference, total


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelDrift:
    """Labels of some days against those that the version was trained on."""

    days: int
    rows: int
    mean: float
    expected: float
    """Mean of the training's labels."""
    drift: ColumnDrift

    @property
    def summary(self) -> str:
        """One line."""
        of_days = f"{self.days} day{'' if self.days == 1 else 's'}, {self.rows:,} rows"
        apart = f"they lie {self.drift.wasserstein:.2f} standard deviations from those of the training (Wasserstein)"
        known = f"; {apart}" if math.isfinite(self.drift.wasserstein) else ""  # not where the training had one value
        return f"Labels ({of_days}): mean {self.mean:.4g}, in training {self.expected:.4g}{known}."


def label_drift(reference: Reference, profiles: Mapping[str, Profile]) -> LabelDrift | None:
    """Compare labels with those of the training; None without any, or if the package does not know them.

    Args:
        reference: Of the version.
        profiles: ISO day: its labels on `reference.label_bins`, as column `LABEL`.
    """
    if not profiles or reference.labels is None or reference.label_bins is None:
        return None
    current = total(list(profiles.values())).columns[LABEL]
    return LabelDrift(
        days=len(profiles),
        rows=current.rows,
        mean=current.mean,
        expected=reference.labels.mean,
        drift=column_drift(reference.labels, current, reference.label_bins),
    )
