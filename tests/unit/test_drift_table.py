"""`trimtab profile` and `trimtab drift`: what they print, refuse and load."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from trimtab.cli.drift_table import HEADINGS, freeze, read_frozen, write_frozen
from trimtab.cli.main import app
from trimtab.errors import SourceUnreadableError

HEAVY = ["altair", "matplotlib", "mlflow", "numba", "pandas", "pydantic", "pyspark", "scipy", "sklearn", "typer"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    table = {
        "distance": random.lognormal(6, 1, 5000),
        "carrier": random.choice(["AA", "B6", "UA"], 5000),
        "gone": pa.nulls(5000, pa.float64()),
    }
    pq.write_table(pa.table(table), tmp_path / "reference.parquet")
    return tmp_path / "reference.parquet"


@pytest.fixture
def current(tmp_path: Path) -> Path:
    """The distances in kilometres, a tenth of the carriers unknown, another tenth missing."""
    random = np.random.default_rng(1)
    carriers = random.choice(np.array(["AA", "B6", "UA", "ZZ", None], dtype=object), 1000, p=[0.3, 0.3, 0.2, 0.1, 0.1])
    table = {
        "distance": 1.609 * random.lognormal(6, 1, 1000),
        "carrier": carriers,
        "gone": pa.nulls(1000, pa.float64()),
    }
    pq.write_table(pa.table(table), tmp_path / "current.parquet")
    return tmp_path / "current.parquet"


def cells(output: str, column: str) -> dict[str, str]:
    """A line of the table; of two headings of one name the first."""
    (line,) = [line for line in output.splitlines() if line.startswith(column)]
    return dict(reversed(list(zip(HEADINGS, line.split(), strict=True))))


def test_drift_shows_what_has_changed_beside_what_chance_gives(reference: Path, current: Path) -> None:
    result = run("drift", reference, current)
    assert result.exit_code == 0
    distance, carrier, gone = (cells(result.output, name) for name in ("distance", "carrier", "gone"))
    assert float(distance["PSI"]) > 5 * float(distance["limit"])
    assert 0.4 < float(distance["mean/sd"]) < 0.8
    assert (distance["missing"], distance["new"]) == ("0.00%", "0.00%")
    assert 8 < float(carrier["missing"].rstrip("%")) < 12
    assert 9 < float(carrier["new"].rstrip("%")) < 13
    assert (carrier["KS"], gone["KS"], gone["mean/sd"]) == ("-", "-", "-")
    assert result.output.startswith(f"1,000 rows of {current} against 5,000 of {reference}")


def test_a_file_has_not_drifted_from_itself(reference: Path) -> None:
    line = cells(run("drift", reference, reference).output, "distance")
    assert {float(line[name]) for name in ("PSI", "JS", "L-inf", "KS", "W/sd", "mean/sd")} == {0.0}


def test_frozen_profile_gives_the_table_of_the_file_that_it_was_taken_from(
    reference: Path, current: Path, tmp_path: Path
) -> None:
    frozen = tmp_path / "frozen.json"
    assert run("profile", reference, "--output", frozen).output == f"Profile of {reference} is in {frozen}.\n"
    assert read_frozen(frozen) == freeze(reference)
    first, second = (run("drift", one, current).output.splitlines()[1:] for one in (reference, frozen))
    assert first == second


def test_profile_that_is_written_again_is_the_same_to_the_byte(reference: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    for output in (first, second, second):
        write_frozen(freeze(reference), output)
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "no JSON",
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"format_version": 1', '"format_version": 2'),
        lambda text: text.replace('"moments"', '"movements"'),
        lambda text: text.replace('"counts": [0, ', '"counts": ['),
    ],
    ids=["no JSON", "list", "empty", "later format", "another field", "counts of other bins"],
)
def test_json_that_is_no_frozen_profile_is_refused(reference: Path, tmp_path: Path, spoil: object) -> None:
    frozen = tmp_path / "frozen.json"
    write_frozen(freeze(reference), frozen)
    frozen.write_text(spoil(frozen.read_text(encoding="utf-8")), encoding="utf-8")  # type: ignore[operator]
    with pytest.raises(SourceUnreadableError) as refused:
        read_frozen(frozen)
    assert str(refused.value) == f"{frozen} is no frozen profile. Write it anew with `trimtab profile`."


def test_file_that_is_not_there_ends_the_command_in_one_line(tmp_path: Path, current: Path) -> None:
    result = run("drift", tmp_path / "none.json", current)
    assert result.exit_code == 1
    assert result.output == f"{tmp_path / 'none.json'} is not there. Mend the path.\n"


def test_module_prints_the_same_table_and_loads_no_heavy_library(
    reference: Path, current: Path, tmp_path: Path
) -> None:
    frozen = tmp_path / "frozen.json"
    write_frozen(freeze(reference), frozen)
    code = (
        "import json, os, runpy, sys; sys.argv = ['drift', *sys.argv[1:]]; "
        "os._exit = lambda code: print(json.dumps([code, *sorted(sys.modules)])); "
        "runpy.run_module('trimtab.cli.drift', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, frozen, current],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "plugins")},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    *table, modules = done.stdout.splitlines()
    assert table == run("drift", frozen, current).output.splitlines()
    status, *loaded = json.loads(modules)
    assert status == 0
    assert set(loaded) & set(HEAVY) == set()
