"""Waits for a verdict."""

from datetime import date
from typing import Any

from trimtab.adapters.stores import Stores
from trimtab.triggers.polling import PollTrigger


class VerdictTrigger(PollTrigger):
    """Fires when a day has been judged.

    Args:
        as_of: ISO day that is judged.
    """

    def __init__(self, *, as_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.as_of = as_of

    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().arguments(), "as_of": self.as_of}

    def is_ready(self, stores: Stores) -> bool:
        """Whether the ledger has a verdict of the day."""
        return bool(stores.ledger.entries("verdict", date.fromisoformat(self.as_of).isoformat()))
