"""Where lines, markers and bars of the status page go. Numbers only; the templates draw them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from trimtab.domain.verdict import Finding
from trimtab.ui.history import Bounds, Marker, Measured, ModelHistory
from trimtab.ui.status import nearness

WIDTH, HEIGHT = 960, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 96, 34, 26
"""Margins: for the numbers of the axis, the names of the lines, the markers' texts and the days."""
COLOURS = 6
"""Line colours that the style sheet has; versions beyond them begin again."""
MAX_TICKS = 7
LABEL_HEIGHT = 13
MARKER_ROWS = 2
BAR_WIDTH, BAR_LIMIT_AT = 240.0, 160.0
"""A bar in pixels, and where on it the limit is: what lies beyond a limit and a half is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A measured day."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One version."""

    name: str
    colour: int
    """From 0 to COLOURS - 1."""
    points: tuple[Point, ...]
    label_y: float

    @property
    def path(self) -> str:
        """The points as the SVG attribute."""
        return " ".join(f"{point.x},{point.y}" for point in self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """A vertical marker."""

    x: float
    text_y: float
    text: str
    at_right: bool
    """Whether the text must end at the marker, to stay inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A horizontal line from a day to the right end."""

    x: float
    y: float
    name: str
    value: float
    label_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The realised error by day, in the units of the drawing."""

    lines: tuple[Line, ...]
    flags: tuple[Flag, ...]
    levels: tuple[Level, ...]
    days: tuple[Tick, ...]
    values: tuple[Tick, ...]
    loss_name: str
    """What is drawn, such as 'MAE'."""
    summary: str
    """The drawing in one sentence, for those who do not see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A finding beside its limit."""

    width: float
    expected_at: float | None
    beyond: bool
    percent: float
    """Value over limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    first: date
    last: date
    top: float

    def x(self, day: date) -> float:
        span = max((self.last - self.first).days, 1)
        within = min(max((day - self.first).days, 0), span)
        return round(LEFT + (WIDTH - LEFT - RIGHT) * within / span, 1)

    def y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / self.top, 1)


def chart_of(history: ModelHistory) -> Chart | None:
    """Lay out a model's errors; None if nothing has been measured."""
    measured = history.measured
    if not measured:
        return None
    expected = _expectations(history.bounds)
    step = _step(max(*(one.loss for one in measured), *expected.values(), 0.0))
    scale = _scale(measured, expected, step)
    points = _points(measured, scale)
    places = _places(points, expected, scale)
    return Chart(
        lines=_lines(points, places),
        flags=_flags(history.markers, scale),
        levels=_levels(history.bounds, expected, places, scale),
        days=_days(scale),
        values=_values(scale, step),
        loss_name=measured[-1].loss_name,
        summary=_summary(measured),
    )


def bar_of(finding: Finding) -> Bar:
    """Lay out one finding that has a value and a limit."""
    share = nearness(finding)
    expected = finding.expected / finding.limit if finding.expected is not None and finding.limit else None
    return Bar(
        width=_along(share),
        expected_at=None if expected is None else _along(expected),
        beyond=finding.flagged,
        percent=100 * share,
    )


def _along(share: float) -> float:
    return round(min(max(share, 0.0) * BAR_LIMIT_AT, BAR_WIDTH), 1)


def _expectations(bounds: Bounds | None) -> dict[str, float]:
    """Names and heights of the horizontal lines."""
    named = {"expected": bounds.expected, "limit": bounds.limit} if bounds else {}
    return {name: value for name, value in named.items() if value is not None}


def _scale(measured: Sequence[Measured], expected: Mapping[str, float], step: float) -> _Scale:
    days = [one.day for one in measured]
    highest = max(*(one.loss for one in measured), *expected.values(), 0.0)
    return _Scale(first=min(days), last=max(days), top=step * max(math.ceil(highest / step), 1))


def _points(measured: Sequence[Measured], scale: _Scale) -> dict[str, tuple[Point, ...]]:
    """The line of each version, by ascending version."""
    return {
        version: tuple(
            Point(x=scale.x(one.day), y=scale.y(one.loss), text=f"{one.day}: {one.loss:.3g} (version {version})")
            for one in measured
            if one.version == version
        )
        for version in sorted({one.version for one in measured}, key=_by_number)
    }


def _places(
    points: Mapping[str, tuple[Point, ...]], expected: Mapping[str, float], scale: _Scale
) -> Mapping[str, float]:
    """Where the names of lines are written: at the right end, or above the end of a line that ends before."""
    ends = {version: line[-1] for version, line in points.items()}
    right = {version: end.y for version, end in ends.items() if end.x == scale.x(scale.last)}
    left = {version: end.y - LABEL_HEIGHT for version, end in ends.items() if version not in right}
    return {**left, **_apart({**right, **{name: scale.y(value) for name, value in expected.items()}})}


def _lines(points: Mapping[str, tuple[Point, ...]], places: Mapping[str, float]) -> tuple[Line, ...]:
    return tuple(
        Line(name=f"version {version}", colour=index % COLOURS, points=line, label_y=places[version])
        for index, (version, line) in enumerate(points.items())
    )


def _levels(
    bounds: Bounds | None, expected: Mapping[str, float], places: Mapping[str, float], scale: _Scale
) -> tuple[Level, ...]:
    return tuple(
        Level(x=scale.x(bounds.since), y=scale.y(value), name=name, value=value, label_y=places[name])
        for name, value in expected.items()
        if bounds is not None
    )


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdecimal() else (0, version)


def _apart(wanted: dict[str, float]) -> dict[str, float]:
    """Places of the names at the right end, moved down where two would touch."""
    places: dict[str, float] = {}
    lowest = -math.inf
    for name, place in sorted(wanted.items(), key=lambda item: item[1]):
        lowest = max(place, lowest + LABEL_HEIGHT)
        places[name] = lowest
    return places


def _flags(markers: Sequence[Marker], scale: _Scale) -> tuple[Flag, ...]:
    return tuple(
        Flag(
            x=scale.x(marker.day),
            text_y=LABEL_HEIGHT * (1 + index % MARKER_ROWS) - 2,
            text=f"{marker.text} {marker.day}",
            at_right=scale.x(marker.day) > WIDTH / 2,
        )
        for index, marker in enumerate(markers)
    )


def _days(scale: _Scale) -> tuple[Tick, ...]:
    span = (scale.last - scale.first).days
    count = min(MAX_TICKS, span + 1)
    days = sorted({scale.first + timedelta(days=round(span * index / max(count - 1, 1))) for index in range(count)})
    return tuple(Tick(at=scale.x(day), text=day.isoformat()) for day in days)


def _values(scale: _Scale, step: float) -> tuple[Tick, ...]:
    count = round(scale.top / step)
    return tuple(Tick(at=scale.y(step * index), text=f"{step * index:g}") for index in range(count + 1))


def _step(highest: float) -> float:
    """A round distance between ticks, so that about five cover the range from 0."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest / 4))
    return next(factor * power for factor in (1, 2, 5, 10) if highest / (factor * power) <= 5)  # noqa: PLR2004


def _summary(measured: Sequence[Measured]) -> str:
    last = measured[-1]
    days = f"{measured[0].day} to {last.day}"
    return f"{last.loss_name} by day from {days}; the last is {last.loss:.3g} of version {last.version}."
