"""What every ledger promises, held against SQLite, and against PostgreSQL where there is one.

PostgreSQL is $TRIMTAB_TEST_POSTGRES (a SQLAlchemy URL of a database that may be written to), or a cluster that these
tests make for themselves if its programs are installed.
"""

import os
import pwd
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, create_engine, inspect

from trimtab.adapters.ledger_schema import migrate
from trimtab.adapters.sql_ledger import SqlLedger, open_engine
from trimtab.domain.journal import Draft, Ledger, Payload, Stream
from trimtab.errors import LedgerConflictError, LedgerUnavailableError

DAY = date(2013, 1, 1)
NOON = datetime(2013, 1, 1, 12, tzinfo=UTC)
HOW_TO_INSTALL = (
    "PostgreSQL is not here. Install it (`apt-get install postgresql`), or set TRIMTAB_TEST_POSTGRES to a SQLAlchemy "
    "URL such as postgresql+psycopg2://me:secret@localhost/test."
)


class Cluster:
    """A PostgreSQL of its own on a Unix socket, which nobody else can reach."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.data = folder / "data"
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg2://trimtab@/postgres?host={self.folder}"

    def start(self) -> None:
        if self.user:
            shutil.chown(self.folder, self.user)
        self._run("initdb", "-D", str(self.data), "-U", "trimtab", "-A", "trust", "--no-sync")
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", str(self.data), "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.programs / program), *arguments],
            check=True,
            cwd=self.folder,
            user=self.user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=120,
        )


def postgres_programs() -> Path | None:
    """Folder with initdb and pg_ctl: that of Debian's newest version, or that on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: float(file.parts[4]))
    program = found[-1] if found else shutil.which("initdb")
    if program is None or (os.geteuid() == 0 and not _has_user("postgres")):
        return None
    return Path(program).resolve().parent


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL."""
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed. Run `pip install trimtab[postgres]`.")
    given = os.environ.get("TRIMTAB_TEST_POSTGRES")
    if given:
        yield given
        return
    programs = postgres_programs()
    if programs is None:
        pytest.skip(HOW_TO_INSTALL)
    folder = Path("/tmp") / f"trimtab-{uuid4().hex[:8]}"  # noqa: S108  # a socket's path must be short
    folder.mkdir(mode=0o700)
    cluster = Cluster(programs, folder)
    try:
        cluster.start()
        yield cluster.url
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a database that other tests may have used."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return str(request.getfixturevalue("postgres"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_engine(url)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def open_ledger(engine: Engine) -> Callable[[], Ledger]:
    """Opens the same empty ledger each time."""
    model = f"m{uuid4().hex[:20]}"
    return lambda: SqlLedger(engine, model, clock=lambda: NOON)


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    return open_ledger()


def draft(subject: str = "1", kind: str = "requested", stream: Stream = "release", **payload: object) -> Draft:
    return Draft(stream=stream, subject=subject, kind=kind, as_of=DAY, payload=dict(payload))  # type: ignore[arg-type]


def test_empty_stream_has_head_zero_and_no_entry(ledger: Ledger) -> None:
    assert ledger.head("release") == 0
    assert list(ledger.entries("release")) == []


def test_entry_comes_back_as_it_was_written(ledger: Ledger, open_ledger: Callable[[], Ledger]) -> None:
    payload: Payload = {
        "text": "caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{SNOWMAN} 'quoted' \"twice\" \\ \n",
        "number": 0.1,
        "large": 2**53,
        "tiny": 5e-324,
        "nothing": None,
        "truth": True,
        "list": [1, [2, {"deep": []}]],
    }
    written = ledger.append(draft(**payload), after=0)
    assert written.recorded_at == NOON
    assert list(open_ledger().entries("release")) == [written]
    assert written.payload == payload
    assert list(written.payload) == list(payload)


def test_entries_are_numbered_from_one_without_gaps_in_each_stream(ledger: Ledger) -> None:
    for number in range(5):
        assert ledger.append(draft(str(number)), after=number).sequence == number + 1
    assert ledger.append(draft(stream="gate"), after=0).sequence == 1
    assert [entry.sequence for entry in ledger.entries("release")] == [1, 2, 3, 4, 5]
    assert (ledger.head("release"), ledger.head("gate"), ledger.head("verdict")) == (5, 1, 0)


def test_entries_of_one_subject_come_in_order(ledger: Ledger) -> None:
    for number, subject in enumerate("abab"):
        ledger.append(draft(subject, kind=f"k{number}"), after=number)
    assert [(entry.sequence, entry.kind) for entry in ledger.entries("release", "b")] == [(2, "k1"), (4, "k3")]


def test_second_writer_of_a_place_is_refused_and_leaves_nothing(ledger: Ledger) -> None:
    ledger.append(draft("1", actor="first"), after=0)
    with pytest.raises(
        LedgerConflictError, match=r"another writer took entry 1 before this one \('requested' of '2'\)"
    ):
        ledger.append(draft("2", actor="second"), after=0)
    assert [entry.payload for entry in ledger.entries("release")] == [{"actor": "first"}]
    ledger.append(draft("2"), after=1)
    assert ledger.head("release") == 2


def test_of_many_writers_at_once_exactly_one_wins_each_place(open_ledger: Callable[[], Ledger]) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def write(actor: int) -> None:
        ledger = open_ledger()
        start.wait()
        for after in range(5):
            try:
                ledger.append(draft(str(actor)), after=after)
            except LedgerConflictError:
                continue
            won.append(after)

    threads = [threading.Thread(target=write, args=(actor,)) for actor in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [0, 1, 2, 3, 4]
    assert open_ledger().head("release") == 5


def test_models_do_not_see_each_other(engine: Engine, ledger: Ledger) -> None:
    ledger.append(draft(), after=0)
    other = SqlLedger(engine, f"other{uuid4().hex[:20]}")
    assert other.head("release") == 0
    assert other.append(draft(), after=0).sequence == 1


def test_time_is_kept_in_utc_whatever_the_clock_says(engine: Engine) -> None:
    abroad = NOON.astimezone(timezone(timedelta(hours=9)))
    ledger = SqlLedger(engine, f"clock{uuid4().hex[:20]}", clock=lambda: abroad)
    ledger.append(draft(), after=0)
    (entry,) = ledger.entries("release")
    assert entry.recorded_at == NOON
    assert entry.recorded_at.tzinfo is not None


def test_migrating_again_keeps_what_is_there(engine: Engine, ledger: Ledger) -> None:
    ledger.append(draft(), after=0)
    migrate(engine)
    assert ledger.head("release") == 1
    assert "ix_entries_subject" in {index["name"] for index in inspect(engine).get_indexes("entries")}


@pytest.mark.parametrize("time", range(12))  # one in six went wrong
def test_two_processes_may_migrate_a_new_database_at_once(tmp_path: Path, time: int) -> None:
    start, failures = threading.Barrier(4), []
    url = f"sqlite:///{tmp_path}/new.db"

    def run() -> None:
        engine = open_engine(url)
        start.wait()
        try:
            migrate(engine)
        except Exception as error:  # noqa: BLE001  # whatever it is
            failures.append(error)
        engine.dispose()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert inspect(create_engine(url)).get_table_names() == ["alembic_version", "entries"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("moment", range(1, 10))
def test_migration_that_was_killed_can_be_run_again(tmp_path: Path, moment: int) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    child = os.fork()
    if child == 0:
        from sqlalchemy import event

        engine, seen = open_engine(url), []

        def count(*_: object) -> None:
            seen.append(1)
            if len(seen) == moment:
                os.kill(os.getpid(), 9)

        event.listen(engine, "before_cursor_execute", count)
        migrate(engine)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 9
    engine = open_engine(url)
    migrate(engine)
    assert SqlLedger(engine, "m").append(draft(), after=0).sequence == 1


def test_database_without_the_table_is_named(tmp_path: Path) -> None:
    ledger = SqlLedger(open_engine(f"sqlite:///{tmp_path}/ledger.db"), "m")
    for use in (
        lambda: ledger.head("release"),
        lambda: ledger.entries("release"),
        lambda: ledger.append(draft(), after=0),
    ):
        with pytest.raises(LedgerUnavailableError) as told:
            use()
        assert str(told.value) == (
            f"Ledger sqlite:///{tmp_path}/ledger.db does not answer, is full, or has no table 'entries' "
            "(no such table: entries). Start the database, and run `trimtab migrate` if it is new."
        )


def test_database_that_is_down_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed. Run `pip install trimtab[postgres]`.")
    ledger = SqlLedger(open_engine("postgresql+psycopg2://me:secret@127.0.0.1:1/none"), "m")
    with pytest.raises(LedgerUnavailableError) as told:
        ledger.head("release")
    assert "postgresql+psycopg2://me:***@127.0.0.1:1/none does not answer" in str(told.value)
    assert "secret" not in str(told.value)
    assert LedgerUnavailableError.retryable


def test_too_long_a_subject_is_not_taken_for_a_database_that_is_down(
    request: pytest.FixtureRequest,
) -> None:
    from sqlalchemy.exc import DataError

    engine = open_engine(str(request.getfixturevalue("postgres")))
    migrate(engine)
    with pytest.raises(DataError):
        SqlLedger(engine, f"m{uuid4().hex[:20]}").append(draft("x" * 201), after=0)
    engine.dispose()
