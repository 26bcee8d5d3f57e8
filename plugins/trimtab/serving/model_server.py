"""One model in the service: which versions answer now, and answering with them."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.adapters.traffic_log import LoggedArm, PredictedRow, TrafficWriter
from trimtab.domain.journal import Ledger
from trimtab.domain.metrics import FloatArray
from trimtab.domain.ports import Predictor
from trimtab.domain.release import Arm, Routing, routing
from trimtab.domain.spec import ModelSpec
from trimtab.errors import NotFoundError, SpecError, listed
from trimtab.serving.messages import Answer, ModelState, RowAnswer
from trimtab.serving.rows import Rows

logger = logging.getLogger(__name__)

Positions: TypeAlias = NDArray[np.intp]
ERROR_LENGTH = 200


class Versions(Protocol):
    """What the service needs of a registry."""

    def load(self, *, version: str, expected_digest: str | None) -> Predictor:
        """Open the model of a version; see `trimtab.domain.ports.Registry`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A routing with its versions opened. A request uses one from start to end."""

    routing: Routing
    predictors: Mapping[str, Predictor]
    """By version. A version under test that could not be opened is not there, and the champion answers for it."""

    @property
    def challenger(self) -> str | None:
        """The version under test, if it takes part: not while a new champion bakes."""
        version = self.routing.challenger
        return version if version in self.predictors and self.routing.previous is None else None

    @property
    def shadow(self) -> str | None:
        """The version that predicts beside the answers."""
        return self.challenger if self.routing.share == 0 else None

    def in_share(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows (n,) the challenger answers."""
        if self.challenger is None:
            return np.zeros(len(rows), dtype=bool)
        return np.array([self.routing.arm(key) == "challenger" for key in rows.keys], dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call of one version."""

    version: str
    arm: LoggedArm
    positions: Positions
    """Rows of the request that it was asked about (k,)."""
    predictions: FloatArray
    """(k,); nan where it failed."""
    error: str | None
    """What the whole call raised."""
    latency_ms: float

    @property
    def failed(self) -> Positions:
        """Rows of the request that it did not predict."""
        return self.positions[np.isnan(self.predictions)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of a request."""

    answer: Answer | None
    """None: the live version has no prediction for some of the rows."""
    attempts: tuple[Attempt, ...]
    """The last one is that of the live version, if it was asked."""
    shadow: Callable[[], Attempt] | None
    """To be called when the answer is out. Whatever goes wrong there stays there."""


class ModelServer:
    """Answers for one model and follows its releases. Threads may share it."""

    def __init__(
        self,
        spec: ModelSpec,
        ledger: Ledger,
        registry: Versions,
        log: TrafficWriter,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Bind; nothing is loaded before `refresh`.

        Args:
            spec: Of the model folder: what a request's rows must look like.
            ledger: Journal of the model; its release stream decides which versions answer.
            registry: Where versions are loaded from.
            log: Takes every prediction before it is answered.
            timer: Seconds from any fixed moment on.
        """
        self.spec = spec
        self._ledger, self._registry, self._log, self._timer = ledger, registry, log, timer
        self._snapshot: Snapshot | None = None
        self._head: int | None = None
        self._lock = threading.Lock()
        self.problem: str | None = None
        """Why the last refresh did not reach the newest routing."""
        self.failed_refreshes = 0

    @property
    def snapshot(self) -> Snapshot | None:
        """What answers now; None before the first release has been loaded."""
        return self._snapshot

    @property
    def state(self) -> ModelState:
        """What is loaded, for `/readyz`."""
        snapshot = self._snapshot
        if snapshot is None:
            return ModelState(problem=self.problem)
        route = snapshot.routing
        return ModelState(
            version=route.champion,
            challenger=snapshot.challenger,
            share=route.share if snapshot.challenger else 0.0,
            routing=route.sequence,
            problem=self.problem,
        )

    def refresh(self) -> bool:
        """Follow the ledger; whether another routing is now in force.

        Cheap when nothing has changed. New versions are loaded before they take part, and when ledger, registry or
        package do not do what they should, what was in force stays in force.
        """
        with self._lock:
            before = self._snapshot
            try:
                self._note(self._follow())
            except Exception as exc:  # noqa: BLE001  # a store or a package may raise anything; the service goes on
                self._note(f"{type(exc).__name__}: {exc}"[:500])
            return self._snapshot is not before

    def answer(self, rows: Rows, request_id: str) -> Answered:
        """Predict rows that are valid and have their days, and log what was predicted.

        Raises:
            NotFoundError: If no release has been loaded.
            OSError: If the log does not take the rows; then they must not be answered.
        """
        snapshot = self._snapshot
        if snapshot is None or snapshot.routing.champion is None:
            raise NotFoundError(
                f"Model {self.spec.name!r} has no released version that is loaded. "
                f"Release one, or look at /readyz for what is in the way."
            )
        attempts = self._attempts(snapshot, rows)
        champion = attempts[-1]
        if len(champion.failed):
            # A row that no version can predict says nothing against the challenger.
            self._log.write([line for line in self._lines(snapshot, rows, request_id, (champion,)) if line.error])
            return Answered(answer=None, attempts=(champion,), shadow=None)
        self._log.write(self._lines(snapshot, rows, request_id, attempts))
        shadow = partial(self._shadow, snapshot, snapshot.shadow, rows, request_id) if snapshot.shadow else None
        answer = Answer(request_id=request_id, model=self.spec.name, predictions=_by_row(attempts, len(rows)))
        return Answered(answer=answer, attempts=attempts, shadow=shadow)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _follow(self) -> str | None:
        """Make the newest routing the one in force; the problem that is left, if any."""
        head = self._ledger.head("release")
        if head == self._head:
            return None
        route = routing(self._ledger.entries("release"))
        if route.champion is None:
            self._snapshot, self._head = None, head
            return None
        predictors, missing = self._load(route)
        newest = Snapshot(routing=route, predictors=predictors)
        # With a version missing the head stays unknown, so that the next refresh tries again.
        self._head = None if missing else head
        if newest != self._snapshot:
            self._snapshot = newest
            logger.info("%s: routing %d, champion %s", self.spec.name, route.sequence, route.champion)
        return missing

    def _load(self, route: Routing) -> tuple[Mapping[str, Predictor], str | None]:
        """Predictors of the routing, and why one that is not the champion is left out."""
        known = self._snapshot.predictors if self._snapshot else {}
        opened: dict[str, Predictor] = {}
        missing: str | None = None
        for version in route.versions:
            try:
                opened[version] = known[version] if version in known else self._open(version, route.digests[version])
            except Exception as exc:
                if version == route.champion:
                    raise
                missing = f"version {version} is left out: {type(exc).__name__}: {exc}"[:500]
        return opened, missing

    def _open(self, version: str, digest: str | None) -> Predictor:
        predictor = self._registry.load(version=version, expected_digest=digest)
        unknown = sorted(set(predictor.spec.rows.columns) - set(self.spec.rows.columns))
        if unknown:
            raise SpecError(
                f"version {version} of {self.spec.name}",
                "rows.columns",
                f"has {listed(unknown)}, which requests here cannot have. Start the service again with its folder.",
            )
        return predictor

    def _note(self, problem: str | None) -> None:
        """Remember and log a problem, once however long it lasts."""
        if problem:
            self.failed_refreshes += 1
        if problem and problem != self.problem:
            logger.warning("%s: going on with what is loaded; %s", self.spec.name, problem)
        if self.problem and not problem:
            logger.info("%s: following the ledger again", self.spec.name)
        self.problem = problem

    def _attempts(self, snapshot: Snapshot, rows: Rows) -> tuple[Attempt, ...]:
        """The challenger's attempt at its share, if it has one, and the champion's at all that is left."""
        share = snapshot.in_share(rows)
        left = ~share
        attempts: list[Attempt] = []
        if snapshot.challenger is not None and share.any():
            tried = self._attempt(snapshot, snapshot.challenger, "challenger", rows, np.flatnonzero(share))
            attempts.append(tried)
            left[tried.failed] = True
        champion = snapshot.routing.champion or ""
        if left.any() or not attempts:
            attempts.append(self._attempt(snapshot, champion, "champion", rows, np.flatnonzero(left)))
        return tuple(attempts)

    def _attempt(self, snapshot: Snapshot, version: str, arm: LoggedArm, rows: Rows, positions: Positions) -> Attempt:
        predictions, error = np.full(len(positions), np.nan), None
        start = self._timer()
        try:
            with np.errstate(all="ignore"):  # a row out of all bounds is answered for, not warned about
                found = np.asarray(snapshot.predictors[version].predict(rows.take(positions)), dtype=np.float64)
            predictions[:] = np.where(np.isfinite(found.reshape(len(positions))), found, np.nan)
        except Exception as exc:  # noqa: BLE001  # feature code and estimator may raise anything
            error = f"{type(exc).__name__}: {exc}"[:ERROR_LENGTH]
            logger.warning("%s: version %s failed on %d rows: %s", self.spec.name, version, len(positions), error)
        latency_ms = (self._timer() - start) * 1000
        return Attempt(
            version=version, arm=arm, positions=positions, predictions=predictions, error=error, latency_ms=latency_ms
        )

    def _shadow(self, snapshot: Snapshot, version: str, rows: Rows, request_id: str) -> Attempt:
        attempt = self._attempt(snapshot, version, "shadow", rows, np.arange(len(rows)))
        try:
            self._log.write(self._lines(snapshot, rows, request_id, (attempt,)))
        except OSError as exc:
            logger.warning("%s: a shadow prediction is not in the log: %s", self.spec.name, exc)
        return attempt

    def _lines(
        self, snapshot: Snapshot, rows: Rows, request_id: str, attempts: tuple[Attempt, ...]
    ) -> list[PredictedRow]:
        return [
            PredictedRow(
                request_id=request_id,
                key=rows.keys[position],
                day=str(rows.days[position]),
                version=attempt.version,
                arm=attempt.arm,
                served=attempt.arm != "shadow" and not failed,
                route=snapshot.routing.sequence,
                prediction=None if failed else prediction,
                error=(attempt.error or "the prediction is not a finite number") if failed else None,
                latency_ms=round(attempt.latency_ms, 3),
            )
            for attempt in attempts
            for position, prediction, failed in zip(
                attempt.positions.tolist(),
                attempt.predictions.tolist(),
                np.isnan(attempt.predictions).tolist(),
                strict=True,
            )
        ]


def _by_row(attempts: tuple[Attempt, ...], count: int) -> list[RowAnswer]:
    """The answers in the order of the rows; where two versions tried, the later one counts."""
    answers: list[RowAnswer | None] = [None] * count
    for attempt in attempts:
        arm: Arm = "challenger" if attempt.arm == "challenger" else "champion"
        for position, prediction in zip(attempt.positions.tolist(), attempt.predictions.tolist(), strict=True):
            answers[position] = RowAnswer.model_construct(prediction=prediction, version=attempt.version, arm=arm)
    return [answer for answer in answers if answer is not None]
