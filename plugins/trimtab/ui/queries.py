"""Reads the ledgers of all models for the status page, and asks the guards of a release that is in a step."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from pathlib import Path

from airflow.sdk.exceptions import AirflowException
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from trimtab.adapters.model_folder import load_all
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.domain.guards import GuardReport
from trimtab.domain.journal import Entry, Ledger, Stream
from trimtab.domain.release import releases
from trimtab.errors import LedgerUnavailableError, NotFoundError, TrimtabError
from trimtab.hooks.stores import LEDGER, StoresHook, model_search_path, uri_of
from trimtab.stages.bake import labelled_days
from trimtab.ui.evidence import GuardReader
from trimtab.ui.history import ModelHistory, history_of
from trimtab.ui.proposals import with_proposals
from trimtab.ui.status import STREAMS, Card, Level, ModelStatus, Streams, newest, status_of

log = logging.getLogger(__name__)

CURE = (
    f"Start its database, run `trimtab migrate` if it is new, and look at Airflow's connection {LEDGER!r}. "
    "Tasks that need it try again by themselves."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """All models, the most urgent first."""

    models: tuple[ModelStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPage:
    """One model with its history."""

    status: ModelStatus
    history: ModelHistory


@dataclass(frozen=True, slots=True)
class StreamMemory:
    """One model's streams, kept between two looks: an entry never changes, so only a new one makes it read again."""

    ledger: Ledger
    known: dict[Stream, Sequence[Entry]] = field(default_factory=dict)

    def streams(self) -> Streams:
        """Every stream in order. Of the verdicts, which are long, only the newest has its findings."""
        return {stream: self._entries(stream) for stream in STREAMS}

    def _entries(self, stream: Stream) -> Sequence[Entry]:
        known = self.known.get(stream, ())
        if len(known) != self.ledger.head(stream) or (known and not self._is_still(known[-1])):
            known = self.ledger.entries(stream)
            self.known[stream] = _without_old_findings(known) if stream == "verdict" else known
        return self.known.get(stream, ())

    def _is_still(self, last: Entry) -> bool:
        """Whether the database still has this entry: somebody may have started a new one."""
        found = self.ledger.entries(last.stream, last.subject)[-1:]
        return [(one.sequence, one.recorded_at) for one in found] == [(last.sequence, last.recorded_at)]


@dataclass(frozen=True, slots=True)
class StatusReader:
    """Finds the model folders and opens the ledger of each."""

    search: Callable[[], Sequence[Path]]
    open_ledger: Callable[[str], Ledger]
    guards: Callable[[str, int], GuardReport | None] = lambda _model, _began: None
    """What guards say of a model's step, by the ledger sequence at which it began."""
    memories: dict[str, StreamMemory] = field(default_factory=dict)
    """By model."""

    def names(self) -> tuple[str, ...]:
        """Names of all model folders, also of those that cannot be read."""
        return tuple(card.name for card in self._cards())

    def board(self, now: datetime) -> Board:
        """The cards of all models.

        Args:
            now: Wall clock (UTC).

        Raises:
            LedgerUnavailableError: If the ledger cannot be read.
        """
        models = [self._status(card, now)[0] for card in self._cards()]
        order = list(Level)
        return Board(models=tuple(sorted(models, key=lambda model: (order.index(model.level), model.name))))

    def model(self, name: str, now: datetime) -> ModelPage:
        """One model.

        Raises:
            NotFoundError: If it has no folder.
            LedgerUnavailableError: If the ledger cannot be read.
        """
        cards = {card.name: card for card in self._cards()}
        if name not in cards:
            raise NotFoundError(f"There is no model folder {name!r}. There are: {', '.join(sorted(cards)) or 'none'}.")
        status, streams = self._status(cards[name], now)
        return ModelPage(status=status, history=history_of(streams))

    def _cards(self) -> list[Card]:
        good, bad = load_all(self.search())
        broken = [Card(name=Path(error.file).parent.name, spec=None, problem=str(error)) for error in bad]
        known = [Card(name=folder.spec.name, spec=folder.spec) for folder in good]
        return sorted([*known, *broken], key=lambda card: card.name)

    def _status(self, card: Card, now: datetime) -> tuple[ModelStatus, Streams]:
        try:
            if card.name not in self.memories:
                self.memories[card.name] = StreamMemory(self.open_ledger(card.name))
            memory = self.memories[card.name]
            streams = memory.streams()
            guards = self._said_by_guards(card.name, streams)
            status = status_of(card, streams, baked=_baked(streams, memory.ledger), guards=guards)
            return with_proposals(status, card.spec, now), streams
        except (AirflowException, SQLAlchemyError, TrimtabError, ImportError) as exc:
            # The address may hold a password, so the page says what to do and the log has the cause.
            raise LedgerUnavailableError(f"The ledger cannot be read ({type(exc).__name__}). {CURE}") from exc

    def _said_by_guards(self, model: str, streams: Streams) -> GuardReport | None:
        known = releases(streams["release"]).values()
        began = next((release.began for release in known if release.state in ("step", "live")), None)
        if began is None:
            return None
        try:
            return self.guards(model, began)
        except Exception:
            log.warning("%s: the guards could not be asked", model, exc_info=True)
            return None


def _baked(streams: Streams, ledger: Ledger) -> int:
    known = releases(streams["release"]).values()
    baking = next((release.version for release in known if release.state == "live"), None)
    return len(labelled_days(baking, ledger)) if baking else 0


def _without_old_findings(verdicts: Sequence[Entry]) -> Sequence[Entry]:
    last = newest(verdicts)
    return [entry if entry is last else replace(entry, payload={**entry.payload, "findings": []}) for entry in verdicts]


@cache
def _engine(url: str) -> Engine:
    return open_engine(url)


def airflow_reader() -> StatusReader:
    """The reader for the addresses that Airflow's connections hold."""
    return StatusReader(
        search=model_search_path,
        open_ledger=lambda model: SqlLedger(_engine(uri_of(LEDGER)), model),
        guards=GuardReader(lambda model: StoresHook(model).stores()).said,
    )
