"""Starting and ending the processes of a topology, so that nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import httpx
import psutil
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from trimtab.cli.port_claims import PortClaims
from trimtab.cli.topology import HOST, PREPARATIONS, Home, Process, environment, processes
from trimtab.errors import StartupError

READY_S = 300.0
GRACE_S = 20.0
"""Between asking a process to end and ending it."""
ASK_AGAIN_S = 2.0
FORCED_S = 5.0
"""For the system to end what is forced to."""
POLL_S = 0.25
TAIL_LINES = 15
WATCHER = "trimtab"
"""Name of the supervisor itself among the processes."""

SignalHandler = Callable[[int, FrameType | None], Any] | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A process as it is written down for `trimtab down`; the time tells it from a later one of the same number."""

    name: str
    pid: int
    since: float
    """Seconds since the epoch."""

    @classmethod
    def of(cls, name: str, pid: int) -> "Started":
        """A process that is running now."""
        return cls(name=name, pid=pid, since=psutil.Process(pid).create_time())

    @property
    def is_a_stranger(self) -> bool:
        """Whether its number now belongs to somebody else."""
        try:
            return abs(psutil.Process(self.pid).create_time() - self.since) >= 1
        except psutil.NoSuchProcess:
            return False

    @property
    def is_running(self) -> bool:
        """Whether the process, or something that it has started, still runs.

        The number of a leader that has gone is not given away as long as its session has members.
        """
        if self.is_a_stranger:
            return False
        return _is_running(self.pid) if self.name == WATCHER else bool(_members([self.pid]))


class Supervisor:
    """Runs everything in one home. As a context manager it ends everything, also on Ctrl-C and SIGTERM."""

    def __init__(self, home: Home, console: Console | None = None) -> None:
        """Bind to a home; nothing is started yet."""
        self._home, self._console = home, console or Console(stderr=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._handlers: dict[int, SignalHandler] = {}
        self._claims = PortClaims(HOST)

    def __enter__(self) -> "Supervisor":
        """Turn SIGTERM and SIGHUP into SystemExit, so that the context is left."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)
        try:
            self.stop()
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers.clear()

    def start(self) -> None:
        """Prepare the home and its databases, then start all servers; they are not ready yet.

        Raises:
            StartupError: If something runs in this home already, or a preparation fails.
        """
        busy = running(self._home)
        if busy:
            raise StartupError(f"In {self._home.path} there run already: {', '.join(busy)}. Run `trimtab down` first.")
        self._home.prepare()
        self._home.choose_ports(self._claims)
        variables = {**os.environ, **environment(self._home)}
        servers = processes(self._home)
        # MLflow makes its own database, so it need not wait for the others.
        early = [*PREPARATIONS, *(server for server in servers if server.name == "mlflow")]
        with self._progress([process.name for process in PREPARATIONS]) as show:
            for process in early:
                self._launch(process, variables)
            self._finish(PREPARATIONS, show)
        for process in servers:
            if process.name not in self._running:
                self._launch(process, variables)

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until every server answers, and every part of Airflow calls itself healthy.

        Raises:
            StartupError: If one ends, or the time is over; with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        waiting = {process.name: process for process in processes(self._home)}
        with self._progress(list(waiting)) as show, httpx.Client(trust_env=False, timeout=5) as client:
            while waiting:
                self._refuse_dead(self._running)
                for name in _ready(client, waiting.values()):
                    show(name, "ready")
                    del waiting[name]
                if waiting and time.monotonic() > deadline:
                    raise self._not_ready(next(iter(waiting)), f"is not ready after {timeout_s:.0f} s")
                time.sleep(POLL_S)

    def watch(self) -> None:
        """Stay as long as every server runs.

        Raises:
            StartupError: If one has ended by itself, with the end of its log.
        """
        while self.alive():
            time.sleep(1)
        self._refuse_dead(list(self._running))

    def alive(self) -> bool:
        """Whether all servers run."""
        return bool(self._running) and not self.ended()

    def ended(self) -> list[str]:
        """Servers that have ended by themselves."""
        return [name for name, running in self._running.items() if running.poll() is not None]

    def pid(self, name: str) -> int:
        """Process id of a server, which leads a session and a group of its own."""
        return self._running[name].pid

    def tail(self, name: str) -> str:
        """The last lines of a process's log."""
        return _tail(self._log(name))

    def stop(self) -> None:
        """End all processes with everything that they have started. A second Ctrl-C makes it short."""
        self._claims.release()
        if not self._running:
            return
        _end_in_order({name: running.pid for name, running in self._running.items()}, self._home)
        for running in self._running.values():
            running.wait()
        self._running.clear()
        _record_file(self._home).unlink(missing_ok=True)

    def _launch(self, process: Process, variables: Mapping[str, str]) -> None:
        program = shutil.which(process.argv[0], path=variables["PATH"])
        if program is None:
            raise StartupError(f"There is no command {process.argv[0]!r} beside Python. Run `make setup`.")
        with self._log(process.name).open("wb") as log:
            self._running[process.name] = subprocess.Popen(
                [program, *process.argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                cwd=self._home.path,
                start_new_session=True,
            )
        self._record()

    def _finish(self, commands: Sequence[Process], show: Callable[[str, str], None]) -> None:
        """Wait for commands that end, and forget them."""
        for command in commands:
            try:
                status = self._running[command.name].wait(READY_S)
            except subprocess.TimeoutExpired as exc:
                raise self._not_ready(command.name, f"has not ended after {READY_S:.0f} s") from exc
            if status != 0:
                raise self._not_ready(command.name, f"ended with status {status}")
            show(command.name, "done")
            del self._running[command.name]
        self._record()

    def _refuse_dead(self, names: Iterable[str]) -> None:
        for name in names:
            status = self._running[name].poll()
            if status is not None:
                raise self._not_ready(name, f"ended with status {status}")

    def _not_ready(self, name: str, what: str) -> StartupError:
        return StartupError(f"Process {name!r} {what}. The end of {self._log(name)}:\n{self.tail(name)}")

    def _record(self) -> None:
        """Write down what runs, and who watches it."""
        known = [Started.of(name, running.pid) for name, running in self._running.items() if running.poll() is None]
        everything = [Started.of(WATCHER, os.getpid()), *known]
        draft = _record_file(self._home).with_suffix(".draft")
        draft.write_text(json.dumps([asdict(one) for one in everything]), encoding="utf-8")
        draft.replace(_record_file(self._home))

    def _log(self, name: str) -> Path:
        return self._home.logs / f"{name}.log"

    def _progress(self, names: Sequence[str]) -> "_Display":
        return _Display(self._console, names)


class _Display:
    """A line with a spinner for each process."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[state]}", style="dim"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {
            name: self._progress.add_task(name, total=1, state="starting") for name in names
        }

    def __enter__(self) -> Callable[[str, str], None]:
        self._progress.start()
        return self._show

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _show(self, name: str, state: str) -> None:
        self._progress.update(self._tasks[name], state=state, completed=1)


def running(home: Home) -> list[str]:
    """Names of the processes that run in a home, whoever started them."""
    return [one.name for one in _recorded(home) if one.pid != os.getpid() and one.is_running]


def end_recorded(home: Home) -> list[str]:
    """End what runs in a home, whoever started it, and return the names of what was running."""
    found = [one for one in _recorded(home) if one.pid != os.getpid() and one.is_running]
    for watcher in found:
        if watcher.name == WATCHER:
            _send(watcher.pid, signal.SIGTERM)
            _wait_for_end(watcher, 2 * GRACE_S + FORCED_S)
    _end_in_order({one.name: one.pid for one in found if one.name != WATCHER and one.is_running}, home)
    _record_file(home).unlink(missing_ok=True)
    return [one.name for one in found]


def _recorded(home: Home) -> list[Started]:
    """What a supervisor of this home has written down; it may have been killed since."""
    try:
        return [Started(**entry) for entry in json.loads(_record_file(home).read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []


def _wait_for_end(one: Started, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while one.is_running and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _end_in_order(pids: Mapping[str, int], home: Home) -> None:
    servers = {process.name: process for process in processes(home)}
    last = {name for name in pids if name in servers and servers[name].ends_last}
    again = [pid for name, pid in pids.items() if name in servers and servers[name].asked_again]
    end_sessions([pid for name, pid in pids.items() if name not in last], again=again)
    end_sessions([pid for name, pid in pids.items() if name in last])


def end_sessions(leaders: Sequence[int], grace_s: float = GRACE_S, *, again: Sequence[int] = ()) -> None:
    """End sessions with all their members: ask first, and force those that are left after a while.

    Args:
        leaders: Process ids of the leaders, which may be gone already.
        grace_s: Seconds until force is used.
        again: Leaders of sessions that are interrupted if they have not ended after a moment. Airflow's scheduler
            first waits for its tasks, and they end only when interrupted; its triggerer would hang.
    """
    try:
        left = _ask(leaders, grace_s, again)
    except KeyboardInterrupt:
        left = _members(leaders)
    left |= _members(leaders)
    for pid in left:
        _send(pid, signal.SIGKILL)
    deadline = time.monotonic() + FORCED_S
    while _still_running(left) and time.monotonic() < deadline:
        time.sleep(POLL_S)


def _ask(leaders: Sequence[int], grace_s: float, again: Sequence[int]) -> set[int]:
    asked = _members(leaders)
    for pid in asked:
        _send(pid, signal.SIGTERM)
    began = interrupted = time.monotonic()
    while (left := _still_running(asked | _members(leaders))) and time.monotonic() < began + grace_s:
        if time.monotonic() > interrupted + ASK_AGAIN_S:
            interrupted = time.monotonic()
            for pid in _members(again):
                _send(pid, signal.SIGINT)
        time.sleep(POLL_S)
    return left


def _members(leaders: Sequence[int]) -> set[int]:
    """Running processes of the sessions, and what their leaders started in sessions of their own."""
    wanted = set(leaders)
    found = {pid for pid in psutil.pids() if _session(pid) in wanted}
    for pid in tuple(found & wanted):
        try:
            found |= {child.pid for child in psutil.Process(pid).children(recursive=True)}
        except psutil.NoSuchProcess:
            continue
    return _still_running(found)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return -1


def _still_running(pids: Iterable[int]) -> set[int]:
    return {pid for pid in pids if _is_running(pid)}


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _ready(client: httpx.Client, waiting: Iterable[Process]) -> list[str]:
    """Names of those that are ready; each address is asked once."""
    wanted = list(waiting)
    answers = {url: _answer(client, url) for url in {process.ready for process in wanted}}
    return [process.name for process in wanted if _says_ready(answers[process.ready], process.component)]


def _answer(client: httpx.Client, url: str) -> httpx.Response | None:
    try:
        return client.get(url)
    except httpx.HTTPError:
        return None


def _says_ready(answer: httpx.Response | None, component: str) -> bool:
    if answer is None or answer.status_code != httpx.codes.OK:
        return False
    if not component:
        return True
    part = answer.json().get(component) or {}
    return bool(part.get("status") == "healthy")


def _tail(log: Path) -> str:
    if not log.is_file():
        return "(empty)"
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]) or "(empty)"


def _record_file(home: Home) -> Path:
    return home.path / "processes.json"


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
