"""The supervisor, with small processes in the place of the servers."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from trimtab.cli import processes as supervision
from trimtab.cli.processes import Started, Supervisor, end_recorded, end_sessions, running
from trimtab.cli.topology import Home, Process
from trimtab.errors import StartupError

PYTHON = sys.executable
TREE = """
import subprocess, sys, time
child = [sys.executable, "-c", "import time; time.sleep(600)"]
children = [subprocess.Popen(child, process_group=0), subprocess.Popen(child, start_new_session=True)]
print(*(one.pid for one in children), flush=True)
time.sleep(600)
"""
"""A server whose children are in a process group, and in a session, of their own."""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""
WATCHING = """
import signal, sys, time
from pathlib import Path
from trimtab.cli import processes as supervision
from trimtab.cli.topology import Home, Process

argv = (sys.executable, "-c", "import time; time.sleep(600)")
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
supervision.PREPARATIONS = ()
supervision.processes = lambda home: [Process(name="sleeper", argv=argv)]
supervision.environment = lambda home: {"PATH": ""}
with supervision.Supervisor(Home(Path(sys.argv[1]))) as supervisor:
    supervisor.start()
    print("started", flush=True)
    supervisor.watch()
"""


def server(port: int, name: str = "server") -> Process:
    argv = (PYTHON, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    return Process(name=name, argv=argv, ready=f"http://127.0.0.1:{port}/")


def command(name: str, code: str) -> Process:
    return Process(name=name, argv=(PYTHON, "-c", code))


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


Topology = Callable[..., None]


@pytest.fixture
def topology(monkeypatch: pytest.MonkeyPatch) -> Topology:
    """Sets what a supervisor runs."""

    def use(*servers: Process, preparations: tuple[Process, ...] = ()) -> None:
        monkeypatch.setattr(supervision, "PREPARATIONS", preparations)
        monkeypatch.setattr(supervision, "processes", lambda _home: list(servers))
        monkeypatch.setattr(supervision, "environment", lambda _home: {"PATH": os.environ["PATH"]})

    return use


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python in a session of its own, which ends with the test."""
    all_started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [PYTHON, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        all_started.append(process)
        return process

    yield start
    end_sessions([process.pid for process in all_started], 0)
    for process in all_started:
        process.wait()
        if process.stdout:
            process.stdout.close()


def quiet(home: Home) -> Supervisor:
    return Supervisor(home, Console(quiet=True))


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def wait_until(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_servers_are_started_and_ended(home: Home, topology: Topology, port: int) -> None:
    topology(server(port))
    with quiet(home) as supervisor:
        assert not supervisor.alive()
        supervisor.start()
        supervisor.wait_ready(20)
        assert supervisor.alive()
        assert set(running(home)) == {"server"}
    assert not supervisor.alive()
    assert running(home) == []
    socket.create_server(("127.0.0.1", port)).close()


def test_preparations_end_before_the_servers_start(home: Home, topology: Topology, port: int, tmp_path: Path) -> None:
    done = tmp_path / "done"
    slow = command("prepare", f"import time, pathlib; time.sleep(0.5); pathlib.Path({str(done)!r}).touch()")
    needs_it = command("needy", f"import pathlib, time; pathlib.Path({str(done)!r}).stat(); time.sleep(600)")
    topology(server(port), needs_it, preparations=(slow,))
    with quiet(home) as supervisor:
        supervisor.start()
        time.sleep(0.5)
        assert supervisor.alive()


def test_a_failed_preparation_is_told_with_the_end_of_its_log(home: Home, topology: Topology) -> None:
    topology(preparations=(command("prepare", "raise SystemExit('no database')"),))
    with quiet(home) as supervisor, pytest.raises(StartupError) as raised:
        supervisor.start()
    log = home.logs / "prepare.log"
    assert str(raised.value) == f"Process 'prepare' ended with status 1. The end of {log}:\nno database"


def test_a_server_that_ends_early_is_told_at_once(home: Home, topology: Topology, port: int) -> None:
    topology(server(port), command("broken", "raise SystemExit('no port')"))
    with quiet(home) as supervisor:
        supervisor.start()
        with pytest.raises(StartupError, match=r"^Process 'broken' ended with status 1\. The end of .*\nno port$"):
            supervisor.wait_ready(20)


def test_a_server_that_is_never_ready_is_given_up(home: Home, topology: Topology, port: int) -> None:
    silent = Process(name="silent", argv=(PYTHON, "-c", "import time; time.sleep(600)"), ready=server(port).ready)
    topology(silent)
    with quiet(home) as supervisor:
        supervisor.start()
        with pytest.raises(StartupError, match=r"^Process 'silent' is not ready after 1 s\. .*\n\(empty\)$"):
            supervisor.wait_ready(1)


def test_watching_ends_when_a_server_does(home: Home, topology: Topology) -> None:
    topology(command("mortal", "import time; time.sleep(0.5)"))
    with quiet(home) as supervisor:
        supervisor.start()
        with pytest.raises(StartupError, match="'mortal' ended with status 0"):
            supervisor.watch()


def test_a_home_has_one_supervisor_at_a_time(home: Home, topology: Topology, port: int) -> None:
    topology(server(port))
    with quiet(home) as supervisor:
        supervisor.start()
        with pytest.raises(StartupError) as raised:
            quiet(home).start()
        assert supervisor.alive()
    assert str(raised.value) == f"In {home.path} there run already: server. Run `trimtab down` first."


@pytest.mark.parametrize(
    ("component", "answer", "ready"),
    [
        ("scheduler", '{"scheduler": {"status": "healthy"}}', True),
        ("scheduler", '{"scheduler": {"status": "unhealthy"}}', False),
        ("scheduler", '{"scheduler": null}', False),
        ("scheduler", "{}", False),
        ("", "anything", True),
    ],
)
def test_a_part_of_airflow_is_ready_when_airflow_calls_it_healthy(component: str, answer: str, *, ready: bool) -> None:
    import httpx

    said = httpx.Response(200, text=answer)
    assert supervision._says_ready(said, component) is ready
    assert supervision._says_ready(httpx.Response(503, text=answer), component) is False


def test_children_end_with_their_server_wherever_they_went(started: Callable[..., subprocess.Popen[str]]) -> None:
    """Airflow's tasks have process groups of their own; a BashOperator has a session of its own."""
    process = started(TREE)
    assert process.stdout
    children = [int(pid) for pid in process.stdout.readline().split()]
    end_sessions([process.pid], 10)
    assert [pid for pid in (process.pid, *children) if not gone(pid)] == []


def test_a_server_that_does_not_listen_is_forced(started: Callable[..., subprocess.Popen[str]]) -> None:
    process = started(STUBBORN)
    assert process.stdout
    process.stdout.readline()
    began = time.monotonic()
    end_sessions([process.pid], 0.5)
    assert process.wait(5) == -signal.SIGKILL
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_supervisor_ends_everything(
    number: signal.Signals, home: Home, started: Callable[..., subprocess.Popen[str]]
) -> None:
    process = started(WATCHING, str(home.path))
    assert process.stdout
    assert process.stdout.readline() == "started\n"
    [sleeper] = [one for one in supervision._recorded(home) if one.name == "sleeper"]
    process.send_signal(number)
    process.wait(30)
    assert gone(sleeper.pid)
    assert running(home) == []


def test_what_a_killed_supervisor_left_behind_can_be_ended(
    home: Home, started: Callable[..., subprocess.Popen[str]]
) -> None:
    process = started(WATCHING, str(home.path))
    assert process.stdout
    process.stdout.readline()
    [sleeper] = [one for one in supervision._recorded(home) if one.name == "sleeper"]
    process.kill()
    process.wait()
    assert running(home) == ["sleeper"]
    assert end_recorded(home) == ["sleeper"]
    assert wait_until(lambda: gone(sleeper.pid))
    assert running(home) == []


def test_ending_from_outside_ends_the_supervisor_too(home: Home, started: Callable[..., subprocess.Popen[str]]) -> None:
    process = started(WATCHING, str(home.path))
    assert process.stdout
    process.stdout.readline()
    assert set(end_recorded(home)) == {"trimtab", "sleeper"}
    assert process.wait(10) == 128 + signal.SIGTERM


def test_a_stranger_with_the_number_of_a_dead_server_is_left_alone(
    home: Home, started: Callable[..., subprocess.Popen[str]]
) -> None:
    process = started("import time; time.sleep(600)")
    since = Started.of("server", process.pid).since - 3600
    home.path.mkdir()
    supervision._record_file(home).write_text(f'[{{"name": "server", "pid": {process.pid}, "since": {since}}}]')
    assert running(home) == []
    assert end_recorded(home) == []
    assert process.poll() is None


def test_nothing_recorded_is_nothing_running(home: Home) -> None:
    assert running(home) == []
    assert end_recorded(home) == []
