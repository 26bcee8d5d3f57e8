"""Waits for a batch."""

from datetime import date
from typing import Any

from trimtab.adapters.stores import Stores
from trimtab.triggers.polling import PollTrigger


class BatchTrigger(PollTrigger):
    """Fires when the source can be read for a day.

    Args:
        as_of: ISO day of the batch.
    """

    def __init__(self, *, as_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.as_of = as_of

    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().arguments(), "as_of": self.as_of}

    def is_ready(self, stores: Stores) -> bool:
        """Whether file or table is there."""
        return stores.source.is_ready(date.fromisoformat(self.as_of))
