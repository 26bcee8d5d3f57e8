"""Figures of a training and its evaluation as PNG files. Drawn off screen; no state of pyplot is touched."""

import io
from collections.abc import Mapping
from datetime import date

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from trimtab.domain.metrics import Errors, FloatArray

COLOURS = {"challenger": "#0b6e99", "champion": "#d1731c", "trivial baseline": "#8a8a8a"}
"""Told apart with any colour vision, and in print by their lightness."""
DOTS_PER_INCH = 110
MAX_BARS = 25
CALIBRATION_GROUPS = 10
MARGIN = 1.06


def predicted_against_actual(y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
    """Density of predictions (n,) over labels (n,); on the diagonal a prediction is right.

    Args:
        y_true: Labels.
        y_pred: Predictions of the same rows.
        label: What is predicted, as on an axis: 'air_time'.
    """
    figure, axes = _canvas(5.6, 5.0, f"Predicted against actual, {len(y_true):,} rows")
    axes.set(xlabel=f"actual {label}", ylabel=f"predicted {label}")
    if len(y_true):
        low, high = float(min(y_true.min(), y_pred.min())), float(max(y_true.max(), y_pred.max()))
        cells = axes.hexbin(y_true, y_pred, gridsize=45, bins="log", mincnt=1, cmap="viridis")
        axes.plot([low, high], [low, high], color="#c0392b", linewidth=1.2, label="prediction = actual")
        figure.colorbar(cells, ax=axes, label="rows (log scale)")
        axes.legend(loc="upper left", frameon=False)
    return _png(figure)


def daily_errors(means: Mapping[str, Mapping[date, float]], *, loss: str) -> bytes:
    """Mean loss of each day of the hold-out.

    Args:
        means: 'challenger', 'champion' or 'trivial baseline': mean loss of each day.
        loss: What the loss is, as on an axis: 'MAE of air_time'.
    """
    figure, axes = _canvas(7.2, 3.6, "Daily error on the hold-out (lower is better)")
    for name, by_day in means.items():
        days = sorted(by_day)
        numbers = np.array(days, dtype="datetime64[D]")
        values = [by_day[day] for day in days]
        mean = f"{name}, mean {np.mean(values):.3g}" if values else name
        axes.plot(numbers, values, marker="o", markersize=4, color=COLOURS.get(name), label=mean)
    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    formatter = ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
    axes.xaxis.set(major_locator=locator, major_formatter=formatter)
    axes.set(xlabel="day", ylabel=loss)
    axes.set_ylim(bottom=0)
    if means:
        axes.legend(frameon=False, ncols=len(means), loc="lower center")
    return _png(figure)


def slice_errors(slicing: str, errors: Mapping[str, Mapping[str, Errors]], *, loss: str) -> bytes:
    """Mean loss of each slice, as bars side by side; at most the 25 slices with most rows.

    Args:
        slicing: Name of the slicing, such as 'carrier'.
        errors: 'challenger', 'champion' or 'trivial baseline': errors of each slice.
        loss: What the loss is, as on an axis.
    """
    rows = {name: one.rows for by_slice in errors.values() for name, one in by_slice.items()}
    shown = sorted(sorted(rows, key=lambda name: -rows[name])[:MAX_BARS])
    left_out = f", the {MAX_BARS} largest of {len(rows)}" if len(rows) > MAX_BARS else ""
    figure, axes = _canvas(7.2, 1.5 + 0.3 * max(len(shown), 2), f"Error by {slicing}{left_out} (lower is better)")
    height = 0.8 / max(len(errors), 1)
    for position, (name, by_slice) in enumerate(errors.items()):
        values = [by_slice[one].loss if one in by_slice else np.nan for one in shown]
        axes.barh(np.arange(len(shown)) + position * height, values, height, color=COLOURS.get(name), label=name)
    axes.set_yticks(np.arange(len(shown)) + 0.4 - height / 2, [f"{name}  ({rows[name]:,} rows)" for name in shown])
    axes.invert_yaxis()
    axes.set(xlabel=loss)
    if errors:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return _png(figure)


def residuals(y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
    """Distribution of prediction minus label (n,), with its middle and its tails."""
    difference = y_pred - y_true
    figure, axes = _canvas(6.4, 3.6, f"Residuals, {len(difference):,} rows")
    axes.set(xlabel=f"predicted - actual {label}", ylabel="rows")
    if len(difference):
        low, middle, high = np.quantile(difference, [0.05, 0.5, 0.95])
        reach = max(float(np.quantile(np.abs(difference), 0.995)), 1e-9) * MARGIN
        beyond = int((np.abs(difference) > reach).sum())
        axes.hist(difference, bins=np.linspace(-reach, reach, 61).tolist(), color=COLOURS["challenger"])
        axes.axvline(0, color="black", linewidth=0.8)
        for value, name in ((low, "5 %"), (middle, "median"), (high, "95 %")):
            axes.axvline(value, color="#c0392b", linewidth=1, linestyle="--", label=f"{name}: {value:.3g}")
        axes.plot([], [], " ", label=f"{beyond:,} rows beyond")
        axes.legend(frameon=False)
    return _png(figure)


def calibration(y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
    """Share of 1 over the predicted probability (n,), in at most ten groups of as many rows each.

    A bar is 95 % of the binomial noise of its share: where it meets the diagonal, the probability is honest.
    """
    figure, axes = _canvas(5.6, 5.0, f"Calibration, {len(y_true):,} rows")
    axes.set(xlabel=f"predicted probability of {label}", ylabel=f"share of {label}")
    groups = [part for part in np.array_split(np.argsort(y_pred, kind="stable"), CALIBRATION_GROUPS) if len(part)]
    if groups:
        predicted = np.array([y_pred[part].mean() for part in groups])
        share = np.array([y_true[part].mean() for part in groups])
        noise = 1.96 * np.sqrt(share * (1 - share) / np.array([len(part) for part in groups]))
        axes.errorbar(predicted, share, noise, fmt="o-", markersize=4, capsize=2, color=COLOURS["challenger"])
        reach = MARGIN * float(max(predicted.max(), (share + noise).max()))
        axes.plot([0, reach], [0, reach], color="#c0392b", linewidth=1.2, label="share = probability")
        axes.legend(loc="upper left", frameon=False)
    return _png(figure)


def probabilities(y_true: FloatArray, y_pred: FloatArray, *, label: str) -> bytes:
    """Distribution of the predicted probability (n,) where the label is 1 and where it is 0, as shares of each."""
    figure, axes = _canvas(6.4, 3.6, f"Predicted probability of {label}, {len(y_true):,} rows")
    axes.set(xlabel="predicted probability", ylabel="share of rows")
    classes = {"0": (y_true == 0, COLOURS["trivial baseline"]), "1": (y_true == 1, COLOURS["champion"])}
    for name, (mask, colour) in classes.items():
        if count := int(mask.sum()):
            weights = np.full(count, 1 / count)
            bins = np.linspace(0, 1, 41).tolist()
            axes.hist(y_pred[mask], bins, weights=weights, alpha=0.6, color=colour, label=f"{name}: {count:,} rows")
    if len(y_true):
        axes.legend(frameon=False)
    return _png(figure)


def _canvas(width: float, height: float, title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(visible=True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    """The file; without matplotlib's version in it, so that equal figures are equal files."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
