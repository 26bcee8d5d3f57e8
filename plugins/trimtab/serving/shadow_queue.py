"""The version in shadow: it predicts what the champion has answered, later and in a small part of the time."""

import asyncio
import logging
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

from trimtab.serving.model_server import ModelServer, ToShadow
from trimtab.serving.telemetry import Telemetry

logger = logging.getLogger(__name__)

SHARE_OF_TIME = 0.05
"""What the shadow may take of one processor, whatever it does. Under load answers wait for each other, so that they are
slower by about twice that."""
SHORTEST_REST_S = 0.05
"""Between two calls, so that many batches become one: a call for a few rows costs more than those rows."""
ROWS_WAITING = 10_000
"""Rows that may wait for the shadow; those beyond are not predicted by it."""
ROWS_AT_ONCE = 100
"""Rows that it predicts together, if they come in batches smaller than this. More would keep Python's lock for longer:
with 1,000 rows one answer in a hundred was later by 20 ms, with 200 by 6, with 100 by 2."""


class ShadowQueue:
    """Answered rows of one model that wait for the shadow. It belongs to one event loop."""

    def __init__(self, server: ModelServer, telemetry: Telemetry) -> None:
        """Bind to a model."""
        self._server, self._telemetry = server, telemetry
        self._thread = ThreadPoolExecutor(1, "shadow")
        self._waiting: deque[ToShadow] = deque()
        self._rows = 0
        self._work: asyncio.Task[None] | None = None
        self._is_closing = asyncio.Event()

    def add(self, answered: ToShadow) -> None:
        """Let the rows wait, if there is room for them."""
        if self._rows + len(answered.rows) > ROWS_WAITING:
            self._telemetry.skipped(self._server.spec.name, len(answered.rows))
            return
        self._waiting.append(answered)
        self._rows += len(answered.rows)
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._predict())

    async def close(self) -> None:
        """Predict what waits, without a rest."""
        self._is_closing.set()
        if self._work is not None:
            await self._work
        self._thread.shutdown()

    async def _predict(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            start = time.perf_counter()
            try:
                attempt = await loop.run_in_executor(self._thread, self._server.predict_shadow, self._take())
                self._telemetry.tried(self._server.spec.name, attempt)
            except Exception:
                logger.exception("%s: the shadow has left out some rows", self._server.spec.name)
            taken_s = time.perf_counter() - start
            await self._rest(max(taken_s * (1 / SHARE_OF_TIME - 1), SHORTEST_REST_S))
        self._work = None

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._is_closing.wait(), seconds)
        except TimeoutError:
            return

    def _take(self) -> list[ToShadow]:
        """The batches that are next and follow the same routing."""
        first = self._waiting[0]
        same = list(takewhile(lambda one: one.snapshot is first.snapshot, self._waiting))
        taken = [self._waiting.popleft()]
        rows = len(first.rows)
        for one in same[1:]:
            if rows + len(one.rows) > ROWS_AT_ONCE:
                break
            rows += len(one.rows)
            taken.append(self._waiting.popleft())
        self._rows -= rows
        return taken
