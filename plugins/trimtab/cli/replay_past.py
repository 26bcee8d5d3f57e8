"""Loading the recorded past of a replay, once for all policies, its months side by side."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from typing import TypeAlias

from trimtab.adapters.model_folder import ModelFolder, load_folder
from trimtab.adapters.recorded_past import record_tables
from trimtab.adapters.replay_stores import FolderStores
from trimtab.cli.check import uri_of
from trimtab.cli.history import days, label_day, take_in
from trimtab.cli.replay_folders import Plan, Progress, alone, short_hash
from trimtab.domain.journal import Entry
from trimtab.domain.spec import CsvSource, ParquetSource
from trimtab.errors import BatchMissingError

OnDay: TypeAlias = Callable[[date], None]


def nothing(day: date) -> None:
    """What is done after a day if nobody watches."""


def past_root(plan: Plan) -> Path:
    """Folder of the recorded past: named by all that it follows from."""
    folder = load_folder(plan.model)
    spec = folder.spec
    state = [
        *(section.model_dump_json() for section in (spec.source, spec.rows, spec.label)),
        _file_state(folder),
        (folder.path / spec.validation.suite).read_text(encoding="utf-8"),
        plan.past_code,
    ]
    return plan.work / f"past-{short_hash(state)}"


def months(plan: Plan) -> Sequence[date]:
    """First days of the months that are loaded; each has stores of its own, so that they can be loaded side by side."""
    return sorted({day.replace(day=1) for day in days(plan.warm_up, plan.last)})


def month_root(plan: Plan, month: date) -> Path:
    """Folder of a month's stores."""
    return past_root(plan) / f"{month:%Y-%m}"


def load_month(plan: Plan, month: date, on_day: OnDay = nothing) -> None:
    """Ingest, validate and label every day of a month that is not there yet, and lay out its tables."""
    folder, root = load_folder(plan.model), month_root(plan, month)
    wanted = [day for day in days(plan.warm_up, plan.last) if day.replace(day=1) == month]
    with alone(root):
        if not recorded_tables(plan, month).exists():
            stores = FolderStores(folder, root, uri_of(os.environ))
            stores.ledger.head("batch")  # makes the ledger of a month that has no batch
            progress = Progress.of(root)
            for day in wanted:
                if day not in progress.done:
                    progress = progress.after(day, seconds=_load_day(day, plan, stores))
                    if day + _delay(folder) <= plan.last:  # else its labels have not arrived: there is more to come
                        progress.note(root)
                on_day(day)
            record_tables(stores.lake, recorded_tables(plan, month), wanted[0], wanted[-1])


def recorded_tables(plan: Plan, month: date) -> Path:
    """Folder of a month's tables by day, named by the days and the labels that they have."""
    following = (month + timedelta(days=31)).replace(day=1)
    labels = min(plan.last, following - timedelta(days=1) + _delay(load_folder(plan.model)))
    return month_root(plan, month) / f"tables-{max(plan.warm_up, month)}-{labels}"


def _load_day(day: date, plan: Plan, stores: FolderStores) -> float:
    """Take in a day's batch, and its labels if they arrive within the replay; the seconds it took."""
    began = time.monotonic()
    arrival = day + _delay(stores.folder)
    with suppress(BatchMissingError):  # a day without a batch is a day without rows, for every policy
        take_in(day, stores)
        if arrival <= plan.last:
            label_day(arrival, stores)
    return time.monotonic() - began


def _delay(folder: ModelFolder) -> timedelta:
    return timedelta(days=folder.spec.label.delay_days)


def batch_entries(plan: Plan, month: date) -> Sequence[Entry]:
    """What the ledger of a month says about its batches."""
    folder = load_folder(plan.model)
    return FolderStores(folder, month_root(plan, month), uri_of(os.environ)).ledger.entries("batch")


def _file_state(folder: ModelFolder) -> str:
    """Size and time of the source, where it is one file; files of single days are taken as they are."""
    source = folder.spec.source
    if not isinstance(source, CsvSource | ParquetSource):
        return ""
    file = folder.resolve(source.path)
    stat = file.stat() if file.is_file() else None
    return f"{stat.st_size} {stat.st_mtime_ns}" if stat else ""
