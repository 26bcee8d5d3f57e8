"""The loop that all triggers of the bundle share."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from trimtab.adapters.stores import Stores
from trimtab.errors import TrimtabError
from trimtab.hooks.stores import StoresHook

READY, TIMEOUT, ERROR = "ready", "timeout", "error"


class PollTrigger(BaseTrigger):
    """Asks `is_ready` every few seconds until it says yes or the deadline has passed.

    Args:
        model: Name of the model.
        deadline: ISO moment (UTC) after which the event says `timeout`.
        poll_s: Seconds between two questions.
    """

    def __init__(self, *, model: str, deadline: str, poll_s: float = 2.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own
        self.model, self.deadline, self.poll_s = model, deadline, poll_s

    @abstractmethod
    def is_ready(self, stores: Stores) -> bool:
        """The fact that is waited for; runs in a thread."""

    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor, JSON-able."""
        return {"model": self.model, "deadline": self.deadline, "poll_s": self.poll_s}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Dotted name and arguments, for the triggerer."""
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event with `status`: ready, timeout, or error with a message."""
        stores = await asyncio.to_thread(StoresHook(self.model).stores)
        deadline = datetime.fromisoformat(self.deadline)
        while True:
            try:
                if await asyncio.to_thread(self.is_ready, stores):
                    yield _event(READY)
                    return
            except TrimtabError as exc:
                if not exc.retryable:
                    yield _event(ERROR, str(exc))
                    return
                self.log.warning("%s", exc)
            if datetime.now(UTC) >= deadline:
                yield _event(TIMEOUT)
                return
            await asyncio.sleep(self.poll_s)


def _event(status: str, message: str = "") -> TriggerEvent:
    return TriggerEvent({"status": status, "message": message})  # type: ignore[no-untyped-call]  # Airflow's own
