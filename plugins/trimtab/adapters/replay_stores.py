"""The stores of one policy of a replay: a past that ends with the present day, and decisions of its own."""

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from trimtab.adapters.day_files import DayFiles
from trimtab.adapters.folder_registry import FolderRegistry
from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.model_folder import ModelFolder
from trimtab.adapters.recorded_past import RecordedPast
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.adapters.stores import Addresses, Stores, UriOfConnection
from trimtab.domain.columns import Columns
from trimtab.domain.guards import ArmTraffic
from trimtab.domain.journal import Draft, Entry, Ledger, Stream
from trimtab.domain.latency import latency_bin
from trimtab.domain.ports import Lake, Registry, Table
from trimtab.domain.release import Routing
from trimtab.domain.sequential import Moments

LEDGER_FILE = "ledger.db"
LATENCY_MS = 1.0
"""The same for every version: latency is not replayed."""
ColumnsOf: TypeAlias = Callable[[pd.DataFrame], Columns]


@dataclass(slots=True)
class Today:
    """The present day of a replay, which its stores look at."""

    day: date


class LakeOfToday:
    """The lake as it was on the present day: batches up to it, labels that have arrived, predictions of the policy.

    The version of a table is the number of its days that are known: the same on every try, and on a
    replay that goes on to a later day.
    """

    def __init__(self, past: RecordedPast, own: DayFiles, today: Today, delay_days: int) -> None:
        """`own` keeps the tables that differ between policies."""
        self._past, self._own, self._today = past, own, today
        at_once = timedelta(0)
        self._delays: Mapping[Table, timedelta] = {
            "batches": at_once,
            "quarantine": at_once,
            "labels": timedelta(days=delay_days),
        }

    def write(self, table: Table, day: date, frame: pd.DataFrame, part: str = "all") -> None:
        """Write what is the policy's own; what is shared was written by the same stage when it was recorded."""
        if table not in self._delays:
            self._own.write(table, day, frame, part)

    def read(
        self,
        table: Table,
        first: date,
        last: date,
        *,
        columns: Sequence[str] | None = None,
        part: str | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        """Rows of the days first to last that are known today."""
        if table not in self._delays:
            return self._own.read(table, first, last, columns=columns, part=part)
        known = self.days(table)[:version]
        return self._past.tables[table].read(first, min(last, known[-1] if known else date.min), columns, part)

    def days(self, table: Table) -> Sequence[date]:
        """Days that are known today."""
        if table not in self._delays:
            return self._own.days(table)
        days = self._past.tables[table].days
        return days[: bisect_right(days, self._today.day - self._delays[table])]

    def version(self, table: Table) -> int:
        """Number of days that are known today."""
        return len(self.days(table)) or -1


@dataclass(slots=True)
class LedgerOfToday:
    """A ledger that has one writer, and so remembers what it holds; batches are those of the recorded past."""

    own: Ledger
    batches: Sequence[Entry]
    today: Today
    _known: dict[Stream, list[Entry]] = field(default_factory=dict)

    def append(self, draft: Draft, *, after: int) -> Entry:
        """Write through; what is remembered is what would be read again."""
        known = self._stream(draft.stream)
        entry = self.own.append(draft, after=after)
        known.append(replace(entry, payload=json.loads(json.dumps(entry.payload))))
        return entry

    def entries(self, stream: Stream, subject: str | None = None) -> Sequence[Entry]:
        """Entries of a stream; of the batches those that have arrived."""
        if stream == "batch":
            found = [entry for entry in self.batches if entry.as_of <= self.today.day]
        else:
            found = self._stream(stream)
        return [entry for entry in found if subject is None or entry.subject == subject]

    def head(self, stream: Stream) -> int:
        """Sequence number of the last entry."""
        known = self._stream(stream)
        return known[-1].sequence if known else 0

    def _stream(self, stream: Stream) -> list[Entry]:
        if stream not in self._known:
            self._known[stream] = list(self.own.entries(stream))
        return self._known[stream]


class BatchTraffic:
    """The rows of the present day stand for the requests of a step: each version predicts those it would have got."""

    def __init__(self, lake: Lake, registry: Registry, columns_of: ColumnsOf, today: Today) -> None:
        """Bind to the stores of a policy; `columns_of` makes the columns of a batch."""
        self._lake, self._registry, self._columns_of, self._today = lake, registry, columns_of, today

    def arms(self, routing: Routing) -> Mapping[str, ArmTraffic]:
        """A prediction that is no finite number is a failure, as it is for the prediction service."""
        batch = self._lake.read("batches", self._today.day, self._today.day)
        if not len(batch):
            return {}
        keys = batch["_key"].tolist()
        answered = np.array([routing.share == 0 or routing.arm(key) == "challenger" for key in keys])
        chosen = {routing.champion: ~answered if routing.share else np.ones(len(batch), bool)}
        chosen[routing.challenger] = answered
        return {version: self._arm(version, batch[mask]) for version, mask in chosen.items() if version}

    def _arm(self, version: str, batch: pd.DataFrame) -> ArmTraffic:
        predictions = self._registry.load(version=version).predict(self._columns_of(batch))
        finite = np.isfinite(predictions)
        return ArmTraffic(
            requests=len(batch),
            failures=int((~finite).sum()),
            latencies={latency_bin(LATENCY_MS): len(batch)},
            outputs=Moments.of(predictions[finite]),
        )


class NoFigures:
    """Figures that nobody looks at: the report of a replay has its own."""

    def nothing(self, *_: object, **__: object) -> bytes:
        """An empty file."""
        return b""

    daily_errors = slice_errors = predicted_against_actual = residuals = calibration = probabilities = nothing


class FolderStores(Stores):
    """All ports of one model, with every store in one folder."""

    def __init__(self, folder: ModelFolder, root: Path, uri_of: UriOfConnection) -> None:
        """Bind to a folder, which need not exist."""
        addresses = Addresses(
            models=(folder.path.parent,),
            lake=str(root / "lake"),
            ledger=f"sqlite:///{root / LEDGER_FILE}",
            registry="",
            traffic=root / "traffic",
        )
        super().__init__(addresses, folder.spec.name, uri_of)
        self.root, self._folder = root, folder

    @cached_property
    def folder(self) -> ModelFolder:
        """The model folder, with what a policy changes in its spec."""
        return self._folder

    @cached_property
    def ledger(self) -> Ledger:
        """The decisions."""
        self.root.mkdir(parents=True, exist_ok=True)
        engine = open_engine(f"sqlite:///{self.root / LEDGER_FILE}")
        migrate(engine)
        return SqlLedger(engine, self._folder.spec.name)

    @cached_property
    def registry(self) -> Registry:
        """The models."""
        return FolderRegistry(self.root / "registry", self._folder.spec.name)


class PolicyStores(FolderStores):
    """The ports that a policy sees on the present day."""

    def __init__(
        self,
        folder: ModelFolder,
        root: Path,
        uri_of: UriOfConnection,
        *,
        batches: Sequence[Entry],
        recorded: RecordedPast,
        columns_of: ColumnsOf,
        today: date,
    ) -> None:
        """`batches` and `recorded` are what all policies share."""
        super().__init__(folder, root, uri_of)
        self._batches, self._recorded, self._columns_of, self.today = batches, recorded, columns_of, Today(today)

    @cached_property
    def lake(self) -> Lake:
        """The rows that are known today."""
        own = DayFiles(self.root / "lake")
        return LakeOfToday(self._recorded, own, self.today, self._folder.spec.label.delay_days)

    @cached_property
    def ledger(self) -> Ledger:
        """The policy's decisions."""
        return LedgerOfToday(super().ledger, self._batches, self.today)

    @cached_property
    def plotter(self) -> NoFigures:
        """No figures."""
        return NoFigures()

    @cached_property
    def traffic(self) -> BatchTraffic:
        """The present day's rows."""
        return BatchTraffic(self.lake, self.registry, self._columns_of, self.today)
