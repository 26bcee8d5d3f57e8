"""What the guards of a release still need, kept ready for the page, which waits for no log to be read."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.adapters.stores import Stores
    from trimtab.domain.guards import GuardReport

WAIT_S = 1.0
"""For guards to be asked, before the page shows what they said the last time."""


@dataclass(slots=True)
class _Known:
    """What is known about the step of a release."""

    stores: "Stores"
    release: int
    """Ledger sequence at which the step began."""
    asking: "Future[GuardReport | None]"
    said: "GuardReport | None" = None


@dataclass(frozen=True, slots=True)
class GuardReader:
    """Asks the guards in a thread of its own, one model at a time."""

    open_stores: "Callable[[str], Stores]"
    wait_s: float = WAIT_S
    _known: dict[str, _Known] = field(default_factory=dict)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "guards"))

    def said(self, model: str, began: int) -> "GuardReport | None":
        """What the guards say about the step that began with this ledger sequence, as far as it is known by now.

        Raises:
            Exception: Whatever the stores raise.
        """
        known = self._known.get(model)
        if known is None or known.release != began:
            stores = self.open_stores(model)
            known = self._known[model] = _Known(stores, began, self._thread.submit(_ask, stores))
        elif known.asking.done():
            known.asking = self._thread.submit(_ask, known.stores)
        with suppress(NotYetError):
            known.said = known.asking.result(self.wait_s)
        return known.said


def _ask(stores: "Stores") -> "GuardReport | None":
    from trimtab.stages.release import watch_present  # noqa: PLC0415  # takes seconds, for a release only

    spec = stores.folder.spec
    return watch_present(
        spec=spec.release, label=spec.label, ledger=stores.ledger, traffic=stores.traffic, lake=stores.lake
    )
