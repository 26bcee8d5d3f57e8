"""A small trained model, a registry in memory, and a service around them."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from sklearn.ensemble import HistGradientBoostingRegressor

from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.model_folder import ModelFolder, load_folder
from trimtab.adapters.model_package import digest, load_feature_code, open_package, pack
from trimtab.adapters.outcome_log import OutcomeWriter
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.adapters.traffic_log import FileTrafficLog, TrafficWriter
from trimtab.domain.binning import bins_of
from trimtab.domain.columns import Columns, Encoder
from trimtab.domain.journal import Draft, Entry, Payload, Stream
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import Package, Predictor
from trimtab.domain.profiles import Reference
from trimtab.domain.spec import ModelSpec
from trimtab.errors import LedgerUnavailableError, NotFoundError, RegistryUnavailableError
from trimtab.serving.app import create_app
from trimtab.serving.model_server import ModelServer
from trimtab.serving.rows import as_rows
from trimtab.serving.tokens import TokenCheck, token_digest

MODEL = "flight_air_time"
FOLDER = Path(__file__).parents[2] / "include" / "models" / MODEL
TOKEN = "a-long-random-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OFFSET = 10_000.0
"""Version v predicts minutes + v times this, so that a prediction tells its version."""

Row = dict[str, Any]


@cache
def folder() -> ModelFolder:
    """The example model as it lies in this repository."""
    return load_folder(FOLDER)


def flights(count: int, seed: int = 0) -> list[Row]:
    """Made-up flights, each with a key of its own."""
    random = np.random.default_rng(seed)
    return [
        {
            "year": 2013,
            "month": int(random.integers(1, 13)),
            "day": int(random.integers(1, 29)),
            "carrier": str(random.choice(["AA", "B6", "UA"])),
            "flight": number + 1,
            "origin": str(random.choice(["EWR", "JFK", "LGA"])),
            "dest": str(random.choice(["BOS", "LAX", "MIA"])),
            "tailnum": None,
            "sched_dep_time": int(random.integers(5, 23)) * 100,
            "sched_arr_time": int(random.integers(5, 23)) * 100 + 30,
            "distance": float(random.integers(80, 2600)),
            "plane_year": None if number % 7 == 0 else 2001,
            "seats": 150,
        }
        for number in range(count)
    ]


def columns_of(rows: Sequence[Row], spec: ModelSpec) -> Columns:
    """Rows as the domain has them."""
    return as_rows([[row.get(name) for name in spec.rows.columns] for row in rows], spec.rows).columns


@cache
def package(version: int) -> Package:
    """A model trained on made-up flights, whose predictions are around version x OFFSET."""
    spec = folder().spec
    code = load_feature_code(folder().feature_code, spec)
    features = code.compute(columns_of(flights(400), spec))
    encoder = Encoder.fit(features, spec.features)
    minutes = np.asarray(features["distance"], dtype=np.float64) / 8 + 20 + version * OFFSET
    estimator = HistGradientBoostingRegressor(
        max_iter=20, categorical_features=encoder.categorical_indices, early_stopping=False, random_state=0
    ).fit(encoder.matrix(features), minutes)
    reference = Reference(bins=bins_of(features), days={}, errors={})
    return pack(
        estimator=estimator,
        encoder=encoder,
        reference=reference,
        feature_code=folder().feature_code,
        spec=spec,
    )


def version_of(prediction: float) -> str:
    """The version that a prediction must have come from."""
    return str(int(prediction // OFFSET))


class MemoryRegistry:
    """Versions 1 to 9, opened from their packages; or others that a test puts there."""

    def __init__(self) -> None:
        self.down = False
        self.loaded: list[str] = []
        self.special: dict[str, Predictor | Callable[[], Predictor]] = {}

    def load(self, *, version: str, expected_digest: str | None = None) -> Predictor:
        if self.down:
            raise RegistryUnavailableError("The registry does not answer.")
        self.loaded.append(version)
        if version in self.special:
            special = self.special[version]
            return special() if callable(special) else special
        if version not in "123456789":
            raise NotFoundError(f"There is no version {version}.")
        files = package(int(version))
        return open_package(files, expected_digest=digest(files), name=f"version {version}")


class SpoiledPredictor:
    """A real model of which some calls go wrong."""

    def __init__(self, version: int, spoil: Callable[[Columns, FloatArray], FloatArray]) -> None:
        files = package(version)
        self._inner = open_package(files, expected_digest=digest(files), name="a spoiled version")
        self._spoil = spoil
        self.calls = 0

    @property
    def spec(self) -> ModelSpec:
        return self._inner.spec

    @property
    def reference(self) -> Reference:
        return self._inner.reference

    def features(self, rows: Columns) -> Columns:
        return self._inner.features(rows)

    def predict(self, rows: Columns) -> FloatArray:
        return self.predict_features(self.features(rows))

    def predict_features(self, features: Columns) -> FloatArray:
        self.calls += 1
        return self._spoil(features, self._inner.predict_features(features))


def raising(_rows: Columns, _values: FloatArray) -> FloatArray:
    """A spoiling: the call raises."""
    raise ZeroDivisionError("planted")


class BreakableLedger:
    """A real ledger that can be cut off."""

    def __init__(self, inner: SqlLedger) -> None:
        self._inner = inner
        self.down = False

    def append(self, draft: Draft, *, after: int) -> Entry:
        return self._inner.append(draft, after=after)

    def entries(self, stream: Stream, subject: str | None = None) -> Sequence[Entry]:
        self._check()
        return self._inner.entries(stream, subject)

    def head(self, stream: Stream) -> int:
        self._check()
        return self._inner.head(stream)

    def _check(self) -> None:
        if self.down:
            raise LedgerUnavailableError("The ledger does not answer.")


@dataclass(slots=True)
class Service:
    """A service on temporary stores."""

    ledger: BreakableLedger
    registry: MemoryRegistry
    server: ModelServer
    tokens: TokenCheck
    traffic: Path

    def move(self, version: str, kind: str, **payload: Any) -> None:  # JSON
        """Record one transition of a release; `requested` names the champion before as `previous`."""
        values: Payload = dict(payload)
        draft = Draft(stream="release", subject=version, kind=kind, as_of=date(2013, 3, 1), payload=values)
        self.ledger.append(draft, after=self.ledger._inner.head("release"))

    def go_live(self, version: str, previous: str | None = None, *, done: bool = True) -> None:
        """Record a whole release."""
        self.move(version, "requested", previous=previous)
        self.move(version, "approved")
        self.move(version, "live")
        if done:
            self.move(version, "done")

    def step(self, version: str, share: float, *, request: bool = True) -> None:
        """Put a version under test."""
        if request:
            self.move(version, "requested", previous="1")
            self.move(version, "approved")
        self.move(version, "step", step=f"at {share}", share=share)

    @property
    def log(self) -> FileTrafficLog:
        """What has been written."""
        return FileTrafficLog(self.traffic, MODEL)

    def app(self, **settings: Any) -> FastAPI:  # of create_app
        """The service as an application."""
        return create_app({MODEL: self.server}, self.tokens, **{"refresh_s": 0.05, **settings})


def token_file(path: Path) -> Path:
    """A token file that knows TOKEN."""
    file = path / "tokens"
    file.write_text(f"# the tests\n{token_digest(TOKEN)}  predict,feedback,admin  # a comment\n")
    return file


def new_service(path: Path) -> Service:
    """A service whose ledger is empty."""
    engine = open_engine(f"sqlite:///{path / 'ledger.db'}")
    migrate(engine)
    ledger, registry = BreakableLedger(SqlLedger(engine, MODEL)), MemoryRegistry()
    log = TrafficWriter(path / "traffic", MODEL, "worker", lambda: NOW)
    outcomes = OutcomeWriter(path / "traffic", MODEL, "worker", lambda: NOW)
    server = ModelServer(folder().spec, ledger, registry, log, outcomes)
    return Service(ledger, registry, server, TokenCheck(token_file(path)), path / "traffic")


@asynccontextmanager
async def client(app: FastAPI, headers: Mapping[str, str] = BEARER) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a network; the application is running."""
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=dict(headers)) as http,
    ):
        yield http


def content_digest(path: Path) -> str:
    """Of all bytes of a log, for before and after."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(path.rglob("*.jsonl")))).hexdigest()


class Running:
    """A service that is asked from outside its event loop, and runs until it is closed."""

    def __init__(self, service: Service, **app_settings: Any) -> None:  # of create_app
        self.service = service
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(app_settings)), daemon=True)
        self._thread.start()
        self._ready.wait(60)

    async def _run(self, app_settings: dict[str, Any]) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with client(self.service.app(**app_settings)) as self.http:
            self._ready.set()
            await self._over.wait()

    def _do(self, coroutine: Any) -> httpx.Response:  # of httpx
        answer: httpx.Response = asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)
        return answer

    def post(self, path: str = f"/models/{MODEL}/predict", **kwargs: Any) -> httpx.Response:  # of httpx
        return self._do(self.http.post(path, **kwargs))

    def get(self, path: str) -> httpx.Response:
        return self._do(self.http.get(path))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
