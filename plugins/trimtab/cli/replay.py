"""`trimtab replay`: live the recorded past again under several policies, and show what each would have come to."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from trimtab.adapters.disk_cache import cache_folder
from trimtab.adapters.model_folder import ModelFolder, checked, load_folder, read_mapping
from trimtab.adapters.whole_files import write_whole
from trimtab.cli.history import days
from trimtab.cli.replay_folders import Plan
from trimtab.cli.replay_folders import Progress as Noted
from trimtab.cli.replay_past import load_month, month_root, months
from trimtab.cli.replay_policies import policy_folder, policy_root, run_policy
from trimtab.cli.replay_workers import in_worker, prepare_worker
from trimtab.domain.replaying import COMPARED, POLICIES, Outcome, PolicySpec
from trimtab.domain.spec import ModelSpec
from trimtab.errors import NotFoundError, RequestError, SpecError

REPORT_FILE = "report.html"
LOOK_S = 0.5
"""Between two looks at how far the workers have come."""
LONGEST_WARM_UP = timedelta(days=365)
"""Of a source that does not say when it begins: the first training learns from a year at most."""

console = Console()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What is compared."""

    plan: Plan
    folder: ModelFolder
    policies: Sequence[PolicySpec]


def plan_replay(
    model: Path, first: date, last: date, *, policies: Sequence[str], work: Path | None, warm_up: int | None
) -> Replay:
    """Check everything that was asked for, before anything is done.

    Raises:
        RequestError: If the days are not in order, or before the source begins.
        SpecError: If the model folder or a policy's file is wrong.
    """
    folder = load_folder(model)
    if first > last:
        raise RequestError(f"--from {first} is after --to {last}. Turn them round.")
    chosen = [_policy(name) for name in policies or COMPARED]
    names = [policy.name for policy in chosen]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RequestError(f"Two policies are called {twice[0]!r}. Give each a name of its own.")
    for policy, name in zip(chosen, policies or COMPARED, strict=True):
        policy_folder(folder, policy, name)
    plan = Plan(
        model=model.resolve(),
        work=(work or cache_folder() / "replay" / folder.spec.name).resolve(),
        warm_up=_warm_up(folder.spec, first, warm_up),
        first=first,
        last=last,
    )
    return Replay(plan=plan, folder=folder, policies=chosen)


def run_replay(replay: Replay, *, jobs: int, mlflow: str) -> Sequence[Outcome]:
    """Load what is missing, live each policy, print the table and write the report."""
    plan = replay.plan
    with _workers(jobs) as workers, _progress() as shown:
        loading = [workers.submit(in_worker, load_month, plan, month) for month in months(plan)]
        _watch(loading, [_Bar.of_past(shown, plan)])
        living = [workers.submit(in_worker, run_policy, plan, policy) for policy in replay.policies]
        _watch(living, [_Bar.of_policy(shown, plan, policy) for policy in replay.policies])
        outcomes = [future.result() for future in living]
    report = write_report(replay, outcomes)
    show(outcomes)
    console.print(f"Report: {report}", soft_wrap=True)
    if mlflow:
        _log(replay, outcomes, report, mlflow)
    return outcomes


def write_report(replay: Replay, outcomes: Sequence[Outcome]) -> Path:
    """The report as one file."""
    try:
        from trimtab.adapters.replay_report import report_html
    except ModuleNotFoundError as exc:
        raise NotFoundError(
            f"The report needs {exc.name}. Install it with `pip install 'trimtab[replay]'` and run the command again: "
            "what has been lived is kept."
        ) from exc

    plan = replay.plan
    file = plan.work / REPORT_FILE
    title = f"{replay.folder.spec.name}, {plan.first} to {plan.last}"
    write_whole(file, report_html(title, replay.folder.spec.label.title, outcomes).encode())
    return file


def show(outcomes: Sequence[Outcome]) -> None:
    """The table of what each policy came to, one column for each."""
    loss_name = outcomes[0].loss_name
    table = Table(title=f"{loss_name} by policy", title_justify="left")
    table.add_column("")
    for outcome in outcomes:
        table.add_column(outcome.policy, justify="right")
    table.add_row(f"{loss_name}, all days", *(f"[bold]{outcome.loss:.3f}[/bold]" for outcome in outcomes))
    for month in sorted({month for outcome in outcomes for month in outcome.loss_by_month}):
        table.add_row(month, *(_number(outcome.loss_by_month.get(month)) for outcome in outcomes))
    table.add_section()
    for name, value in _COUNTS.items():
        table.add_row(name, *(value(outcome) for outcome in outcomes))
    console.print(table)


_COUNTS: Mapping[str, Callable[[Outcome], str]] = {
    "fits": lambda outcome: str(outcome.fits),
    "recalibrations": lambda outcome: str(outcome.count("recalibration")),
    "promotions": lambda outcome: str(outcome.count("promotion")),
    "refusals": lambda outcome: str(outcome.count("refusal")),
    "rollbacks": lambda outcome: str(outcome.count("rollback")),
    "days with an alarm": lambda outcome: str(outcome.count("alarm")),
    "incidents": lambda outcome: str(outcome.count("incident")),
    "seconds": lambda outcome: f"{outcome.seconds:.0f}",
}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _policy(name: str) -> PolicySpec:
    """A policy by name, or from a file."""
    if name in POLICIES:
        return POLICIES[name]
    file = Path(name)
    if not file.is_file():
        known = ", ".join(POLICIES)
        raise NotFoundError(f"Policy {name!r} is neither a file nor one of {known}. Mend --policy.")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(name, "", f"cannot be read as UTF-8 text: {exc}. Mend it.") from exc
    return checked(PolicySpec, read_mapping(text, name), name)


def _warm_up(spec: ModelSpec, first: date, asked: int | None) -> date:
    """First day that is loaded: the source's first, or as many days before as a training can use."""
    begins = spec.source.first_day
    if asked is not None:
        wanted = first - timedelta(days=asked)
    elif begins is not None:
        wanted = max(begins, first - LONGEST_WARM_UP)
    else:
        longest = max(candidate.window_days for candidate in spec.train.candidates)
        wanted = first - timedelta(days=longest + spec.train.holdout_days + spec.label.delay_days)
    warm_up = max(wanted, begins) if begins else wanted
    if warm_up >= first:
        raise RequestError(f"--from {first} leaves no day before it to learn from: the source begins on {begins}.")
    return warm_up


# --- workers and how far they have come


@contextmanager
def _workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the policies share the cores already: more threads only spin
    # A forked process would inherit threads of Arrow and of the progress display that it does not have.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=prepare_worker) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in active_children():  # a policy may have minutes to go, and can be killed at any moment
                worker.kill()
            raise


@contextmanager
def _progress() -> Iterator[Progress]:
    count = (MofNCompleteColumn(), TextColumn("days"), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}"), BarColumn(), *count, console=console, speed_estimate_period=60
    ) as shown:
        yield shown


@dataclass(frozen=True, slots=True)
class _Bar:
    """A line of the display, and the folders whose notes fill it."""

    shown: Progress
    task: TaskID
    roots: Sequence[Path]
    wanted: frozenset[date]

    @classmethod
    def of_past(cls, shown: Progress, plan: Plan) -> "_Bar":
        wanted = frozenset(days(plan.warm_up, plan.last))
        roots = [month_root(plan, month) for month in months(plan)]
        return cls(shown, shown.add_task("recorded past", total=len(wanted)), roots, wanted)

    @classmethod
    def of_policy(cls, shown: Progress, plan: Plan, policy: PolicySpec) -> "_Bar":
        wanted = frozenset(days(plan.first - timedelta(days=1), plan.last))
        return cls(shown, shown.add_task(policy.name, total=len(wanted)), [policy_root(plan, policy)], wanted)

    def look(self) -> None:
        """Show what the workers have noted."""
        done = sum(len(Noted.of(root).done & self.wanted) for root in self.roots)
        self.shown.update(self.task, completed=done)

    def fill(self) -> None:
        """Show that all of it is done."""
        self.shown.update(self.task, completed=len(self.wanted))


def _watch(work: Sequence[Future[Any]], bars: Sequence[_Bar]) -> None:
    """Show how far the work has come until all of it is done; the first error ends it."""
    remaining = set(work)
    while remaining:
        finished, remaining = wait(remaining, timeout=LOOK_S)
        for future in finished:
            future.result()
        for bar in bars:
            bar.look()
    for bar in bars:  # of the last days the labels are still to come, so that they are never noted as done
        bar.fill()


def _log(replay: Replay, outcomes: Sequence[Outcome], report: Path, uri: str) -> None:
    from trimtab.adapters.mlflow_connection import MlflowConnection
    from trimtab.adapters.mlflow_replay import log_outcomes

    plan = replay.plan
    experiment = log_outcomes(
        MlflowConnection(uri, "", ""),  # MLflow reads user and password from its own variables
        replay.folder.spec.name,
        (plan.first.isoformat(), plan.last.isoformat()),
        outcomes,
        keys={policy.name: policy_root(plan, policy).name for policy in replay.policies},
        policies={policy.name: policy.model_dump_json() for policy in replay.policies},
        report=report,
    )
    console.print(f"MLflow: experiment {experiment} at {uri}", soft_wrap=True)
