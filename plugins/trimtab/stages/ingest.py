"""Read a day's batch, type its values, set aside rows that cannot be typed, and land the rest."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date

import numpy as np
import pandas as pd

from trimtab.domain.columns import Column, row_keys
from trimtab.domain.ports import BrokenRow, Lake, Source
from trimtab.domain.row_types import typed
from trimtab.domain.spec import RowsSpec
from trimtab.errors import MAX_EXAMPLES

QUARANTINE_PART = "ingest"
RAW_LENGTH = 2000
REPEATED_KEY = "its key is that of row"
"""How the reason of a row begins whose key another row has; triage counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """What became of a batch."""

    rows_read: int
    rows_landed: int
    rows_quarantined: int
    reasons: dict[str, int]
    """Most frequent reasons of the quarantine."""
    landing_version: int


def ingest(day: date, *, source: Source, lake: Lake, rows: RowsSpec) -> IngestResult:
    """Land the batch of one day; repeating it leaves the lake as it is.

    Raises:
        BatchMissingError: If there is no batch yet.
        SourceUnreadableError: If the source cannot be read.
        DataContractError: If a column is not there, or no row's day can be read.
    """
    raw = source.read(day, [*rows.columns])
    columns, problems = _typed_columns(raw.rows, rows)
    keys = row_keys({name: columns[name] for name in rows.key}, rows.key)
    _add_repeated(keys, raw.rows["_row"].to_numpy(), problems)
    good = np.array([position not in problems for position in range(len(raw.rows))], dtype=bool)
    landed = pd.DataFrame({"_row": raw.rows["_row"].to_numpy(), "_key": keys, **columns})[good]
    broken = [*raw.broken, *_set_aside(raw.rows, problems)]
    lake.write("quarantine", day, quarantine_frame(broken), part=QUARANTINE_PART)
    lake.write("landing", day, landed.reset_index(drop=True))
    reasons = Counter(row.reason.partition(", got ")[0] for row in broken)
    return IngestResult(
        rows_read=len(raw.rows) + len(raw.broken),
        rows_landed=len(landed),
        rows_quarantined=len(broken),
        reasons=dict(reasons.most_common(MAX_EXAMPLES)),
        landing_version=lake.version("landing"),
    )


def quarantine_frame(broken: list[BrokenRow]) -> pd.DataFrame:
    """Broken rows as the quarantine holds them, by position in the source."""
    ordered = sorted(broken, key=lambda row: row.row)
    return pd.DataFrame(
        {
            "_row": np.array([row.row for row in ordered], dtype=np.int64),
            "reason": pd.Series([row.reason for row in ordered], dtype=object),
            "raw": pd.Series([row.raw for row in ordered], dtype=object),
        }
    )


def _typed_columns(raw: pd.DataFrame, rows: RowsSpec) -> tuple[dict[str, Column], dict[int, list[str]]]:
    columns: dict[str, Column] = {}
    problems: dict[int, list[str]] = {}
    for name, kind in rows.columns.items():
        columns[name], bad = typed(raw[name].to_numpy(dtype=object), kind)
        for position, problem in bad.items():
            problems.setdefault(position, []).append(f"{name!r} {problem}")
    return columns, problems


def _add_repeated(keys: np.ndarray, row: np.ndarray, problems: dict[int, list[str]]) -> None:
    """Keep the first good row of a key; the others are repetitions."""
    first: dict[str, int] = {}
    for position, key in enumerate(keys.tolist()):
        if position in problems:
            continue
        if key in first:
            problems[position] = [f"{REPEATED_KEY} {row[first[key]]}"]
        else:
            first[key] = position


def _set_aside(raw: pd.DataFrame, problems: dict[int, list[str]]) -> list[BrokenRow]:
    records = raw.drop(columns="_row")
    return [
        BrokenRow(
            row=int(raw["_row"].iloc[position]),
            reason="; ".join(reasons),
            raw=json.dumps(records.iloc[position].to_dict(), default=str)[:RAW_LENGTH],
        )
        for position, reasons in problems.items()
    ]
