"""A model whose level is off, and little else: a number or two put its predictions right, without a training.

A number is multiplied and added to, a probability has its odds multiplied. If only the share of 1 has changed, and the
rows of each label look as before, that factor is all that a new model would learn (Saerens, Latinne & Decaestecker,
"Adjusting the outputs of a classifier to new a priori probabilities", Neural Computation 14 (2002)). These are the
first and most careful steps of updating a model, its intercept and its slope (Steyerberg et al., "Validation and
updating of predictive logistic regression models", Statistics in Medicine 23 (2004)).

All are additions, multiplications and divisions alone, so that a row is predicted the same to the last bit by itself
and among a million others, on any machine.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from pydantic import TypeAdapter

from trimtab.domain.metrics import DayErrors, FloatArray
from trimtab.domain.ports import Package
from trimtab.domain.profiles import PREDICTION, ColumnBins, ColumnProfile, Profile, Reference
from trimtab.domain.spec import Task

CALIBRATION_FILE = "calibration.json"
"""Of a package; a model that is as it was trained has none."""
WINDOW_DAYS = 28
"""Days that a correction is fitted on: levels come and go with the weather of a week or two, and as far back looks
the longest horizon of a verdict."""
TRAINING = "recalibration-"
"""Begins the name of what is judged and registered as a training is, and cost none."""
STEEPEST = 30.0
"""Log odds beyond which no share of 1 is told from 0 or 1."""
HALVINGS = 60
"""Of an interval of log odds: to the last digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What is done to the predictions of a model; nothing changes their order."""

    task: Task
    factor: float = 1.0
    """> 0: of a number, or of the odds of a probability."""
    shift: float = 0.0
    """Added to a number, in its unit; 0 of a probability."""

    def apply(self, y_pred: FloatArray) -> FloatArray:
        """Corrected predictions (n,)."""
        if self.task == "regression":
            return self.factor * y_pred + self.shift
        ones = self.factor * y_pred
        corrected: FloatArray = ones / (1 - y_pred + ones)
        return corrected

    def after(self, earlier: "Correction | None") -> "Correction":
        """This correction of predictions that had an earlier one, as one correction of the model's own."""
        if earlier is None:
            return self
        shift = self.factor * earlier.shift + self.shift
        return replace(self, factor=self.factor * earlier.factor, shift=shift)

    @property
    def in_words(self) -> str:
        """For people."""
        if self.task == "binary":
            return f"odds times {self.factor:.4g}"
        times = "" if self.factor == 1 else f"times {self.factor:.4g} "
        return f"{times}{self.shift:+.4g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a package holds of its correction."""

    correction: Correction
    """Of the model as it was trained."""
    errors: dict[str, DayErrors]
    """ISO day: errors, corrected, of the rows that it was fitted on; one number has not learnt them by heart."""


_calibration_json = TypeAdapter(Calibration)


def calibration_of(package: Package) -> Calibration | None:
    """The correction in a package; None, if its model is as it was trained."""
    content = package.get(CALIBRATION_FILE)
    return None if content is None else _calibration_json.validate_json(content)


def calibrated(package: Package, calibration: Calibration) -> Package:
    """The package with this correction in place of the one that it may have."""
    return {**package, CALIBRATION_FILE: _calibration_json.dump_json(calibration)}


def fit(task: Task, y_true: FloatArray, y_pred: FloatArray, *, slope: bool = False) -> Correction | None:
    """The correction with the lowest loss on labelled rows (n,); None where there is none.

    The log loss is lowest where the mean probability is the share of 1, which the factor of the odds reaches by
    halving: it is monotone. The mean absolute error is lowest where the median error is 0; with a `slope`, that of the
    regression of labels on predictions by least squares comes first.
    """
    if not len(y_true):
        return None
    if task == "binary":
        return _factor_of_odds(y_true, y_pred)
    factor = _slope(y_true, y_pred) if slope else 1.0
    if factor <= 0:
        return None
    return Correction(task=task, factor=factor, shift=float(np.median(y_true - factor * y_pred)))


def _slope(y_true: FloatArray, y_pred: FloatArray) -> float:
    """0 where the predictions do not differ."""
    centred = y_pred - y_pred.mean()
    squares = float(centred @ centred)
    return float(centred @ y_true) / squares if squares else 0.0


def _factor_of_odds(y_true: FloatArray, y_pred: FloatArray) -> Correction | None:
    share = float(y_true.mean())
    if share in (0.0, 1.0):
        return None  # no factor is large enough
    low, high = -STEEPEST, STEEPEST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        found = Correction(task="binary", factor=math.exp(middle))
        low, high = (middle, high) if found.apply(y_pred).mean() < share else (low, middle)
    return found


def corrected_reference(reference: Reference, calibration: Calibration) -> Reference:
    """What the model is compared with after the correction.

    The inputs stay those of the training. Each prediction is corrected, and its bin with it: as many are in each. The
    errors are those of the days that the correction was fitted on.
    """
    correction, middles = calibration.correction, _middles(reference.bins[PREDICTION])
    days = {day: _corrected_profile(one, correction, middles) for day, one in reference.days.items()}
    bins = corrected_bins(reference.bins, correction)
    return replace(reference, bins=bins, days=days, errors=calibration.errors)


def corrected_bins(bins: dict[str, ColumnBins], correction: Correction) -> dict[str, ColumnBins]:
    """How corrected predictions are counted beside the features: each in the bin of what it was before."""
    before = bins[PREDICTION]
    edges = correction.apply(np.array(before.edges))
    centre = float(correction.apply(np.array([before.centre]))[0])
    return {**bins, PREDICTION: replace(before, edges=tuple(edges.tolist()), centre=centre)}


def _middles(bins: ColumnBins) -> FloatArray:
    """A prediction that stands for each bin (k + 1,)."""
    edges = np.array(bins.edges)
    return np.array([edges[0], *(edges[:-1] + np.diff(edges) / 2), edges[-1]])


def _corrected_profile(profile: Profile, correction: Correction, middles: FloatArray) -> Profile:
    column = _corrected_column(profile.columns[PREDICTION], correction, middles)
    return replace(profile, columns={**profile.columns, PREDICTION: column})


def _corrected_column(column: ColumnProfile, correction: Correction, middles: FloatArray) -> ColumnProfile:
    """Counts stay; differences from the centre grow by a number's factor, and are those of a probability's bins."""
    moments = column.moments
    if moments is None or not moments.rows:
        return column
    ends = np.array([np.nan if end is None else end for end in (moments.smallest, moments.largest)])
    smallest, largest = correction.apply(ends).tolist()
    centre = float(correction.apply(np.array([moments.centre]))[0])
    if correction.task == "regression":
        factor = correction.factor
        total, squares = factor * moments.total, factor**2 * moments.squares
    else:
        counts, steps = np.array(column.counts), correction.apply(middles) - centre
        total, squares = float(counts @ steps), float(counts @ np.square(steps))
    moved = replace(moments, centre=centre, total=total, squares=squares, smallest=smallest, largest=largest)
    return replace(column, moments=moved)


def entropy(p: FloatArray) -> FloatArray:
    """Expected log loss (n,) of a probability (n,) that is honest, in nats."""
    inside = np.clip(p, np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).eps)
    found: FloatArray = -(inside * np.log(inside) + (1 - inside) * np.log1p(-inside))
    return found
