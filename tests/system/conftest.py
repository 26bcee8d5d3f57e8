"""A PostgreSQL server for the system tests, from Debian's packages."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

DATABASES = ("airflow", "mlflow", "trimtab")
STARTS_WITHIN_S = 30


def postgres_programs() -> Path | None:
    """Folder with initdb and postgres, of the newest version that is installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(installed[-1]) if installed else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Start of the URLs of a fresh server's databases; empty, with a warning, where PostgreSQL is not installed."""
    programs = postgres_programs()
    if programs is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed, and CI leaves nothing out. Run `apt-get install postgresql`.")
        print("PostgreSQL is not installed: this runs on SQLite. `apt-get install postgresql` installs it.")  # noqa: T201
        yield ""
        return
    folder = Path(tempfile.mkdtemp(prefix="trimtab-postgres-"))
    port = _free_port()
    with _server(programs, folder, port):
        yield f"postgresql+psycopg2://trimtab@127.0.0.1:{port}"
    shutil.rmtree(folder, ignore_errors=True)


class _server:  # noqa: N801  # used like a function
    """A server that runs as long as the block."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self._programs, self._folder, self._port = programs, folder, port
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)

    def __enter__(self) -> None:
        data = self._folder / "data"
        self._run("initdb", "-D", str(data), "-U", "trimtab", "--auth=trust", "--encoding=UTF8", "--no-sync")
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self._port}", "-c", "fsync=off"]
        options += ["-c", f"unix_socket_directories={self._folder}", "-c", "max_connections=200"]
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", str(data), *options],
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )
        self._wait()
        for name in DATABASES:
            self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "trimtab", name)

    def __exit__(self, *error: object) -> None:
        self._process.send_signal(signal.SIGINT)  # without waiting for clients to leave
        self._process.wait(timeout=STARTS_WITHIN_S)

    def _wait(self) -> None:
        end = time.monotonic() + STARTS_WITHIN_S
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    time.sleep(1)
                    return
            time.sleep(0.2)
        raise TimeoutError(f"PostgreSQL does not listen on port {self._port} after {STARTS_WITHIN_S} s.")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, check=True, user=self._user, capture_output=True, cwd=self._folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
