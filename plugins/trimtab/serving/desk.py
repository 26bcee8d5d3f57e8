"""Where the requests of all protocols come together: rows that arrive together are predicted together."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from trimtab.domain.automation import Decider, Level
from trimtab.domain.explanation import Effects
from trimtab.domain.release import Arm
from trimtab.errors import OverloadedError
from trimtab.serving.attempts import NOT_FINITE, Attempt, rulings_of
from trimtab.serving.model_server import Answered, ModelServer, Snapshot
from trimtab.serving.rows import Value, as_rows, day_form
from trimtab.serving.shadow_queue import ShadowQueue
from trimtab.serving.telemetry import Telemetry

FAILED = "it failed; the log of predictions says how"
BATCH_ROWS = 1000
"""Rows of a batch: as many as one request may have, so that no request waits for more than its own size."""
ROWS_WAITING = 20_000
"""Rows that may wait for a model. More would be answered too late for anybody, while those that come fare no better."""
LOOKS = 2
"""Turns of the event loop before a batch is taken: in one it reads what has come, in the other that becomes rows."""
IN_THE_LOOP_S = 0.005
"""A batch that should take less is predicted by the event loop itself, see ADR 16: a thread that computes would keep
Python's lock from the loop for most of that time, so that it would hardly be free any sooner."""
IN_THE_LOOP_ROWS = 200
"""Larger batches are never predicted by it: how long one takes is known of batches as they mostly are."""
FADING = 0.9
"""What is left of a slow batch's time, for what is expected of the next, with each that is not as slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOutcome:
    """What came of one row."""

    prediction: float | None
    """None: there is none, or the person who decides must not see it."""
    version: str | None
    arm: Arm | None
    problem: str | None
    """Why there is no prediction; then the others are None."""
    decided_by: Decider | None = None
    level: Level | None = None
    effects: Effects = ()
    """Why the model proposes what it does, if a person decides."""
    route: int | None = None
    """Ledger sequence of the routing that was followed, the same for all rows of a request."""


@dataclass(slots=True)
class _Asked:
    """A request that waits for its outcomes."""

    rows: Sequence[Sequence[Value]]
    request_id: str
    positions: Sequence[int]
    """Of each row in its request, which log and outcomes name it by: rows that are not right are left out."""
    outcomes: asyncio.Future[list[RowOutcome]]

    def succeed(self, outcomes: list[RowOutcome]) -> None:
        if not self.outcomes.done():  # else whoever asked has gone
            self.outcomes.set_result(outcomes)

    def fail(self, exc: Exception) -> None:
        if not self.outcomes.done():
            self.outcomes.set_exception(exc)


@dataclass(slots=True)
class _Queue:
    """What waits for one model."""

    waiting: deque[_Asked] = field(default_factory=deque)
    rows: int = 0
    is_served: bool = False
    expected_s: float = math.inf
    """How long the next batch may take."""
    snapshot: Snapshot | None = None
    """The versions that this is known of."""

    def follow(self, snapshot: Snapshot | None) -> None:
        """Forget what was known of other versions."""
        if snapshot is not self.snapshot:
            self.snapshot, self.expected_s = snapshot, math.inf

    def note(self, seconds: float) -> None:
        """Learn from a batch: the slow ones are remembered longer."""
        self.expected_s = seconds if math.isinf(self.expected_s) else max(seconds, FADING * self.expected_s)

    def take(self) -> list[_Asked]:
        """The requests that are next, up to a batch of rows, without those that nobody waits for any more."""
        taken: list[_Asked] = []
        count = 0
        while self.waiting and (not count or count + len(self.waiting[0].rows) <= BATCH_ROWS):
            asked = self.waiting.popleft()
            self.rows -= len(asked.rows)
            if not asked.outcomes.done():
                count += len(asked.rows)
                taken.append(asked)
        return taken


class Desk:
    """Predicts for all protocols and all models. It belongs to one event loop.

    A batch is whatever has come when the batch before has been answered, so that nothing ever waits for company.
    """

    def __init__(
        self,
        models: Mapping[str, ModelServer],
        telemetry: Telemetry,
        *,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Bind to the models that are served; `timer` gives seconds from any fixed moment on."""
        self._telemetry, self._timer = telemetry, timer
        self._queues = {name: _Queue() for name in models}
        self._shadows = {name: ShadowQueue(server, telemetry) for name, server in models.items()}
        # A batch at a time for each model; two models share the processors as the system sees fit.
        self._threads = ThreadPoolExecutor(max(len(models), 1), "predict")
        self._tasks: set[asyncio.Task[None]] = set()

    async def predict(
        self,
        server: ModelServer,
        rows: Sequence[Sequence[Value]],
        request_id: str,
        positions: Sequence[int] | None = None,
    ) -> list[RowOutcome]:
        """Outcomes in the order of the rows.

        Args:
            server: The model.
            rows: Each has its values in the order of `spec.rows.columns`.
            request_id: Names the request in the log.
            positions: Of each row in its request; None: as they are here.

        Raises:
            NotFoundError: If no released version is loaded.
            OverloadedError: If too many rows wait already.
            OSError: If the log does not take the rows.
        """
        if not rows:
            return []
        queue = self._queues[server.spec.name]
        if queue.waiting and queue.rows + len(rows) > ROWS_WAITING:
            raise OverloadedError(
                f"{queue.rows} rows are waiting to be predicted by {server.spec.name}. Ask more slowly."
            )
        places = range(len(rows)) if positions is None else positions
        asked = _Asked(rows, request_id, places, asyncio.get_running_loop().create_future())
        queue.waiting.append(asked)
        queue.rows += len(rows)
        if not queue.is_served:
            queue.is_served = True
            task = asyncio.get_running_loop().create_task(self._serve(server, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await asked.outcomes

    async def close(self) -> None:
        """Wait for all that is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        for shadow in self._shadows.values():
            await shadow.close()
        self._threads.shutdown()

    async def _serve(self, server: ModelServer, queue: _Queue) -> None:
        while batch := await _next(queue):
            try:
                outcomes, answered = await self._answered(server, queue, batch)
            except Exception as exc:  # noqa: BLE001  # whoever asked has to deal with it
                if isinstance(exc, OSError):
                    self._telemetry.unlogged(server.spec.name)
                for asked in batch:
                    asked.fail(exc)
            else:
                for asked, found in zip(batch, outcomes, strict=True):
                    asked.succeed(found)
                self._follow_up(server.spec.name, answered)
        queue.is_served = False

    async def _answered(
        self, server: ModelServer, queue: _Queue, batch: Sequence[_Asked]
    ) -> tuple[list[list[RowOutcome]], Answered]:
        rows = sum(len(asked.rows) for asked in batch)
        queue.follow(server.snapshot)
        start = self._timer()
        if queue.expected_s < IN_THE_LOOP_S and rows <= IN_THE_LOOP_ROWS:
            outcomes, answered = _answer(server, batch)
        else:
            loop = asyncio.get_running_loop()
            outcomes, answered = await loop.run_in_executor(self._threads, _answer, server, batch)
        if answered.attempts and rows <= IN_THE_LOOP_ROWS:  # else no model was asked
            queue.note(self._timer() - start)
        return outcomes, answered

    def _follow_up(self, model: str, answered: Answered) -> None:
        for attempt in answered.attempts:
            self._telemetry.tried(model, attempt)
        if answered.to_shadow is not None:
            self._shadows[model].add(answered.to_shadow)


async def _next(queue: _Queue) -> list[_Asked]:
    if queue.waiting:
        for _ in range(LOOKS):
            await asyncio.sleep(0)
    return queue.take()


def _answer(server: ModelServer, batch: Sequence[_Asked]) -> tuple[list[list[RowOutcome]], Answered]:
    """The outcomes of each request, and what was tried for them."""
    spec = server.spec.rows
    names = [(asked.request_id, position) for asked in batch for position in asked.positions]
    rows = as_rows([row for asked in batch for row in asked.rows], spec, names)
    answered = server.answer(rows)
    outcomes = [_without(day_form(spec))] * len(rows)
    for attempt in answered.attempts:
        for position, outcome in zip(attempt.positions.tolist(), _outcomes(attempt, answered.route), strict=True):
            outcomes[position] = outcome
    remaining = iter(outcomes)
    return [list(islice(remaining, len(asked.rows))) for asked in batch], answered


def _outcomes(attempt: Attempt, route: int) -> list[RowOutcome]:
    arm: Arm = "challenger" if attempt.arm == "challenger" else "champion"
    return [
        RowOutcome(
            prediction=None if ruling.is_silent else prediction,
            version=attempt.version,
            arm=arm,
            problem=None,
            decided_by=ruling.decided_by,
            level=ruling.level,
            effects=ruling.effects,
            route=route,
        )
        if error is None
        # What feature code raises is for the log: it may show the inside of the service.
        else _without(
            f"version {attempt.version} has no prediction for it ({error if error == NOT_FINITE else FAILED})"
        )
        for prediction, error, ruling in zip(
            attempt.predictions.tolist(), attempt.errors, rulings_of(attempt), strict=True
        )
    ]


def _without(problem: str) -> RowOutcome:
    return RowOutcome(prediction=None, version=None, arm=None, problem=problem)
