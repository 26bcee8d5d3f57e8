"""How much memory a version needs, in a fresh process that opens its package and predicts.

A process that answers holds all versions, and its memory cannot be told apart by them. So each is measured by itself,
in an interpreter of its own: a fork would begin with the memory of its parent. This module is both sides.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from trimtab.adapters.model_package import digest, open_package
from trimtab.domain.columns import Columns
from trimtab.domain.memory import MemoryUse
from trimtab.domain.ports import Package
from trimtab.domain.row_types import is_text
from trimtab.domain.spec import RowsSpec
from trimtab.errors import MemoryTrialError

CHUNK = 20
"""Rows of a call."""
BLOCKS, CALLS = 10, 200
"""Blocks of calls, and calls of a block at most; the memory is read after each block."""
CALLING_S = 20.0
"""For all calls; a slow version makes fewer."""
LONGEST_S = 300.0
"""For a trial, imports and all."""
ROWS = "rows.json"


class ProcessMemoryTrial:
    """Measures versions of one model, one at a time."""

    def measure(self, package: Package, rows: Columns) -> MemoryUse:
        """Let a process of its own open the package and predict the rows (n each).

        Raises:
            MemoryTrialError: If it does not get through.
        """
        with TemporaryDirectory(prefix="trimtab-memory-") as name:
            folder = Path(name)
            (folder / "package").mkdir()
            for file, content in package.items():
                (folder / "package" / file).write_bytes(content)
            (folder / ROWS).write_text(json.dumps({column: _plain(values) for column, values in rows.items()}))
            return MemoryUse(**json.loads(_told(folder)))


def _told(folder: Path) -> str:
    """What the other side prints."""
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-P", "-m", __name__, str(folder)]
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise MemoryTrialError(f"a process that measures the memory was not done after {LONGEST_S:.0f} s") from exc
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise MemoryTrialError(f"a process that measures the memory ended with {done.returncode}: {last[:300]}")
    return done.stdout


def _plain(values: np.ndarray) -> list[str | float | None]:
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124  # nan


def main(folder: Path) -> None:
    """The other side: open, predict, and print what it took."""
    _be_the_first_to_go()
    package = {file.name: file.read_bytes() for file in sorted((folder / "package").iterdir())}
    predictor = open_package(package, expected_digest=digest(package), name="a version on trial")
    rows = _columns(json.loads((folder / ROWS).read_text()), predictor.spec.rows)
    predictor.predict(rows)
    count = len(next(iter(rows.values())))
    chunks = [
        {name: values[first : first + CHUNK] for name, values in rows.items()} for first in range(0, count, CHUNK)
    ]
    begun = time.perf_counter()
    for chunk in chunks:  # what is kept of rows that were seen before is no leak
        predictor.predict(chunk)
    seconds = (time.perf_counter() - begun) / len(chunks)
    calls = max(1, min(CALLS, int(CALLING_S / BLOCKS / seconds)))
    readings, waiting = [_bytes("VmRSS")], cycle(chunks)
    for _ in range(BLOCKS):
        for chunk in islice(waiting, calls):
            predictor.predict(chunk)
        readings.append(_bytes("VmRSS"))
    growth = statistics.median(np.diff(readings).tolist()) / calls
    sys.stdout.write(json.dumps({"peak": _bytes("VmHWM"), "growth": growth, "calls": BLOCKS * calls}))


def _be_the_first_to_go() -> None:
    """If memory runs out, this process shall end and no other."""
    with suppress(OSError):  # of a container that forbids it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def _columns(content: Mapping[str, Sequence[str | float | None]], rows: RowsSpec) -> Columns:
    return {
        name: np.array(content[name], dtype=object if is_text(kind) else np.float64)
        for name, kind in rows.columns.items()
    }


def _bytes(field: str) -> int:
    """Of this process. The peak that `getrusage` knows begins with that of the process that started this one."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
