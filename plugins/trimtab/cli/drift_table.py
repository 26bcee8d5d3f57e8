"""Profiles of Parquet files, and how far one has drifted from another, as text."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimtab.adapters.arrow_profiler import parquet_bins, profile_parquet
from trimtab.domain.drift import ColumnDrift, drift
from trimtab.domain.profiles import ColumnBins, ColumnProfile, Moments, Profile
from trimtab.errors import SourceUnreadableError

HEADINGS = "column", "PSI", "limit", "JS", "limit", "L-inf", "KS", "W/sd", "mean/sd", "missing", "new", "outside"
LEGEND = (
    "PSI and JS (distance, base 2) exceed their limit in 5 % of the cases if rows are independent and nothing has "
    "changed. W and mean: in standard deviations of the reference. missing: change of the share. new, outside: share."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenProfile:
    """A profile and the bins that it was counted on: all that a later comparison needs."""

    bins: dict[str, ColumnBins]
    profile: Profile


def freeze(data: Path) -> FrozenProfile:
    """Profile a Parquet file on bins of its own."""
    bins = parquet_bins(data)
    return FrozenProfile(bins=bins, profile=profile_parquet(data, bins))


def write_frozen(frozen: FrozenProfile, output: Path) -> None:
    """Write a frozen profile as JSON; a reader sees the old file or the new one."""
    unfinished = output.with_name(f".{output.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(asdict(frozen)), encoding="utf-8")
    unfinished.replace(output)


def read_frozen(source: Path) -> FrozenProfile:
    """The frozen profile of a JSON file, or of a Parquet file that is profiled now.

    Raises:
        NotFoundError: If the file is not there.
        SourceUnreadableError: If it is neither.
    """
    if source.suffix != ".json" or not source.is_file():
        return freeze(source)
    try:
        return _frozen(json.loads(source.read_bytes()))
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise SourceUnreadableError(f"{source} is no frozen profile. Write it anew with `trimtab profile`.") from exc


def _frozen(content: Mapping[str, Any]) -> FrozenProfile:
    """Built by hand: importing pydantic takes as long as reading a million rows."""
    counted = content["profile"]
    if counted["format_version"] != Profile(rows=0, columns={}).format_version:
        raise ValueError("another format")
    bins = {name: ColumnBins(**_tuples(how)) for name, how in content["bins"].items()}
    columns = {name: _column(column, bins[name]) for name, column in counted["columns"].items()}
    return FrozenProfile(bins=bins, profile=Profile(rows=int(counted["rows"]), columns=columns))


def _column(content: Mapping[str, Any], bins: ColumnBins) -> ColumnProfile:
    moments = content["moments"]
    found = ColumnProfile(**{**_tuples(content), "moments": Moments(**moments) if moments else None})
    if len(found.counts) != bins.bins:
        raise ValueError("counts of other bins")
    return found


def _tuples(content: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where the domain has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}


def drift_table(reference: Path, current: Path) -> str:
    """Distances of a Parquet file from a frozen profile or another Parquet file, a line for each column."""
    frozen = read_frozen(reference)
    counted = profile_parquet(current, frozen.bins)
    found = drift(frozen.profile, counted, frozen.bins)
    lines = [HEADINGS, *(_line(name, column) for name, column in found.items())]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    rows = ["  ".join([f"{line[0]:<{widths[0]}}", *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    sizes = f"{counted.rows:,} rows of {current} against {frozen.profile.rows:,} of {reference}"
    return "\n".join([sizes, "", *rows, "", LEGEND])


def _line(name: str, column: ColumnDrift) -> tuple[str, ...]:
    numbers = (
        column.psi,
        column.psi_limit,
        column.jensen_shannon,
        column.jensen_shannon_limit,
        column.l_infinity,
        column.kolmogorov_smirnov,
        column.wasserstein,
    )
    shares = (column.missing_change, column.new_share, column.out_of_range_share)
    return name, *map(_number, numbers), _number(column.mean_shift, sign="+"), *(f"{share:.2%}" for share in shares)


def _number(value: float, sign: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{sign}.4f}"
