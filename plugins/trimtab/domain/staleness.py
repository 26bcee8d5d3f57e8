"""Is it the model or the world? How much of its error a model could have known a week later.

Errors grow for two reasons. The world may be harder: storms make every forecast worse, and a new model fares no better.
Or the model may be stale: then it errs in one direction, and its errors of last week tell those of today. So each
day's predictions are also shifted by the mean error of the days before, which is the cheapest retraining there is. What
the shift would have saved, of days that it had not seen, is what a retraining can count on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.domain.metrics import DayErrors, Errors, FloatArray
from trimtab.domain.spec import MonitorSpec, Task

DAYS = 7
"""Days that a shift is learnt from, and days that it is judged on: a week, since errors follow the weekday."""
LOOK_BACK_DAYS = 4 * DAYS
"""Days among which the last DAYS with labels are found; holidays of the source may leave gaps."""
DAYS_PER_YEAR = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Staleness:
    """What a shift by the mean error of the days before would have saved of the loss."""

    days: int
    """Labelled days that it was judged on."""
    share: float | None
    """Share of the loss that it saves, negative if it costs; None: too few days."""
    p_value: float | None
    """Probability of such savings if there is nothing to save."""
    stale: bool
    """Whether the savings matter and are beyond chance."""

    @property
    def summary(self) -> str:
        """One sentence."""
        if self.share is None:
            return f"{self.days} of {DAYS} days seen on which the errors of the week before could have helped"
        return f"a shift by the errors of the week before saves {self.share:.0%} of the loss (p = {self.p_value:.2g})"


UNKNOWN = Staleness(days=0, share=None, p_value=None, stale=False)


def shift(history: Sequence[Errors], days: int = DAYS) -> float | None:
    """Mean of prediction minus label over the last days before, weighted by rows; None if there are none.

    After a release they are fewer. A shift of few days is a worse forecast, which makes the model look less stale.
    """
    last = list(history)[-days:]
    rows = sum(day.rows for day in last)
    return sum(day.bias * day.rows for day in last) / rows if rows else None


def shifted(task: Task, y_pred: FloatArray, by: float) -> FloatArray:
    """Predictions (n,) with their mean lowered by `by`; probabilities keep their order and stay within (0, 1).

    Those are shifted in their log odds, by one Newton step towards the mean.
    """
    if task == "regression":
        return y_pred - by
    p = np.clip(y_pred, 1e-6, 1 - 1e-6)
    log_odds = np.log(p / (1 - p)) - by / float(np.mean(p * (1 - p)))
    probabilities: FloatArray = 1 / (1 + np.exp(-log_odds))
    return probabilities


def staleness(errors: Mapping[str, DayErrors], spec: MonitorSpec) -> Staleness:
    """Judge the last DAYS days (by ISO day) that have both losses.

    The daily savings are tested with a one-sided t test, days being the independent units; the level is the budget of
    false alarms spread over the days of a year.
    """
    from scipy.special import stdtr  # 0.2 s that reading errors need not pay

    both = [day for _, day in sorted(errors.items()) if day.shifted_loss is not None][-DAYS:]
    if len(both) < DAYS:
        return Staleness(days=len(both), share=None, p_value=None, stale=False)
    loss = np.array([day.loss for day in both])
    saved = loss - np.array([day.shifted_loss for day in both], dtype=np.float64)
    share = float(saved.sum() / loss.sum()) if loss.sum() else 0.0
    spread = float(saved.std(ddof=1) / np.sqrt(DAYS))
    p_value = float(stdtr(DAYS - 1, -saved.mean() / spread)) if spread else float(saved.mean() <= 0)
    matters = share >= spec.smallest_saving
    return Staleness(
        days=DAYS,
        share=share,
        p_value=p_value,
        stale=matters and p_value <= spec.false_decays_per_year / DAYS_PER_YEAR,
    )
