"""Does triage name what has been broken: confusion matrix, days to detect, and data bugs sent to retraining.

    python benchmarks/triage.py [FOLDER]

Of each data set, from several days on: 56 days of reference with out-of-sample predictions, 35 days as they were, then
each drill on up to 28 days in a row, as many as the longest horizon of a verdict has; labels come a day later. What
counts is the first data bug that triage says of one, and what it says on the last day of a shift. The data sets are
flights and, from the folder (argument, or TRIMTAB_TEST_DATA), bike_sharing; then two that the rules were not made with,
made-up worlds of a known model, and the bikes of Seoul (folder dirty_seoulbike).

- Starts after which the real days, undrilled, have findings of their own are left out and counted: there, nobody can
  say what the right answer is.
- Whether a shift of the inputs is costly is not up to the drill's name, but to the losses of the same days with it and
  without: it is a covariate shift if they have grown (paired t test of the days, one-sided, 5 %), else a benign one.
- A drill that is not seen at these sizes is not named either; the share of right names is given with and without them.
- The kind of a data bug is right where any bug is found, and its name where it is the one that was injected: on a day
  whose rows all have one value, renaming it and damaging the encoding of the column give the same rows.
- Days to detect are those until triage says anything: the median of those that were seen, and the longest.
"""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from drill_sets import DataSet, bikes, flights, made_up, seoul
from scipy.stats import ttest_1samp
from sklearn.ensemble import HistGradientBoostingRegressor

from trimtab.domain.binning import bins_of
from trimtab.domain.columns import Columns, Encoder
from trimtab.domain.counting import profile
from trimtab.domain.diagnosis import Advice, Bug, Evidence, Intake, Kind, Triage
from trimtab.domain.drills import DRILLS, Batch, Drill
from trimtab.domain.metrics import DayErrors, FloatArray, day_errors
from trimtab.domain.profiles import PREDICTION, Profile, Reference
from trimtab.domain.reference_days import ReferenceDaysRule
from trimtab.domain.spec import MonitorSpec
from trimtab.domain.training import blocks_of_days
from trimtab.domain.triage import triage
from trimtab.domain.verdict import Current

REFERENCE, CLEAN, DRILLED = 56, 35, 28
SPEC = MonitorSpec()
WORLDS = [(rows, explained) for rows in (100, 500, 2_000) for explained in (0.3, 0.6, 0.9)]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What triage said about a drill, and what it was."""

    said: Triage
    first_day: int | None
    """Drilled day on which it said anything."""
    retrained: bool
    kind: Kind
    bug: Bug | None

    @property
    def is_right(self) -> bool:
        """Whether it was called what it was."""
        return (self.said.kind, self.said.bug) == (self.kind, self.bug)


def main(folder: Path | None) -> None:
    """Print a table for each data set."""
    real = [flights(), *([bikes(folder / "bike_sharing")] if folder else [])]
    unseen = [seoul(folder / "dirty_seoulbike")] if folder else []
    worlds = [made_up(1000 + number, *world) for number, world in enumerate(WORLDS)]
    for name, sets in [*((data.name, [data]) for data in (*real, *unseen)), ("made-up worlds", worlds)]:
        _drill(name, sets)


def _drill(name: str, sets: Sequence[DataSet]) -> None:
    outcomes: dict[str, list[Outcome]] = {drill: [] for drill in ("none", *DRILLS)}
    starts = busy = 0
    for data in sets:
        for start in data.starts:
            scene = _scene(data, start)
            undrilled = _run(scene, None, start)
            starts += 1
            if undrilled.first_day is not None:
                busy += 1
                continue
            outcomes["none"].append(undrilled)
            for drill, how in DRILLS.items():
                outcomes[drill].append(_run(scene, how, start))
    print(f"{name}: {starts} starts, {busy} of them left out: there, the days as they were have findings")
    _print(outcomes)


def _run(scene: Scene, drill: Drill | None, seed: int) -> Outcome:
    profiles, errors, rows = dict(scene.profiles), dict(scene.errors), dict(scene.rows)
    live = scene.days[REFERENCE : REFERENCE + CLEAN]
    said: list[Triage] = []
    for number in range(DRILLED):
        day, before = (scene.days[REFERENCE + CLEAN + number - back] for back in (0, 1))
        today = scene.data.days[day]
        random = _chance(drill, seed, number)
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
    return Outcome(
        said=said[-1],
        first_day=next((number + 1 for number, one in enumerate(said) if one.kind is not Kind.NOTHING), None),
        retrained=any(one.advice is Advice.RETRAIN for one in said),
        kind=_kind(drill, scene, errors),
        bug=drill.bug if drill else None,
    )


def _chance(drill: Drill | None, seed: int, number: int) -> np.random.Generator:
    """A fault stays in the column that it is in; a shift draws the rows of each day anew, or it would be a pattern."""
    is_fault = drill is not None and drill.kind is Kind.DATA_BUG
    return np.random.default_rng(seed if is_fault else [seed, number])


def _kind(drill: Drill | None, scene: Scene, errors: Mapping[str, DayErrors]) -> Kind:
    """What a drill is: that of a shift of the inputs depends on what it costs."""
    if drill is None:
        return Kind.NOTHING
    if drill.kind not in (Kind.COVARIATE_SHIFT, Kind.BENIGN_SHIFT):
        return drill.kind
    days = scene.days[REFERENCE + CLEAN : REFERENCE + CLEAN + DRILLED]
    growth = [np.log(errors[day].loss / scene.errors[day].loss) for day in days]
    costly = ttest_1samp(growth, 0.0, alternative="greater").pvalue < 0.05  # noqa: PLR2004
    return Kind.COVARIATE_SHIFT if costly else Kind.BENIGN_SHIFT


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


def _print(outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    print(f"  {'drill':<18}{'right':>7}{'days':>8}  triage said (where it is right: =)")
    for name, found in outcomes.items():
        said = Counter(f"{'= ' * one.is_right}{one.said.bug or one.said.kind}" for one in found)
        days = [one.first_day for one in found if one.first_day is not None]
        until = f"{np.median(days):.0f}-{max(days)}" if days else "-"
        hits = sum(one.is_right for one in found)
        print(
            f"  {name:<18}{hits:>4}/{len(found):<3}{until:>7}  {', '.join(f'{k} {v}' for k, v in said.most_common())}"
        )
    drilled = [one for name, found in outcomes.items() if name != "none" for one in found]
    seen = [one for one in drilled if one.said.kind is not Kind.NOTHING]
    bugs = [one for one in drilled if one.kind is Kind.DATA_BUG]
    right = sum(one.is_right for one in drilled)
    kinds = sum(one.said.kind is one.kind for one in drilled)
    print(
        f"  right kind {kinds}/{len(drilled)} ({kinds / max(len(drilled), 1):.0%}; 90 % wanted), of a bug also which "
        f"{right / max(len(drilled), 1):.0%}, and of the {len(seen)} that were seen {right / max(len(seen), 1):.0%}; "
        f"bugs sent to retraining {sum(one.retrained for one in bugs)}/{len(bugs)}"
    )


if __name__ == "__main__":
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("TRIMTAB_TEST_DATA", "")
    main(Path(given) if given else None)
