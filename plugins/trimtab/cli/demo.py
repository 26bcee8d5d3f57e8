"""The demo: real flights, a decay that the labels show, a retraining, a guarded release.

History is loaded through the same stage functions that the DAGs call; from 22 April on each day is a run of the
scheduled DAG in Airflow.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from trimtab.adapters.stores import Addresses, Stores
from trimtab.cli.airflow_api import AirflowApi
from trimtab.cli.history import days, finish_baking, load_day, release, train_first, watch_day
from trimtab.cli.processes import Supervisor, running
from trimtab.cli.topology import AIRFLOW_USER, HOST, MLFLOW_USER, Home, environment
from trimtab.cli.traffic import SteadyTraffic
from trimtab.domain.journal import Entry, latest_by_subject
from trimtab.domain.release import releases
from trimtab.errors import TrimtabError

MODEL = "flight_air_time"
FIRST_WINDOW_DAYS = 83
"""1 January to the hold-out in the last week of March."""
PER_SECOND = 40.0
STEP_TIMEOUT_S = 600.0

T = TypeVar("T")

console = Console()


class DemoError(TrimtabError, RuntimeError):
    """The demo did not see what it shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The days of a demo."""

    first: date = date(2013, 1, 1)
    champion: date = date(2013, 3, 31)
    """The first champion is trained as of this day."""
    loaded: date = date(2013, 4, 21)
    """Later days are runs in Airflow."""
    last: date = date(2013, 5, 31)
    """The decay begins on 29 April; by here it must have been found."""


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the closing table."""

    at: str
    day: str
    what: str


class Demo:
    """One run of the demo on a home that it owns."""

    def __init__(self, home: Home, *, hands_on: bool, plan: Plan) -> None:
        """`hands_on`: a person answers the approval in Airflow's UI."""
        self._home, self._hands_on, self._plan = home, hands_on, plan
        self._began = time.monotonic()
        self._events: list[Event] = []

    def run(self, supervisor: Supervisor) -> None:
        """Everything, up to the closing table."""
        supervisor.start()
        addresses = Addresses.from_environment(environment(self._home))
        stores = Stores(addresses, MODEL, str)  # its source is a file: no connection is asked for
        self._load(stores, self._plan.first, self._plan.champion)
        supervisor.wait_ready()
        version = self._first_champion(stores)
        self._load_watched(stores, version)
        ports = self._home.ports
        token = self._home.secret("prediction_token")
        traffic = SteadyTraffic(f"http://{HOST}:{ports.serving}", token, MODEL, per_second=PER_SECOND)
        with self._open_airflow() as airflow, traffic:
            traffic.rows = _request_rows(stores, self._plan.loaded)
            day, challenger = self._run_days_until_promotion(airflow, stores, traffic)
            self._follow_release(airflow, stores, challenger)
            self._bake(airflow, stores, traffic, challenger, day)
        self._close(stores, traffic, challenger)

    def _load(self, stores: Stores, first: date, last: date) -> None:
        with _progress("Loading January to March", (last - first).days + 1) as advance:
            for day in days(first, last):
                load_day(day, stores)
                advance()
        self._note(last, f"{(last - first).days + 1} days of flights loaded and validated")

    def _first_champion(self, stores: Stores) -> str:
        with console.status("Training the first champion on January to March"):
            trained = train_first(self._plan.champion, stores, window_days=FIRST_WINDOW_DAYS, reason="first champion")
        version = trained.version
        if not trained.decision.promote:
            raise DemoError(f"The gate refused the first champion: {trained.decision.summary}")
        release(version, stores, as_of=self._plan.champion, actor="demo", reason="first champion")
        self._note(
            self._plan.champion, f"version {version} trained, passed the gate and went live as the first champion"
        )
        return version

    def _load_watched(self, stores: Stores, version: str) -> None:
        first = self._plan.champion + timedelta(days=1)
        with _progress("Scoring and judging April", (self._plan.loaded - first).days + 1) as advance:
            for day in days(first, self._plan.loaded):
                load_day(day, stores)
                watch_day(day, stores)
                finish_baking(version, stores, as_of=day)
                advance()
        self._note(
            self._plan.loaded,
            f"three quiet weeks scored; MAE of version {version}: {_mean_mae(stores, version):.1f} min",
        )

    def _open_airflow(self) -> AirflowApi:
        url = f"http://{HOST}:{self._home.ports.airflow}"
        airflow = AirflowApi(url, AIRFLOW_USER, self._home.secret("airflow_admin_password"))
        dag_ids = [f"{MODEL}.{kind}" for kind in ("daily", "watch", "train", "release")]
        airflow.wait_for_dags(dag_ids)
        for dag_id in dag_ids:
            airflow.unpause(dag_id)
        console.print(f"Airflow is at {url} ({AIRFLOW_USER} / {self._home.secret('airflow_admin_password')})")
        return airflow

    def _run_days_until_promotion(
        self, airflow: AirflowApi, stores: Stores, traffic: SteadyTraffic
    ) -> tuple[date, str]:
        """Each day through Airflow; a first challenger may have seen too little of the new season for the gate."""
        for day in days(self._plan.loaded + timedelta(days=1), self._plan.last):
            decision = self._run_day(airflow, stores, traffic, day)
            if decision.kind == "retrain":
                self._note(day, f"decay found: {decision.payload['reason']}")
                if challenger := self._follow_training(airflow, stores, day):
                    return day, challenger
        raise DemoError(
            f"No challenger was promoted until {self._plan.last}. Look at the page Trimtab in Airflow for the reasons."
        )

    def _run_day(self, airflow: AirflowApi, stores: Stores, traffic: SteadyTraffic, day: date) -> Entry:
        began = time.monotonic()
        run_id = airflow.run_day(f"{MODEL}.daily", day)
        state = airflow.wait_for_run(f"{MODEL}.daily", run_id)
        if state != "success":
            raise DemoError(
                f"Run {run_id} of {MODEL}.daily ended as {state}: {airflow.task_states(f'{MODEL}.daily', run_id)}"
            )
        traffic.rows = _request_rows(stores, day)
        decision = _wait_for(lambda: stores.ledger.entries("retraining", day.isoformat()), f"a decision about {day}")[
            -1
        ]
        verdict = stores.ledger.entries("verdict", day.isoformat())[-1]
        console.print(
            f"  {day}  {verdict.kind:<16} {_errors_of(stores, day - timedelta(days=1)):<24} {decision.kind:<9} "
            f"{time.monotonic() - began:4.1f} s"
        )
        return decision

    def _follow_training(self, airflow: AirflowApi, stores: Stores, day: date) -> str | None:
        with console.status("Airflow trains a challenger, compares it and asks the gate"):
            state = airflow.wait_for_run(f"{MODEL}.train", f"decay__{day}")
        gates = [entry for entry in stores.ledger.entries("gate") if entry.as_of == day]
        if state != "success" or not gates:
            raise DemoError(f"{MODEL}.train ended as {state}: {airflow.task_states(f'{MODEL}.train', f'decay__{day}')}")
        self._note(day, f"the gate: {gates[-1].payload['summary']}")
        if gates[-1].kind != "promoted":
            return None
        return list(_wait_for(lambda: _open_releases(stores), "the request of a release"))[-1]

    def _follow_release(self, airflow: AirflowApi, stores: Stores, version: str) -> None:
        dag_id, run_id = f"{MODEL}.release", f"version__{version}"
        _wait_for(lambda: airflow.task_states(dag_id, run_id).get("approve") == "awaiting_input", "the approval")
        if self._hands_on:
            url = f"http://{HOST}:{self._home.ports.airflow}/dags/{dag_id}/runs/{run_id}"
            console.print(f"[bold]Your turn:[/] approve the release at {url} (task approve, tab Required Actions)")
        else:
            airflow.approve(dag_id, run_id, "approve", "answered by the demo")
        seen = 0
        timeout = 24 * 3600.0 if self._hands_on else STEP_TIMEOUT_S
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            entries = stores.ledger.entries("release", version)
            for entry in entries[seen:]:
                name = entry.payload.get("step") or entry.kind
                self._note(
                    entry.as_of, f"release of version {version}: {name} {entry.payload.get('actor', '')}".rstrip()
                )
            seen = len(entries)
            if entries[-1].kind == "live":
                return
            if entries[-1].kind in ("rejected", "rolled_back"):
                raise DemoError(
                    f"Release of version {version} was {entries[-1].kind}: {entries[-1].payload.get('reason')}"
                )
            time.sleep(0.5)
        raise DemoError(f"Release of version {version} is not live after {timeout:.0f} s. Look at {dag_id} in Airflow.")

    def _bake(self, airflow: AirflowApi, stores: Stores, traffic: SteadyTraffic, version: str, day: date) -> None:
        for later in days(day + timedelta(days=1), self._plan.last):
            self._run_day(airflow, stores, traffic, later)
            if len(_baked_days(stores, version)) >= stores.folder.spec.release.bake_days:
                break
        state = airflow.wait_for_run(f"{MODEL}.release", f"version__{version}", timeout_s=120)
        last = stores.ledger.entries("release", version)[-1]
        self._note(last.as_of, f"release of version {version}: {last.kind} ({last.payload.get('reason')})")
        if state != "success" or last.kind != "done":
            raise DemoError(f"Release of version {version} ended as {last.kind}: {last.payload.get('reason')}")

    def _close(self, stores: Stores, traffic: SteadyTraffic, version: str) -> None:
        previous = releases(stores.ledger.entries("release"))[version].previous or ""
        table = Table("after", "day", "what happened", title="What happened")
        for event in self._events:
            table.add_row(event.at, event.day, event.what)
        console.print(table)
        console.print(_error_table(stores, previous, version))
        answered = ", ".join(f"version {name}: {count}" for name, count in sorted(traffic.answered.items()))
        console.print(f"Requests answered while all this went on: {answered}; failed: {len(traffic.failed)}")
        if traffic.failed:
            console.print(f"The first failure: {traffic.failed[0]}")

    def _note(self, day: date, what: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        self._events.append(Event(f"{minutes}:{seconds:02d}", day.isoformat(), what))
        console.print(f"[green]{minutes}:{seconds:02d}[/] {day} {what}", highlight=False)


def demo_home(environment: Mapping[str, str]) -> Home:
    """Where the demo lives: in TRIMTAB_HOME if that is set, always on SQLite."""
    general = Home.from_environment({"TRIMTAB_HOME": environment.get("TRIMTAB_HOME", "")})
    return Home(general.path / "demo")


def run_demo(*, hands_on: bool, stay: bool, plan: Plan | None = None) -> None:
    """Run the demo on a clean home of its own; with `stay` the servers run until Ctrl-C.

    Raises:
        DemoError: If something that the demo shows did not happen.
    """
    home = demo_home(os.environ)
    if names := running(home):
        raise DemoError(f"A demo is running in {home.path} ({', '.join(names)}). End it with `make down` first.")
    shutil.rmtree(home.path, ignore_errors=True)
    with Supervisor(home) as supervisor:
        Demo(home, hands_on=hands_on, plan=plan or Plan()).run(supervisor)
        _print_addresses(home)
        if stay:
            console.print("Everything runs on until Ctrl-C.")
            supervisor.watch()


def _print_addresses(home: Home) -> None:
    """Each address on a line of its own, whatever the width of the terminal, so that it can be clicked or copied."""
    from trimtab.adapters.mlflow_connection import MlflowConnection
    from trimtab.adapters.mlflow_registry import MlflowRegistry

    ports = home.ports
    airflow, mlflow = f"http://{HOST}:{ports.airflow}", f"http://{HOST}:{ports.mlflow}"
    password = home.secret("mlflow_admin_password")
    registry = MlflowRegistry(lambda: MlflowConnection(mlflow, MLFLOW_USER, password), MODEL)
    places = (
        (f"Airflow ({AIRFLOW_USER} / {home.secret('airflow_admin_password')})", airflow),
        ("Airflow, page Trimtab", f"{airflow}/plugin/trimtab"),
        (f"MLflow, versions ({MLFLOW_USER} / {password})", registry.versions_page),
        ("MLflow, comparison", registry.comparison_page()),
        (f"Predictions, API docs (any name / token in {home.token_file})", f"http://{HOST}:{ports.serving}/docs"),
    )
    console.print("Where to look", style="bold")
    for what, address in places:
        console.print(f"{what}\n  {address}", soft_wrap=True, highlight=False, markup=False)


def _error_table(stores: Stores, previous: str, version: str) -> Table:
    table = Table("day", f"MAE of version {previous}", f"MAE of version {version}", title="Before and after, minutes")
    days = _measured(stores)
    both = {day: values for day, values in days.items() if version in values}
    before = dict(list(days.items())[-7 - len(both) : -len(both)])
    table.add_row("week before", f"{_average(before, previous):.1f}", "")
    for day, values in both.items():
        table.add_row(day, _mae_text(values.get(previous)), _mae_text(values[version]))
    table.add_row("all days of both", f"{_average(both, previous):.1f}", f"{_average(both, version):.1f}", style="bold")
    return table


def _measured(stores: Stores) -> dict[str, dict[str, Any]]:
    return {
        day: dict(entry.payload) for day, entry in sorted(latest_by_subject(stores.ledger.entries("feedback")).items())
    }


def _average(days: dict[str, dict[str, Any]], version: str) -> float:
    values = [values[version]["loss"] for values in days.values() if version in values]
    return float(np.mean(values)) if values else float("nan")


def _mae_text(values: Any) -> str:
    return f"{values['loss']:.1f}" if values else ""


def _mean_mae(stores: Stores, version: str) -> float:
    return _average(_measured(stores), version)


def _errors_of(stores: Stores, day: date) -> str:
    values = _measured(stores).get(day.isoformat(), {})
    return ", ".join(f"v{version} {one['loss']:.1f} min" for version, one in values.items())


def _baked_days(stores: Stores, version: str) -> list[str]:
    from trimtab.stages.bake import labelled_days

    return list(labelled_days(version, stores.ledger))


def _open_releases(stores: Stores) -> list[str]:
    return [one.version for one in releases(stores.ledger.entries("release")).values() if one.is_open]


def _request_rows(stores: Stores, day: date) -> list[dict[str, Any]]:
    """Rows of a day as an application would send them."""
    frame = stores.lake.read("batches", day, day)[list(stores.folder.spec.rows.columns)]
    integers = [name for name, kind in stores.folder.spec.rows.columns.items() if kind == "integer"]
    frame = frame.astype(dict.fromkeys(integers, "int64")).astype(object)
    records = frame.where(pd.notna(frame), None).to_dict(orient="records")
    return [{str(name): value for name, value in record.items()} for record in records]


def _wait_for(question: Callable[[], T], what: str, timeout_s: float = 180.0) -> T:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.3)
    raise DemoError(f"There is still no sign of {what} after {timeout_s:.0f} s. Look at the runs in Airflow.")


@contextmanager
def _progress(what: str, total: int) -> Iterator[Any]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
