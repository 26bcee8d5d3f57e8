"""The ledger on a SQL database: SQLite by default, PostgreSQL in production."""

import sqlite3
import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

from sqlalchemy import (
    JSON,
    Column,
    Date,
    DateTime,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy import insert as insert_into
from sqlalchemy.engine import Row
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
)

from trimtab.domain.journal import Draft, Entry, Stream
from trimtab.errors import LedgerConflictError, LedgerUnavailableError

metadata = MetaData()
entries_table = Table(
    "entries",
    metadata,
    Column("model", String(40), primary_key=True),
    Column("stream", String(20), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("subject", String(200), nullable=False, index=True),
    Column("kind", String(40), nullable=False),
    Column("as_of", Date, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
)
"""Nothing updates or deletes a row. The primary key is what lets only one of two writers win."""

UNAVAILABLE = (InterfaceError, InternalError, OperationalError, ProgrammingError)
"""What drivers raise when a database is down, or is not ours; other errors are about what is written."""
SQLITE_WAIT_S = 30
"""How long to wait for SQLite's lock."""
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The wall clock, for the adapters' constructors."""
    return datetime.now(UTC)


def open_engine(url: str) -> Engine:
    """An engine with a bounded wait: 5 s for a connection or a broken network, 30 s for a lock of SQLite (WAL)."""
    if url.startswith("sqlite"):
        engine = create_engine(url, connect_args={"timeout": SQLITE_WAIT_S})
        event.listen(engine, "connect", _use_wal)
        return engine
    arguments = {"connect_timeout": 5, **(_BROKEN_NETWORK if url.startswith("postgresql") else {})}
    return create_engine(url, connect_args=arguments, pool_pre_ping=True)


_BROKEN_NETWORK = {"tcp_user_timeout": 5000, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2}
"""libpq's bounds (ms, s, s) for a peer that has gone without a word; the system's own are up to two hours."""


def _use_wal(connection: sqlite3.Connection, _record: object) -> None:
    until = time.monotonic() + SQLITE_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            # Of two that open a new database at once SQLite refuses one without waiting: each would wait for the other.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=FULL")


class SqlLedger:
    """The journal of one model in the table `entries`."""

    def __init__(self, engine: Engine, model: str, clock: Clock = utc_now) -> None:
        """Bind to a database whose schema `trimtab migrate` has made."""
        self._engine, self._model, self._clock = engine, model, clock

    def append(self, draft: Draft, *, after: int) -> Entry:
        """Write the entry that follows number `after`; the primary key refuses a second writer."""
        entry = Entry(
            stream=draft.stream,
            sequence=after + 1,
            subject=draft.subject,
            kind=draft.kind,
            as_of=draft.as_of,
            payload=draft.payload,
            recorded_at=self._clock().astimezone(UTC),  # SQLite keeps no time zone
        )
        values = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert_into(entries_table).values(model=self._model, **values))
        except IntegrityError as exc:
            raise LedgerConflictError(
                f"Ledger stream {draft.stream!r} of model {self._model!r}: another writer took entry {after + 1} "
                f"before this one ({draft.kind!r} of {draft.subject!r}). Read the stream again and decide anew."
            ) from exc
        except UNAVAILABLE as exc:
            raise self._unavailable(exc) from exc
        return entry

    def entries(self, stream: Stream, subject: str | None = None) -> Sequence[Entry]:
        """Entries of a stream in order."""
        table = entries_table.c
        query = select(entries_table).where(table.model == self._model, table.stream == stream)
        if subject is not None:
            query = query.where(table.subject == subject)
        try:
            with self._engine.connect() as connection:
                return [_entry(row) for row in connection.execute(query.order_by(table.sequence))]
        except UNAVAILABLE as exc:
            raise self._unavailable(exc) from exc

    def head(self, stream: Stream) -> int:
        """Sequence number of the last entry, 0 when there is none."""
        table = entries_table.c
        query = select(func.max(table.sequence)).where(table.model == self._model, table.stream == stream)
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).scalar() or 0
        except UNAVAILABLE as exc:
            raise self._unavailable(exc) from exc

    def _unavailable(self, exc: DBAPIError) -> LedgerUnavailableError:
        cause = str(exc.orig).partition("\n")[0][:200]
        return LedgerUnavailableError(
            f"Ledger {self._engine.url.render_as_string(hide_password=True)} does not answer, is full, or has no table "
            f"'entries' ({cause}). "
            "Start the database, and run `trimtab migrate` if it is new."
        )


def _entry(row: Row[tuple[object, ...]]) -> Entry:
    values = {name: getattr(row, name) for name in Entry.__dataclass_fields__}
    recorded: datetime = values["recorded_at"]
    values["recorded_at"] = recorded if recorded.tzinfo else recorded.replace(tzinfo=UTC)
    as_of: date = values["as_of"]
    values["as_of"] = as_of
    return Entry(**values)
