"""Migrations of the ledger's database."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

MIGRATIONS = Path(__file__).parent / "ledger_migrations"
LOCK = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT pg_advisory_xact_lock(7364186)"}
"""The driver of SQLite begins no transaction before DDL; the number is any that nobody else locks."""


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision, one process at a time, all or nothing. Repeating it changes nothing."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        connection.exec_driver_sql(LOCK[engine.dialect.name])
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
