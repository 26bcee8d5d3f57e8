"""One model in the service: which versions answer now, and answering with them."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trimtab.adapters.outcome_log import OutcomeWriter
from trimtab.adapters.traffic_log import LoggedArm, TrafficWriter
from trimtab.domain.journal import Ledger
from trimtab.domain.ports import Predictor
from trimtab.domain.release import Routing, routing
from trimtab.domain.spec import ModelSpec
from trimtab.errors import NotFoundError, SpecError, listed
from trimtab.serving.attempts import Attempt, Positions, attempt, logged_rows
from trimtab.serving.cutover import Cutover
from trimtab.serving.deciders import Deciders
from trimtab.serving.messages import ModelState
from trimtab.serving.rows import Rows, joined

logger = logging.getLogger(__name__)


LONGEST_REFRESH_S = 30.0
"""A registry that does not answer says so within this time, and a database within less."""


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
        if self.challenger is None or not self.routing.share:
            return np.zeros(len(rows), dtype=bool)
        return np.array([self.routing.arm(key) == "challenger" for key in rows.keys], dtype=bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came of a batch."""

    attempts: tuple[Attempt, ...]
    """The later one counts where two versions tried a row; a row that nobody tried has no day that can be read."""
    route: int
    """Ledger sequence of the routing that was followed."""
    to_shadow: "ToShadow | None"
    """Rows for the version in shadow, when the answers are out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToShadow:
    """Rows of a batch that have been answered."""

    snapshot: Snapshot
    rows: Rows


class ModelServer:
    """Answers for one model and follows its releases. Threads may share it."""

    def __init__(
        self,
        spec: ModelSpec,
        ledger: Ledger,
        registry: Versions,
        log: TrafficWriter,
        outcomes: OutcomeWriter,
        *,
        cutover: Cutover | None = None,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Bind; nothing is loaded before `refresh`.

        Args:
            spec: Of the model folder: what a request's rows must look like.
            ledger: Journal of the model; its release stream decides which versions answer.
            registry: Where versions are loaded from.
            log: Takes every prediction before it is answered.
            outcomes: Takes what clients say became of the answers.
            cutover: Of all workers that answer for the model; None: there is only this one.
            timer: Seconds from any fixed moment on.
        """
        self.spec, self.outcomes = spec, outcomes
        self._ledger, self._registry, self._log, self._timer = ledger, registry, log, timer
        self._cutover = Cutover() if cutover is None else cutover
        self._deciders = Deciders(spec, ledger)
        self._prepared: Mapping[int, Snapshot] = {}
        """By ledger sequence, from the routing in force to the newest; replaced and never changed."""
        self._head: int | None = None
        self._lock = threading.Lock()
        self._problem: str | None = None
        self.has_followed = False
        """Whether the last refresh reached the newest routing."""
        self._refreshing_since: float | None = None
        self.failed_refreshes = 0

    @property
    def snapshot(self) -> Snapshot | None:
        """What answers now; None before the first release has been loaded, or while the other workers are ahead."""
        found = self._in_force()
        return found if found and found.routing.champion is not None else None

    @property
    def problem(self) -> str | None:
        """Why the newest routing is not in force, or may not be, here or in another worker."""
        since = self._refreshing_since
        seconds = self._timer() - since if since is not None else 0.0
        if seconds > LONGEST_REFRESH_S:
            return f"ledger or registry has been silent for {seconds:.0f} s"
        if self._problem:
            return self._problem
        behind = ", ".join(map(str, self._cutover.behind()))
        return f"routing {self._cutover.in_force} is in force, and not prepared in process {behind}" if behind else None

    @property
    def is_following(self) -> bool:
        """Whether the last refresh reached the newest routing, which all workers follow, and the next does not hang."""
        return self.has_followed and self.problem is None and self._cutover.in_force == max(self._prepared)

    @property
    def is_answered_elsewhere(self) -> bool:
        """Whether another worker follows the routing in force."""
        return self._cutover.has_followers

    @property
    def is_missed(self) -> bool:
        """Whether no version answers, and not because there was none at the last look at the ledger."""
        return self.snapshot is None and (self._head is None or self._in_force() is None)

    @property
    def state(self) -> ModelState:
        """What is loaded, for `/readyz`."""
        snapshot = self.snapshot
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
        """Follow the ledger; whether another routing is now prepared, which is in force when all workers have it.

        Cheap when nothing has changed. New versions are loaded before they take part, and when ledger, registry or
        package do not do what they should, what was in force stays in force.
        """
        with self._lock:
            before, self._refreshing_since = self._newest, self._timer()
            try:
                self._deciders.refresh()
                self._note(self._follow())
                self._prepared = self._needed()
            except Exception as exc:  # noqa: BLE001  # a store or a package may raise anything; the service goes on
                self._note(f"{type(exc).__name__}: {exc}"[:500])
                self._follow_others()
            finally:
                self._refreshing_since = None
            return self._newest is not before

    def answer(self, rows: Rows) -> Answered:
        """Predict the rows whose day can be read, and log what was predicted.

        Raises:
            NotFoundError: If no release has been loaded.
            OSError: If the log does not take the rows; then they must not be answered.
        """
        snapshot = self.snapshot
        if snapshot is None:
            raise NotFoundError(
                f"Model {self.spec.name!r} has no released version that is loaded. "
                f"Release one, or look at /readyz for what is in the way."
            )
        attempts = self._deciders.ruled(self._attempts(snapshot, rows), rows, snapshot.predictors)
        route = snapshot.routing.sequence
        self._log.write([line for tried in attempts for line in logged_rows(tried, rows, route)])
        to_shadow: ToShadow | None = None
        if snapshot.shadow is not None and attempts:
            # With the rows that the champion failed on: those that both fail on say nothing against either.
            positions = attempts[-1].positions
            to_shadow = ToShadow(snapshot=snapshot, rows=rows if len(positions) == len(rows) else rows.only(positions))
        return Answered(attempts=attempts, route=route, to_shadow=to_shadow)

    def predict_shadow(self, batches: Sequence[ToShadow]) -> Attempt:
        """Let the version in shadow predict batches that follow one routing, and log what it does.

        The first batch is predicted by itself, all the others together. What the log has as latency is that of the
        first: the champion had as many rows in its call. Whatever goes wrong here stays here.
        """
        snapshot, rows = batches[0].snapshot, joined([batch.rows for batch in batches])
        version, first = snapshot.shadow or "", np.arange(len(batches[0].rows))
        tried = self._attempt(snapshot, version, "shadow", rows, first)
        if len(rows) > len(first):
            others = self._attempt(snapshot, version, "shadow", rows, np.arange(len(first), len(rows)))
            tried = tried.followed_by(others)
        try:
            self._log.write(logged_rows(tried, rows, snapshot.routing.sequence))
        except OSError as exc:
            logger.warning("%s: shadow predictions are not in the log: %s", self.spec.name, exc)
        return tried

    def close(self) -> None:
        """Close the logs."""
        self._log.close()
        self.outcomes.close()

    def _in_force(self) -> Snapshot | None:
        """What all workers follow; None if it is not prepared here."""
        while True:
            prepared, sequence = self._prepared, self._cutover.in_force
            if sequence in prepared or prepared is self._prepared:
                return None if sequence is None else prepared.get(sequence)

    @property
    def _newest(self) -> Snapshot | None:
        return self._prepared[max(self._prepared)] if self._prepared else None

    def _needed(self) -> Mapping[int, Snapshot]:
        """What is prepared, without what will not be in force again."""
        in_force = self._cutover.in_force or 0
        return {sequence: prepared for sequence, prepared in self._prepared.items() if sequence >= in_force}

    def _follow(self) -> str | None:
        """Prepare the newest routing; the problem that is left, if any."""
        head = self._ledger.head("release")
        if head == self._head:
            return None
        route = routing(self._ledger.entries("release"))
        self._head = None  # until all of it is loaded, so that the next refresh tries again
        if self._newest is None or self._newest.routing.sequence < route.sequence:
            self._cutover.tell(route)
        missing = self._prepare(route)
        self._head = None if missing else head
        return missing

    def _follow_others(self) -> None:
        """Prepare what another worker has had of the ledger. Not a new worker, which knows nothing of who decides."""
        told = self._cutover.told
        if told and self._newest and self._newest.routing.sequence < told.sequence:
            with suppress(Exception):  # the problem that is noted came first
                self._prepare(told)

    def _prepare(self, route: Routing) -> str | None:
        """Open the versions of a routing; why one that is not the champion is left out, if it is."""
        start = self._timer()
        predictors, missing = self._load(route) if route.champion is not None else ({}, None)
        newest = Snapshot(routing=route, predictors=predictors)
        if newest != self._newest:
            self._prepared = {**self._prepared, route.sequence: newest}
            self._cutover.prepare(route.sequence, self._timer() - start)
            logger.info("%s: routing %d, champion %s", self.spec.name, route.sequence, route.champion)
        return missing

    def _load(self, route: Routing) -> tuple[Mapping[str, Predictor], str | None]:
        """Predictors of the routing, and why one that is not the champion is left out."""
        known = {version: one for held in self._prepared.values() for version, one in held.predictors.items()}
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
        if problem and problem != self._problem:
            logger.warning("%s: going on with what is loaded; %s", self.spec.name, problem)
        if self._problem and not problem:
            logger.info("%s: following the ledger again", self.spec.name)
        self._problem, self.has_followed = problem, problem is None

    def _attempts(self, snapshot: Snapshot, rows: Rows) -> tuple[Attempt, ...]:
        """The challenger's attempt at its share, if it has one, and the champion's at all that is left."""
        left = np.array([day is not None for day in rows.days], dtype=bool)
        share = left & snapshot.in_share(rows)
        attempts: list[Attempt] = []
        if snapshot.challenger is not None and share.any():
            tried = self._attempt(snapshot, snapshot.challenger, "challenger", rows, np.flatnonzero(share))
            left &= ~share
            left[tried.failed] = True
            attempts.append(tried)
        if left.any():
            attempts.append(
                self._attempt(snapshot, snapshot.routing.champion or "", "champion", rows, np.flatnonzero(left))
            )
        return tuple(attempts)

    def _attempt(self, snapshot: Snapshot, version: str, arm: LoggedArm, rows: Rows, positions: Positions) -> Attempt:
        return attempt(snapshot.predictors[version], version, arm, rows, positions, self._timer)
