"""A small client that keeps asking the prediction service, as an application would."""

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any

from trimtab.errors import RequestError
from trimtab.serving.client import PredictionClient


class SteadyTraffic:
    """Asks for one row after the other, until it is stopped."""

    def __init__(self, url: str, token: str, model: str, *, per_second: float) -> None:
        """Bind to a service; `rows` must be given before the first request is sent."""
        self._client = PredictionClient(url, token)
        self._model, self._pause = model, 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rows: list[dict[str, Any]] = []
        self.answered: Counter[str] = Counter()
        """Requests answered by each version."""
        self.failed: list[str] = []
        """What went wrong, if anything did."""

    def __enter__(self) -> "SteadyTraffic":
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop after the request that is under way."""
        self._stop.set()
        self._thread.join(timeout=35)
        self._client.close()

    def _run(self) -> None:
        sent = 0
        while not self._stop.wait(self._pause):
            rows = self.rows
            if rows:
                self._ask(rows[sent % len(rows)])
                sent += 1

    def _ask(self, row: dict[str, Any]) -> None:
        try:
            answer = self._client.predict(self._model, [row])
            self.answered[answer.predictions[0].version or ""] += 1
        except RequestError as exc:
            self.failed.append(str(exc))
            time.sleep(1)
