"""Cases that people decide: which of them wait, and how far people and model agree on the others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from trimtab.domain.automation import SILENT
from trimtab.domain.ports import BATCH, CollectableLog, Lake, Table
from trimtab.domain.spec import LabelSpec
from trimtab.stages.collect import ONLINE

ROW = ["request_id", "row"]
KIND = "decision"
RECENT_DAYS = 28
"""Days that are looked through; a case that nobody has decided by then is past deciding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A row about which a person has to decide."""

    request_id: str
    row: int
    """Position in the request; with its id it names the case in `/feedback`."""
    key: str
    day: str
    """ISO day that the row belongs to."""
    at: str | None
    """Moment (UTC) of the answer; None of a row of a batch."""
    level: str
    """Level of automation that left it to people."""
    version: str
    proposal: float | None
    """What the model would say; None: the person who decides must not see it."""
    effects: Sequence[Mapping[str, Any]]
    """What single features do to the proposal."""
    values: Mapping[str, Any]
    """Features as the version saw them, or columns of the batch's row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far people and one version agree on the cases of one level."""

    level: str
    version: str
    waiting: int
    decided: int
    share: float | None
    """Of a yes or no: decisions that are those of the model, 0 to 1; None: a number, or nothing is decided."""
    difference: float | None
    """Of a number: mean absolute difference, in the label's unit; None: a yes or no, or nothing is decided."""


def referred(*, lake: Lake, logs: Sequence[CollectableLog], part: str) -> pd.DataFrame:
    """Rows of the last days that were left to people: as `predictions` has them, with `decision`, nan while they wait.

    Args:
        lake: Rows of the model.
        logs: What the prediction service has written down, of which a part is not in the lake yet.
        part: Of the predictions: answers of the service, or batches.
    """
    pending = [log.pending() for log in logs]  # before the lake, or what is moved meanwhile would be in neither
    days = lake.days("predictions")
    first = max(days[-1].toordinal() - RECENT_DAYS, 1) if days else 1
    cases = pd.concat(
        [
            _left_to_people(lake.read("predictions", date.fromordinal(first), date.max, part=part)),
            *(_left_to_people(frame) for frame in _frames(pending, "predictions") if part == ONLINE),
        ]
    )
    if not len(cases):
        return pd.DataFrame(columns=[*ROW, "level", "version", "prediction", "decision"])
    cases = cases.drop_duplicates([*ROW, "_key"], keep="last").astype({"row": "Int64"})
    return cases.assign(decision=_decisions(cases, lake, _frames(pending, "outcomes")))


def waiting(*, lake: Lake, logs: Sequence[CollectableLog], part: str) -> list[Case]:
    """The cases that nobody has decided, the oldest first; see `referred` for the arguments."""
    left = referred(lake=lake, logs=logs, part=part)
    left = left[left["decision"].isna()]
    if not len(left):
        return []
    left = left.assign(at=left.get("at"))
    left = left.sort_values(["at", "_day", *ROW], kind="stable", na_position="first")
    values = _batch_values(left, lake) if part == BATCH else _features(left, lake, logs)
    return [_case(row, values.get((row["request_id"], row["row"]), {})) for row in left.to_dict("records")]


def agreements(cases: pd.DataFrame, label: LabelSpec) -> list[Agreement]:
    """By level and version, how far people and model agree on `referred` cases."""
    return [
        _agreement(str(level), str(version), mine, label)
        for (level, version), mine in cases.groupby(["level", "version"])
    ]


def _agreement(level: str, version: str, cases: pd.DataFrame, label: LabelSpec) -> Agreement:
    decided = cases.dropna(subset="decision")
    model, person = (decided[name].to_numpy(dtype=np.float64) for name in ("prediction", "decision"))
    binary = label.task == "binary"
    yes = (model >= label.decision_threshold).astype(np.float64)
    return Agreement(
        level=level,
        version=version,
        waiting=len(cases) - len(decided),
        decided=len(decided),
        share=float((yes == person).mean()) if binary and len(decided) else None,
        difference=float(np.abs(model - person).mean()) if not binary and len(decided) else None,
    )


def _left_to_people(predictions: pd.DataFrame) -> pd.DataFrame:
    if "decided_by" not in predictions:  # nothing is predicted, or all of it by a version that knew no levels
        return pd.DataFrame()
    return predictions[(predictions["decided_by"] == "person") & predictions["served"]].dropna(subset="prediction")


def _frames(pending: Sequence[Mapping[Table, pd.DataFrame]], table: Table) -> list[pd.DataFrame]:
    return [tables[table] for tables in pending if table in tables]


def _decisions(cases: pd.DataFrame, lake: Lake, pending: Sequence[pd.DataFrame]) -> pd.Series:
    """What was decided last about each case, about its row or its whole request; nan where nothing was."""
    moments = cases["at"].dropna() if "at" in cases else cases["_day"]
    # Nobody decides before the answer is given, but for clocks that differ.
    first = date.fromisoformat(moments.min()[:10]) - timedelta(days=1) if len(moments) else date.min
    said = pd.concat([lake.read("outcomes", first, date.max, part=ONLINE), *pending])
    if not len(said):
        return pd.Series(np.nan, index=cases.index)
    said = said[said["kind"] == KIND].sort_values("at", kind="stable").astype({"row": "Int64"})
    known: dict[tuple[str, int | None], tuple[str, float]] = {
        (request, None if pd.isna(row) else int(row)): (at, float(value))
        for request, row, value, at in zip(said["request_id"], said["row"], said["value"], said["at"], strict=True)
    }
    nothing = ("", np.nan)
    return pd.Series(
        [
            max(known.get((request, int(row)), nothing), known.get((request, None), nothing))[1]
            for request, row in zip(cases["request_id"], cases["row"], strict=True)
        ],
        index=cases.index,
        dtype=np.float64,
    )


def _features(
    cases: pd.DataFrame, lake: Lake, logs: Sequence[CollectableLog]
) -> Mapping[tuple[str, int], Mapping[str, Any]]:
    """Features by request and row, as the version saw them whose answer counts."""
    pending = _frames([log.pending() for log in logs], "served")
    first, last = (date.fromisoformat(day) for day in (cases["_day"].min(), cases["_day"].max()))
    served = pd.concat([lake.read("served", first, last, part=ONLINE), *pending]).astype({"row": "Int64"})
    mine = served.merge(cases[[*ROW, "version"]], on=[*ROW, "version"])
    return {
        (request, int(row)): json.loads(features)
        for request, row, features in zip(mine["request_id"], mine["row"], mine["features"], strict=True)
    }


def _batch_values(cases: pd.DataFrame, lake: Lake) -> Mapping[tuple[str, int], Mapping[str, Any]]:
    """Columns of the batch's rows by request and row."""
    first, last = (date.fromisoformat(day) for day in (cases["_day"].min(), cases["_day"].max()))
    batches = lake.read("batches", first, last)
    mine = cases[[*ROW, "_day", "_key"]].merge(batches, on=["_day", "_key"])
    return {
        (row["request_id"], int(row["row"])): {
            str(name): None if pd.isna(value) else value
            for name, value in row.items()
            if name not in ROW and not str(name).startswith("_")
        }
        for row in mine.to_dict("records")
    }


def _case(row: Mapping[Any, Any], values: Mapping[str, Any]) -> Case:
    is_silent = row["level"] in SILENT
    effects = row.get("effects")
    return Case(
        request_id=str(row["request_id"]),
        row=int(row["row"]),
        key=str(row["_key"]),
        day=str(row["_day"]),
        at=None if pd.isna(row["at"]) else str(row["at"]),
        level=str(row["level"]),
        version=str(row["version"]),
        proposal=None if is_silent else float(row["prediction"]),
        effects=json.loads(effects) if isinstance(effects, str) else [],
        values=values,
    )
