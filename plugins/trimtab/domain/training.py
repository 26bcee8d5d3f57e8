"""What a training learns from, and what it is compared with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from trimtab.domain.columns import Columns
from trimtab.domain.metrics import DayErrors, FloatArray, day_errors
from trimtab.domain.spec import CandidateSpec, Task, TrainSpec

BLOCKS = 5
"""Contiguous blocks of days for out-of-sample predictions of the training rows."""
PRIOR_ROWS = 2
"""Rows with the overall share that the share of 1 in a group is mixed with: a group of few rows is never certain.

Source: the m-estimate with m = 2, Cestnik, "Estimating Probabilities", ECAI 1990; Laplace's rule for a share of 1/2.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The rows of a training, named so that they can be read again: days, and versions of the tables."""

    as_of: date
    """The day whose batch was the last to arrive; labels of later arrival are not known."""
    last_labelled: date
    """Most recent day with labels; end of the hold-out."""
    holdout_days: int
    batches_version: int
    labels_version: int
    window_days: int | None = None
    """Overrides the windows of the candidates, for a first training on all there is."""
    left_out: tuple[date, ...] = ()
    """Days whose data are broken: nothing is learnt from them, and nothing is tried on them."""

    @property
    def holdout_first(self) -> date:
        """First day of the hold-out."""
        return self.last_labelled - timedelta(days=self.holdout_days - 1)

    def trial_window(self, candidate: CandidateSpec) -> tuple[date, date]:
        """First and last day that the trial learns from: the days before the hold-out."""
        last = self.holdout_first - timedelta(days=1)
        return last - timedelta(days=self._days(candidate) - 1), last

    def final_window(self, candidate: CandidateSpec) -> tuple[date, date]:
        """First and last day that the final model learns from: as many days, up to the last labelled one."""
        return self.last_labelled - timedelta(days=self._days(candidate) - 1), self.last_labelled

    def training_id(self, fingerprint: str, candidate: CandidateSpec) -> str:
        """Names a training by its inputs alone: the same inputs, the same id."""
        taken = {name: value for name, value in asdict(self).items() if name != "left_out" or value}
        content = {**taken, "fingerprint": fingerprint, "candidate": candidate.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def _days(self, candidate: CandidateSpec) -> int:
        return self.window_days or candidate.window_days


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Labelled rows (n), in the order of their days."""

    day: NDArray[np.object_]
    """ISO day of each row."""
    key: NDArray[np.object_]
    rows: Columns
    y_true: FloatArray

    def take(self, mask: NDArray[np.bool_]) -> "Labelled":
        """The rows where the mask (n,) is true."""
        return Labelled(
            day=self.day[mask],
            key=self.key[mask],
            rows={name: values[mask] for name, values in self.rows.items()},
            y_true=self.y_true[mask],
        )

    def between(self, first: date, last: date) -> "Labelled":
        """The rows of the days first to last."""
        return self.take((self.day >= first.isoformat()) & (self.day <= last.isoformat()))


def blocks_of_days(day: NDArray[np.object_], count: int = BLOCKS) -> Sequence[NDArray[np.bool_]]:
    """Masks (n,) of contiguous blocks of days, each day in one block; fewer blocks if there are fewer days."""
    days = np.unique(day.astype(str))
    parts = np.array_split(days, min(count, len(days)))
    return [np.isin(day.astype(str), part) for part in parts]


def errors_of_days(
    task: Task,
    day: NDArray[np.object_],
    y_true: FloatArray,
    y_pred: FloatArray,
    slices: Mapping[str, NDArray[np.object_]] = MappingProxyType({}),
) -> Mapping[str, DayErrors]:
    """Errors of each day's rows and of their slices; `slices` has by name the slice (n,) of each row."""
    masks = {str(one): day == one for one in np.unique(day.astype(str))}
    return {
        one: day_errors(task, y_true[mask], y_pred[mask], {name: groups[mask] for name, groups in slices.items()})
        for one, mask in masks.items()
    }


def trivial_baseline(task: Task, train: Labelled, rows: Columns, by: Sequence[str]) -> FloatArray:
    """Mean training label of rows that agree with each row (n,) in the columns `by`; the overall mean if none does.

    Of a binary label it is a share, mixed with PRIOR_ROWS rows of the overall one.
    """
    overall = float(train.y_true.mean())
    prior = PRIOR_ROWS if task == "binary" else 0
    if not by:
        return np.full(len(next(iter(rows.values()))), overall)
    sums: dict[tuple[object, ...], list[float]] = {}
    for group, label in zip(_groups(train.rows, by), train.y_true.tolist(), strict=True):
        entry = sums.setdefault(group, [0.0, 0.0])
        entry[0] += label
        entry[1] += 1
    means = {group: (total + prior * overall) / (count + prior) for group, (total, count) in sums.items()}
    return np.array([means.get(group, overall) for group in _groups(rows, by)], dtype=np.float64)


def _groups(rows: Columns, by: Sequence[str]) -> list[tuple[object, ...]]:
    return list(zip(*(rows[name].tolist() for name in by), strict=True))


def is_enough(rows: int, spec: TrainSpec) -> bool:
    """Whether so many labelled rows are worth a training."""
    return rows >= spec.min_rows
