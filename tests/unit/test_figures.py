"""Figures: files that a browser shows, whatever the numbers are."""

import io
from collections.abc import Callable
from datetime import date

import numpy as np
import pytest
from matplotlib.image import imread

from trimtab.adapters.figures import (
    calibration,
    daily_errors,
    predicted_against_actual,
    probabilities,
    residuals,
    slice_errors,
)
from trimtab.domain.metrics import errors_by

LABEL, LOSS = "air_time", "MAE of air_time"
y_true = np.random.default_rng(0).gamma(4, 40, 500)
y_pred = y_true + np.random.default_rng(1).normal(0, 9, 500)
carrier = np.array(["AA", "B6"] * 250, dtype=object)
many = np.array([f"N{number:03d}" for number in range(50)] * 10, dtype=object)
none = np.array([])
chance = np.random.default_rng(2).random(500)
happened = (np.random.default_rng(3).random(500) < chance).astype(np.float64)
days = {date(2013, 5, day): 7.0 + day for day in range(1, 8)}

FIGURES: dict[str, Callable[[], bytes]] = {
    "density": lambda: predicted_against_actual(y_true, y_pred, label=LABEL),
    "residuals": lambda: residuals(y_true, y_pred, label=LABEL),
    "exact residuals": lambda: residuals(y_true, y_true, label=LABEL),
    "days": lambda: daily_errors({"challenger": days, "champion": days}, loss=LOSS),
    "slices": lambda: slice_errors(
        "carrier", {"challenger": errors_by("regression", carrier, y_true, y_pred)}, loss=LOSS
    ),
    "many slices": lambda: slice_errors(
        "plane", {"baseline": errors_by("regression", many, y_true, y_pred)}, loss=LOSS
    ),
    "one slice is new": lambda: slice_errors(
        "carrier",
        {
            "challenger": errors_by("regression", carrier, y_true, y_pred),
            "champion": errors_by("regression", carrier[::2], y_true[::2], y_pred[::2]),
        },
        loss=LOSS,
    ),
    "calibration": lambda: calibration(happened, chance, label=LABEL),
    "calibration of five rows": lambda: calibration(happened[:5], chance[:5], label=LABEL),
    "calibration of one class": lambda: calibration(np.zeros(500), chance, label=LABEL),
    "calibration of no rows": lambda: calibration(none, none, label=LABEL),
    "probabilities": lambda: probabilities(happened, chance, label=LABEL),
    "probabilities of one class": lambda: probabilities(np.ones(9), chance[:9], label=LABEL),
    "probabilities of no rows": lambda: probabilities(none, none, label=LABEL),
    "no rows": lambda: predicted_against_actual(none, none, label=LABEL),
    "no residuals": lambda: residuals(none, none, label=LABEL),
    "no days": lambda: daily_errors({}, loss=LOSS),
    "no slices": lambda: slice_errors("carrier", {}, loss=LOSS),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_a_png_with_something_on_it_and_the_same_every_time(name: str) -> None:
    """Equal numbers make equal files, so that logging them again changes nothing."""
    file = FIGURES[name]()
    pixels = imread(io.BytesIO(file), format="png")
    assert min(pixels.shape[:2]) > 150
    assert pixels.std() > 0.01
    assert FIGURES[name]() == file
