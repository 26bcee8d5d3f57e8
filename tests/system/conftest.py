"""A PostgreSQL server for the system tests, from Debian's packages."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from postgres_servers import PostgresServer, postgres_programs

DATABASES = ("airflow", "mlflow", "trimtab")


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
    server = PostgresServer(programs, folder)
    try:
        server.create(DATABASES)
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
