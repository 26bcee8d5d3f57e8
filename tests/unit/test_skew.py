"""`trimtab skew` shows what was served otherwise than the batch has it."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from doubles import tiny_rows, tiny_training
from trimtab.adapters.delta_lake import DeltaLake
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.cli.main import app
from trimtab.cli.skew import skew_table
from trimtab.domain.binning import bins_of
from trimtab.domain.columns import row_keys
from trimtab.domain.counting import profile
from trimtab.domain.feature_code import feature_rows
from trimtab.domain.profiles import Reference
from trimtab.stages.skew_audit import SkewReport, audit_skew

DAY = date(2013, 3, 1)
MODEL = "flight_air_time"


@pytest.fixture
def stores(tmp_path: Path) -> tuple[DeltaLake, FolderRegistry]:
    """A batch of five rows, which were served as they are but for two."""
    lake, registry = DeltaLake(str(tmp_path / "lake"), MODEL), FolderRegistry(tmp_path / "registry", MODEL)
    registry.register(registry.log_training(tiny_training(1)).run_id, {})
    rows, _ = tiny_rows(3, rows=5)
    keys = row_keys(rows, ("carrier", "flight")).tolist()
    lake.write("batches", DAY, pd.DataFrame({"_key": keys, **rows}))
    served = {name: values.copy() for name, values in registry.describe("1").features(rows).items()}
    served["distance"][0] += 10
    served["distance"][1] += 300
    served["seats"][1] = np.nan if not np.isnan(served["seats"][1]) else 1.0
    frame = pd.DataFrame(
        {
            "_day": DAY.isoformat(),
            "_key": [*keys, "gone"],
            "request_id": [f"r{number}" for number in range(6)],
            "version": "1",
            "features": [*(pd.Series([row]).to_json(orient="values")[1:-1] for row in feature_rows(served)), "{}"],
        }
    )
    lake.append("served", frame, "online", log="a", number=1)
    return lake, registry


def test_audit_counts_rows_and_features_that_differ(stores: tuple[DeltaLake, FolderRegistry]) -> None:
    lake, registry = stores
    report = audit_skew(DAY, DAY, lake=lake, registry=registry)
    assert (report.served, report.compared, report.differing) == (5, 5, 2)
    assert [(one.feature, one.differing) for one in report.columns[:2]] == [("distance", 2), ("seats", 1)]
    assert [one.request_id for one in report.columns[0].examples] == ["r1", "r0"], "the furthest first"
    assert sum(one.differing for one in report.columns[2:]) == 0


def test_table_names_the_worst_example(stores: tuple[DeltaLake, FolderRegistry]) -> None:
    lake, registry = stores
    table = skew_table(audit_skew(DAY, DAY, lake=lake, registry=registry))
    first = table.splitlines()[1].split()
    assert first[:5] == ["1", "distance", "5", "2", "40.00%"]
    assert "(request r1, row " in table.splitlines()[1]
    assert table.splitlines()[-2:] == [
        "5 of 5 served rows are in a batch by now; 2 differ.",
        "Version 1, served on 1 day, against the days that it was trained on: these are too few to tell what is "
        "ordinary.",
    ]


def test_nothing_served_is_said_in_a_line(tmp_path: Path) -> None:
    lake, registry = DeltaLake(str(tmp_path), MODEL), FolderRegistry(tmp_path, MODEL)
    report = audit_skew(DAY, DAY, lake=lake, registry=registry)
    assert report == SkewReport(served=0, compared=0, differing=0, columns=[], distributions=[])
    assert skew_table(report) == "0 of 0 served rows are in a batch by now; 0 differ."


def test_command_ends_with_1_where_something_differs(
    stores: tuple[DeltaLake, FolderRegistry], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, registry = stores
    for name in ("MODELS", "LAKE", "LEDGER", "REGISTRY", "TRAFFIC"):
        monkeypatch.setenv(f"TRIMTAB_{name}", str(tmp_path / name.lower()))
    monkeypatch.setattr("trimtab.adapters.stores.Stores.registry", registry)
    found: Any = CliRunner().invoke(app, ["skew", MODEL, "2013-03-01"])
    assert (found.exit_code, found.stdout.splitlines()[-2][-9:]) == (1, "2 differ.")
    later: Any = CliRunner().invoke(app, ["skew", MODEL, "2013-03-02", "2013-03-03"])
    assert (later.exit_code, later.stdout) == (0, "0 of 0 served rows are in a batch by now; 0 differ.\n")


class OfManyDays:
    """A registry whose version 1 knows twenty days of its training."""

    def __init__(self, registry: FolderRegistry) -> None:
        self.model = registry.describe("1")
        self.spec, self.features = self.model.spec, self.model.features
        days = {(DAY - timedelta(days=number)).isoformat(): self.features(day(number)) for number in range(1, 21)}
        bins = bins_of(
            {name: np.concatenate([one[name] for one in days.values()]) for name in next(iter(days.values()))}
        )
        self.bins = bins
        self.reference = Reference(bins=bins, days={name: profile(one, bins) for name, one in days.items()}, errors={})

    def describe(self, version: str) -> "OfManyDays":
        return self


def day(seed: int, rows: int = 200) -> dict[str, Any]:
    return dict(tiny_rows(seed, rows=rows)[0])


@pytest.mark.parametrize(("longer", "beyond"), [(0.0, set()), (5000.0, {"distance"})])
def test_rows_that_no_batch_has_are_compared_with_those_of_training(
    stores: tuple[DeltaLake, FolderRegistry], tmp_path: Path, longer: float, beyond: set[str]
) -> None:
    registry: Any = OfManyDays(stores[1])
    lake = DeltaLake(str(tmp_path / "other"), MODEL)
    served = feature_rows(registry.features(day(99)))
    texts = [json.dumps({**row, "distance": float(row["distance"] or 0) + longer}) for row in served]
    names = {"_day": DAY.isoformat(), "request_id": "r", "version": "1"}
    lake.append("served", pd.DataFrame({"features": texts}).assign(_key="none", **names), "online", log="a", number=1)
    report = audit_skew(DAY, DAY, lake=lake, registry=registry)
    (found,) = report.distributions
    assert (report.compared, found.days) == (0, 1)
    assert found.comparisons > len(registry.bins)
    assert {one.column for one in found.beyond} == beyond
    last = skew_table(report).splitlines()[-1]
    assert (
        last.startswith("  ")
        if beyond
        else last.endswith(f"nothing beyond its limit in {found.comparisons} comparisons.")
    )
