"""A real PostgreSQL server for tests, from Debian's packages."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from mlflow_servers import free_port

STARTS_WITHIN_S = 30


def postgres_programs() -> Path | None:
    """Folder with initdb and postgres, of the newest version that is installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = str(installed[-1]) if installed else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """A server on a port of its own, which may be stopped and started again."""

    def __init__(self, programs: Path, folder: Path) -> None:
        """Choose a port; `create` makes the server, and `start` starts it again."""
        self._programs, self._folder, self._port = programs, folder, free_port()
        # PostgreSQL refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)

    @property
    def url(self) -> str:
        """Start of the URLs of its databases."""
        return f"postgresql+psycopg2://trimtab@127.0.0.1:{self._port}"

    def create(self, databases: Sequence[str]) -> None:
        """Make the server and its databases, and leave it running."""
        self._run("initdb", "-D", self._data, "-U", "trimtab", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self.start()
        for name in databases:
            self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "trimtab", name)

    def start(self) -> None:
        """Start it and wait until it listens."""
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={self._port}", "-c", "fsync=off"]
        options += ["-c", f"unix_socket_directories={self._folder}", "-c", "max_connections=200"]
        self._process = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", self._data, *options],
            user=self._user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
        )
        self._wait()

    def stop(self) -> None:
        """End it without waiting for clients to leave."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=STARTS_WITHIN_S)

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

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
