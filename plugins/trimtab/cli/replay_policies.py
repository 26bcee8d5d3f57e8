"""A replay's two kinds of work: loading the recorded past once, and living it day by day under one policy.

Both can be killed at any moment. What is done is noted after each day, and a day that was begun is done again: the
stages see to it that nothing is made twice.
"""

import fcntl
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from pydantic import TypeAdapter

from trimtab.adapters.model_folder import ModelFolder, checked, load_folder
from trimtab.adapters.recorded_past import RecordedPast, record_tables
from trimtab.adapters.replay_stores import FolderStores, PolicyStores
from trimtab.adapters.whole_files import write_whole
from trimtab.cli.check import uri_of
from trimtab.cli.history import bake, days, decide_day, finish, judge_day, label_day, release, take_in, train_challenger
from trimtab.domain.journal import Entry, Ledger
from trimtab.domain.metrics import LOSS_NAMES, losses
from trimtab.domain.release import releases
from trimtab.domain.replaying import DayLoss, Event, EventKind, Outcome, PolicySpec, Schedule, Verdicts, is_due
from trimtab.domain.retraining import Action, RetrainDecision
from trimtab.domain.spec import CsvSource, ModelSpec, ParquetSource
from trimtab.domain.verdict import Status
from trimtab.errors import BatchMissingError, NotFoundError, TrimtabError
from trimtab.stages.frames import columns_of
from trimtab.stages.release import roll_back
from trimtab.stages.retrain import open_incident
from trimtab.stages.score import PART as BATCH

ACTOR = "replay"
FIRST_REASON = "first training"
PROGRESS_FILE, OUTCOME_FILE, LOCK_FILE = "progress.json", "outcome.json", "lock"
LONGEST_BAKE_DAYS = 60
"""As the task `bake` waits: a release without labels is rolled back then."""
LOCK_TIMEOUT_S = 30.0
"""A killed replay's workers end within a moment."""
PAST_CODE = (
    "stages/ingest.py",
    "stages/validate.py",
    "stages/feedback.py",
    "stages/frames.py",
    "adapters/delta_lake.py",
    "adapters/recorded_past.py",
)
"""What decides what a recorded past looks like, beside the model folder."""
POLICY_CODE = ("domain", "stages", "adapters", "cli/history.py", "cli/replay_policies.py")
"""What decides what a policy does: a replay that is resumed with other code would be neither the old nor the new."""

OnDay: TypeAlias = Callable[[date], None]
Result = TypeVar("Result")
_outcome_json = TypeAdapter(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is replayed. Small and picklable: workers open everything themselves."""

    model: Path
    work: Path
    warm_up: date
    """First day that is loaded."""
    first: date
    """First day that is scored; the first training knows what was known on the day before."""
    last: date
    past_code: str = field(default_factory=lambda: _code_digest(PAST_CODE))
    """What the stages said when the replay began: all its workers go by it."""
    policy_code: str = field(default_factory=lambda: _code_digest(POLICY_CODE))

    @property
    def first_window_days(self) -> int:
        """Days that can be known to the first training."""
        return (self.first - self.warm_up).days


def nothing(day: date) -> None:
    """What is done after a day if nobody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a folder's work has come."""

    done: frozenset[date] = frozenset()
    seconds: float = 0.0

    @classmethod
    def of(cls, root: Path) -> "Progress":
        """What is noted in a folder."""
        try:
            noted = json.loads((root / PROGRESS_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        return cls(done=frozenset(map(date.fromisoformat, noted["done"])), seconds=noted["seconds"])

    def after(self, day: date, seconds: float) -> "Progress":
        """The progress when one more day is done."""
        return Progress(done=self.done | {day}, seconds=self.seconds + seconds)

    def note(self, root: Path) -> None:
        """Note it in a folder."""
        content = {"done": sorted(day.isoformat() for day in self.done), "seconds": self.seconds}
        write_whole(root / PROGRESS_FILE, json.dumps(content).encode())


# --- the past


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
    return plan.work / f"past-{_short_hash(state)}"


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
    with _alone(root):
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


# --- a policy


def policy_folder(model: ModelFolder, policy: PolicySpec, file: str) -> ModelFolder:
    """The model folder under a policy.

    Raises:
        SpecError: Naming the key of the policy's file that the spec does not allow.
    """
    return replace(model, spec=checked(ModelSpec, policy.changed(model.spec), file))


def policy_root(plan: Plan, policy: PolicySpec) -> Path:
    """Folder of a policy's stores: named by all that its decisions follow from, but for the last day."""
    folder = policy_folder(load_folder(plan.model), policy, policy.name)
    state = [
        past_root(plan).name,
        folder.fingerprint,
        policy.model_dump_json(exclude={"name", "description"}),
        plan.warm_up.isoformat(),
        plan.first.isoformat(),
        plan.policy_code,
    ]
    return plan.work / f"{policy.name}-{_short_hash(state)}"


def run_policy(plan: Plan, policy: PolicySpec, on_day: OnDay = nothing) -> Outcome:
    """Live the past under a policy, from where it was left, and say what it came to."""
    root = policy_root(plan, policy)
    with _alone(root):
        stored = _stored_outcome(root, plan)
        if stored is not None:
            return replace(stored, policy=policy.name, description=policy.description)
        stores = _open(plan, policy, root)
        progress = Progress.of(root)
        for day in [plan.first - timedelta(days=1), *days(plan.first, plan.last)]:
            if day not in progress.done:
                progress = progress.after(day, seconds=_live(day, plan, policy, stores))
                progress.note(root)
            on_day(day)
        stores.today.day = plan.last
        outcome = _outcome(plan, policy, stores, progress.seconds)
        stored_file = {"last": plan.last.isoformat(), "outcome": _outcome_json.dump_python(outcome, mode="json")}
        write_whole(root / OUTCOME_FILE, json.dumps(stored_file).encode())
        return outcome


def prepare_worker() -> None:
    """Let a worker end when the process that began it does, however that ends, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def in_worker(work: Callable[..., Result], *arguments: object) -> Result:
    """Do some work; an error crosses to the other process as its words, since not all can be taken apart."""
    try:
        return work(*arguments)
    except TrimtabError as error:
        raise TrimtabError(str(error)) from None


def _open(plan: Plan, policy: PolicySpec, root: Path) -> PolicyStores:
    folder = policy_folder(load_folder(plan.model), policy, policy.name)
    connections = uri_of(os.environ)
    tables = [recorded_tables(plan, month) for month in months(plan)]
    return PolicyStores(
        folder,
        root,
        connections,
        batches=[entry for month in months(plan) for entry in _batches(folder, month_root(plan, month))],
        recorded=RecordedPast(tables),
        columns_of=partial(columns_of, spec=folder.spec.rows),
        today=plan.first,
    )


def _batches(folder: ModelFolder, root: Path) -> Sequence[Entry]:
    return FolderStores(folder, root, uri_of(os.environ)).ledger.entries("batch")


def _live(day: date, plan: Plan, policy: PolicySpec, stores: PolicyStores) -> float:
    """Do what is due on a day; the seconds it took."""
    began = time.monotonic()
    stores.today.day = day
    if day < plan.first:
        _begin(day, plan, policy, stores)
    else:
        label_day(day, stores)
        judge_day(day, stores)
        _bake(day, stores)
        if isinstance(policy.act, Verdicts):
            # Without a gate nothing is compared, and so no former champion is either.
            _act(day, decide_day(day, stores, recalls=policy.ask_gate), policy, stores)
        elif isinstance(policy.act, Schedule) and _is_scheduled(day, policy.act, stores.ledger):
            _retrain(day, f"every {policy.act.days} days", policy, stores)
    return time.monotonic() - began


def _begin(day: date, plan: Plan, policy: PolicySpec, stores: PolicyStores) -> None:
    """The first version is released whatever the gate says: without one there is nothing to compare."""
    spec = stores.folder.spec
    window = plan.first_window_days - spec.label.delay_days - spec.train.holdout_days
    trained = train_challenger(day, stores, reason=FIRST_REASON, window_days=max(window, 2))
    if isinstance(trained, str):
        raise NotFoundError(
            f"Policy {policy.name!r}: no first training as of {day}: {trained}. Begin later (--from), or earlier days "
            "have to be loaded (--warm-up)."
        )
    _release(trained.version, day, FIRST_REASON, policy, stores)


def _release(version: str, day: date, reason: str, policy: PolicySpec, stores: PolicyStores) -> None:
    """Under a policy that never looks back, a version is live at once and for good."""
    steps = stores.folder.spec.release.steps if policy.roll_back else ()
    release(version, stores, as_of=day, actor=ACTOR, reason=reason, steps=steps)
    if not policy.roll_back:
        finish(version, stores, as_of=day, reasons=["the policy does not look back"])


def _bake(day: date, stores: PolicyStores) -> None:
    """End or undo what is live, as soon as the labels say so."""
    for one in releases(stores.ledger.entries("release")).values():
        if one.state != "live":
            continue
        report = bake(one.version, stores)
        live = [entry.as_of for entry in stores.ledger.entries("release", one.version) if entry.kind == "live"][-1]
        too_long = (day - live).days >= LONGEST_BAKE_DAYS
        if report.outcome == "pass":
            finish(one.version, stores, as_of=day, reasons=report.reasons)
        elif report.outcome == "trip" or too_long:
            reason = f"bake: {'; '.join(report.reasons)}"
            roll_back(
                one.version, as_of=day, actor="guard", reason=reason, ledger=stores.ledger, registry=stores.registry
            )


def _act(day: date, decision: RetrainDecision, policy: PolicySpec, stores: PolicyStores) -> None:
    """What the DAG `watch` does."""
    if decision.action is Action.INCIDENT:
        open_incident(day, decision.reason, ledger=stores.ledger)
    elif decision.action is Action.RETRAIN:
        _retrain(day, decision.reason, policy, stores)
    elif decision.action is Action.RECALL and decision.version is not None:
        _release(decision.version, day, decision.reason, policy, stores)


def _is_scheduled(day: date, act: Schedule, ledger: Ledger) -> bool:
    trained = [entry.as_of for entry in ledger.entries("training")]
    busy = any(one.is_open for one in releases(ledger.entries("release")).values())
    return day in trained or (is_due(day, trained, act) and not busy)  # the day itself: it has been begun before


def _retrain(day: date, reason: str, policy: PolicySpec, stores: PolicyStores) -> None:
    trained = train_challenger(day, stores, reason=reason)
    if isinstance(trained, str):
        return  # as the DAG skips it: there is too little to learn from
    if not trained.decision.promote and policy.ask_gate:
        return
    known = releases(stores.ledger.entries("release")).values()
    if any(one.is_open and one.version != trained.version for one in known):
        return  # the release is refused, as the task `request` would
    _release(trained.version, day, trained.decision.summary if policy.ask_gate else reason, policy, stores)


# --- what it came to


def _outcome(plan: Plan, policy: PolicySpec, stores: PolicyStores, seconds: float) -> Outcome:
    events = _events(plan, policy, stores.ledger)
    retrained = sum(event.kind == "retrain" for event in events)
    return Outcome(
        policy=policy.name,
        description=policy.description,
        loss_name=LOSS_NAMES[stores.folder.spec.label.task],
        days=tuple(_served_losses(plan, stores)),
        events=tuple(events),
        fits=retrained * len(stores.folder.spec.train.candidates),
        seconds=seconds,
    )


def _served_losses(plan: Plan, stores: PolicyStores) -> Iterator[DayLoss]:
    """Each day's served predictions against the labels that are known on the last day."""
    task = stores.folder.spec.label.task
    predictions = stores.lake.read("predictions", plan.first, plan.last, part=BATCH)
    if not len(predictions):
        return
    served = predictions.loc[predictions["served"], ["_day", "_key", "prediction"]]
    labels = stores.lake.read("labels", plan.first, plan.last, columns=["_day", "_key", "label"])
    joined = served.merge(labels, on=["_day", "_key"])
    for day, rows in joined.groupby("_day", sort=True):
        y_true, y_pred = (rows[name].to_numpy(dtype=np.float64) for name in ("label", "prediction"))
        yield DayLoss(day=date.fromisoformat(str(day)), rows=len(rows), loss=float(losses(task, y_true, y_pred).mean()))


def _events(plan: Plan, policy: PolicySpec, ledger: Ledger) -> Sequence[Event]:
    """What the ledger says happened on the days of the replay."""
    found = [
        *(_event("retrain", entry, "reason") for entry in ledger.entries("training")),
        *(_event("alarm", entry, "summary") for entry in ledger.entries("verdict") if entry.kind == Status.DECAY),
        *(_event("incident", entry, "reason") for entry in ledger.entries("incident")),
        *_release_events(ledger.entries("release")),
    ]
    if policy.ask_gate:
        found += [_event("refusal", entry, "summary") for entry in ledger.entries("gate") if entry.kind == "refused"]
    return sorted((event for event in found if plan.first <= event.day <= plan.last), key=lambda event: event.day)


def _release_events(entries: Sequence[Entry]) -> Iterator[Event]:
    requests: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == "requested":
            requests[entry.subject] = entry
        elif entry.kind == "live" and requests[entry.subject].payload.get("previous"):
            yield _event("promotion", replace(entry, payload=requests[entry.subject].payload), "reason")
        elif entry.kind == "rolled_back":
            yield _event("rollback", entry, "reason")


def _event(kind: EventKind, entry: Entry, key: str) -> Event:
    return Event(day=entry.as_of, kind=kind, reason=str(entry.payload.get(key, "")))


def _stored_outcome(root: Path, plan: Plan) -> Outcome | None:
    try:
        stored = json.loads((root / OUTCOME_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if stored["last"] != plan.last.isoformat():
        return None
    return _outcome_json.validate_python(stored["outcome"], strict=False)


# --- names, locks and files


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold a folder for one process.

    Raises:
        TrimtabError: If another process keeps holding it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK_FILE).open("w") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise TrimtabError(
                    f"Another replay is working in {root}. Wait for it, or choose another --work folder."
                )
            time.sleep(0.1)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _short_hash(state: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(state).encode()).hexdigest()[:12]


def _file_state(folder: ModelFolder) -> str:
    """Size and time of the source, where it is one file; files of single days are taken as they are."""
    source = folder.spec.source
    if not isinstance(source, CsvSource | ParquetSource):
        return ""
    file = folder.resolve(source.path)
    stat = file.stat() if file.is_file() else None
    return f"{stat.st_size} {stat.st_mtime_ns}" if stat else ""


def _code_digest(parts: Sequence[str]) -> str:
    package = Path(__file__).parents[1]
    files = [
        file
        for part in parts
        for file in ([package / part] if part.endswith(".py") else (package / part).rglob("*.py"))
    ]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()
