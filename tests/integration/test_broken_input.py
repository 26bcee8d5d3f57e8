"""A broken feed costs the rows that are broken and no others, says what is wrong, and leaves nothing once it is mended."""

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from loops import Loop, load_folder
from trimtab.adapters.model_folder import ModelFolder
from trimtab.adapters.sources import open_source
from trimtab.domain.journal import latest_by_subject
from trimtab.errors import BatchMissingError, DataContractError, SourceUnreadableError, TrimtabError

pytestmark = pytest.mark.integration
DAYS = [date(2013, 1, 1), date(2013, 1, 2), date(2013, 1, 3)]
BAD = DAYS[1]
HEADER = ["day", "place", "hour", "load", "note", "kwh"]
HOURS = 24
SUITE = """
- {type: expect_table_row_count_to_be_between, kwargs: {min_value: 20}, severity: critical}
- {type: expect_column_values_to_be_between, kwargs: {column: load, min_value: 0, max_value: 100, mostly: 0.8}, severity: critical}
- {type: expect_column_mean_to_be_between, kwargs: {column: load, min_value: 10, max_value: 60}, severity: warning}
"""
DOCUMENT: dict[str, Any] = {
    "spec_version": 1,
    "name": "meter",
    "description": "Energy of an hour.",
    "owner": "grid",
    "rows": {
        "columns": {"day": "text", "place": "text", "hour": "integer", "load": "number", "note": "text?"},
        "key": ["place", "hour"],
        "event_day": {"kind": "column", "column": "day"},
    },
    "label": {"column": "kwh"},
    "features": {"numeric": ["hour", "load"]},
    "train": {
        "candidates": [{"name": "one", "window_days": 2, "estimator": {"kind": "hist_gradient_boosting"}}],
        "min_rows": 10,
    },
}
Lines = list[list[str]]


def good_lines(day: date) -> Lines:
    return [[day.isoformat(), "main", str(hour), f"{20 + hour}.5", "", str(100 + hour)] for hour in range(HOURS)]


@dataclass
class Feed:
    """The files of a source in one of two layouts, and a model that reads them."""

    layout: str
    folder: Path
    ending: str = "csv"
    lines: dict[date, Lines] = field(default_factory=lambda: {day: good_lines(day) for day in DAYS})
    header: list[str] = field(default_factory=lambda: list(HEADER))

    def deliver(self, spoil: Callable[[bytes], bytes] = bytes, *, only: date | None = None) -> None:
        """Write all files; `spoil` changes the bytes, of one day's file where each day has one."""
        if self.layout == "one file":
            self._write("all", sum(self.lines.values(), []), spoil)
            return
        for day, lines in self.lines.items():
            self._write(day.isoformat(), lines, spoil if only in (None, day) else bytes)

    def file(self, day: date = BAD) -> Path:
        name = "all" if self.layout == "one file" else day.isoformat()
        return self.folder / f"{name}.{self.ending}"

    def model(self) -> ModelFolder:
        path = self.folder / "meter"
        path.mkdir(exist_ok=True)
        source = {
            "kind": "csv",
            "path": str(self.folder / f"{'all' if self.layout == 'one file' else '{day}'}.{self.ending}"),
        }
        (path / "model.yaml").write_text(
            yaml.safe_dump({**DOCUMENT, "source": source}, sort_keys=False), encoding="utf-8"
        )
        (path / "suite.yaml").write_text(SUITE, encoding="utf-8")
        return load_folder(path)

    def _write(self, name: str, lines: Lines, spoil: Callable[[bytes], bytes]) -> None:
        text = "".join(",".join(line) + "\n" for line in [self.header, *lines])
        (self.folder / f"{name}.{self.ending}").write_bytes(spoil(text.encode()))


@pytest.fixture(params=["one file", "a file a day"])
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Feed:
    return Feed(request.param, tmp_path)


class Runs:
    """Runs all days of a feed and keeps what became of each."""

    def __init__(self, feed: Feed, root: str = "stores") -> None:
        self.loop = Loop(feed.model(), feed.folder / root)

    def all_days(self) -> dict[date, str]:
        """What each day said: an error, a blocked batch, or how many rows went which way."""
        said = {}
        for day in DAYS:
            try:
                ingested, validated = self.loop.take_in(day)
                said[day] = f"landed {ingested.rows_landed}. {validated.summary}"
            except TrimtabError as error:
                said[day] = f"{type(error).__name__}: {error}"
        for day in DAYS:
            try:
                self.loop.label(day + timedelta(days=1))
            except TrimtabError:
                continue
        return said

    def rows(self, table: Any) -> dict[date, list[str]]:
        """Keys of each day's rows of a table."""
        return {
            day: frame["_key"].tolist() if len(frame := self.loop.lake.read(table, day, day)) else [] for day in DAYS
        }

    def reasons(self, day: date = BAD) -> dict[int, str]:
        """Why rows of a day are in quarantine, by position in their file."""
        frame = self.loop.lake.read("quarantine", day, day)
        return dict(zip(frame["_row"].tolist(), frame["reason"].tolist(), strict=True)) if len(frame) else {}

    def content(self) -> dict[str, Any]:
        """All rows, and the decision that counts for each day."""
        batches = latest_by_subject(self.loop.ledger.entries("batch"))
        return {
            **{name: value for name, value in self.loop.content().items() if not name.startswith("ledger")},
            "decisions": {day: (entry.kind, entry.payload) for day, entry in batches.items()},
        }


def keys(*without: int) -> list[str]:
    return [f"main|{hour}" for hour in range(HOURS) if hour not in without]


def position(feed: Feed, hour: int) -> int:
    """Position of an hour of the bad day in its file."""
    return hour + (HOURS if feed.layout == "one file" else 0)


ACCEPTED = "landed 24. 24 rows accepted, 0 set aside, 0 warnings."


def clean_content(feed: Feed) -> dict[str, Any]:
    """What the stores hold if nothing is ever broken."""
    unbroken = Feed(feed.layout, feed.folder, feed.ending)
    unbroken.deliver(PACK[feed.ending])
    runs = Runs(unbroken, "clean")
    assert set(runs.all_days().values()) == {ACCEPTED}
    return runs.content()


def assert_mended(feed: Feed, runs: Runs) -> None:
    """Once the feed is mended, the same days run again end as if nothing had been broken, however often they run."""
    expected = clean_content(feed)
    for _ in range(2):
        assert set(runs.all_days().values()) == {ACCEPTED}
        assert runs.content() == expected


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("feed.csv", content)
    return buffer.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "csv": bytes, "csv.zip": zipped, "csv.gz": gzip.compress, "csv.bz2": bz2.compress,
}  # fmt: skip


def test_unbroken_feed_is_taken_in_whole(feed: Feed) -> None:
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days() == dict.fromkeys(DAYS, ACCEPTED)
    for table in ("landing", "batches", "labels"):
        assert runs.rows(table) == dict.fromkeys(DAYS, keys())
    assert runs.reasons() == {}
    assert_mended(feed, runs)


def test_missing_day_may_still_come(feed: Feed) -> None:
    del feed.lines[BAD]
    feed.deliver()
    runs = Runs(feed)
    said = runs.all_days()
    what = "has no row of 2013-01-02" if feed.layout == "one file" else "is not there"
    assert said[BAD] == f"BatchMissingError: {feed.file()} {what}. Run this day again when its batch has arrived."
    assert said[DAYS[0]] == said[DAYS[2]] == ACCEPTED
    assert runs.rows("batches") == {**dict.fromkeys(DAYS, keys()), BAD: []}
    assert BatchMissingError.retryable
    assert_mended(feed, runs)


def test_empty_file_is_delivered_again(feed: Feed) -> None:
    feed.deliver(lambda _: b"", only=BAD)
    runs = Runs(feed)
    said = runs.all_days()
    assert said[BAD] == (
        f"SourceUnreadableError: {feed.file()} is empty: a header and rows were expected. Deliver it again."
    )
    assert runs.rows("landing")[BAD] == runs.rows("batches")[BAD] == []
    assert not SourceUnreadableError.retryable
    assert_mended(feed, runs)


def test_header_without_rows_may_still_be_filled(feed: Feed) -> None:
    feed.deliver(lambda content: content[: content.index(b"\n") + 1], only=BAD)
    runs = Runs(feed)
    assert runs.all_days()[BAD] == (
        f"BatchMissingError: {feed.file()} has no row of 2013-01-02. Run this day again when its batch has arrived."
    )
    assert runs.rows("landing")[BAD] == []
    assert_mended(feed, runs)


def test_missing_column_is_named(feed: Feed) -> None:
    feed.header.remove("load")
    feed.lines = {day: [line[:3] + line[4:] for line in lines] for day, lines in feed.lines.items()}
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == (
        f"DataContractError: {feed.file()} has no column 'load'. It has day, place, hour, note, kwh. "
        "If the source has renamed it, change rows.columns or label.column in model.yaml."
    )
    assert runs.rows("landing") == runs.rows("batches") == dict.fromkeys(DAYS, [])
    assert_mended(feed, runs)


def test_renamed_column_is_named_beside_its_new_name(feed: Feed) -> None:
    feed.header[3] = "load_percent"
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == (
        f"DataContractError: {feed.file()} has no column 'load'. It has day, place, hour, load_percent, note, kwh. "
        "If the source has renamed it, change rows.columns or label.column in model.yaml."
    )
    assert runs.rows("landing") == dict.fromkeys(DAYS, [])
    assert_mended(feed, runs)


def test_renamed_label_stops_the_labels_and_not_the_rows(feed: Feed) -> None:
    feed.header[5] = "energy"
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days() == dict.fromkeys(DAYS, ACCEPTED)
    assert runs.rows("labels") == dict.fromkeys(DAYS, [])
    with pytest.raises(DataContractError, match=r"has no column 'kwh'\. It has day, place, hour, load, note, energy\."):
        runs.loop.label(DAYS[2])
    assert_mended(feed, runs)


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("load", "many", "'load' must be a number, got 'many'"),
        ("load", "", "'load' has no value"),
        ("load", "NA", "'load' has no value"),
        ("hour", "5.5", "'hour' must be an integer, got '5.5'"),
        ("place", "", "'place' has no value"),
        ("day", "02.01.2013", "its day cannot be read"),
        ("day", "2013-02-30", "its day cannot be read"),
        ("day", "", "its day cannot be read"),
    ],
)
def test_bad_value_costs_its_row(feed: Feed, column: str, text: str, reason: str) -> None:
    feed.lines[BAD][5][HEADER.index(column)] = text
    feed.deliver()
    runs = Runs(feed)
    said = runs.all_days()
    assert said == {**dict.fromkeys(DAYS, ACCEPTED), BAD: "landed 23. 23 rows accepted, 0 set aside, 0 warnings."}
    assert runs.rows("batches") == {**dict.fromkeys(DAYS, keys()), BAD: keys(5)}
    assert runs.rows("labels")[BAD] == keys(5)
    assert runs.reasons() == {position(feed, 5): reason}
    assert_mended(feed, runs)


def test_row_with_two_faults_names_both_and_keeps_the_row_as_it_was(feed: Feed) -> None:
    feed.lines[BAD][5][2:4] = ["five", "many"]
    feed.deliver()
    runs = Runs(feed)
    runs.all_days()
    assert runs.reasons() == {
        position(feed, 5): "'hour' must be an integer, got 'five'; 'load' must be a number, got 'many'"
    }
    raw = json.loads(runs.loop.lake.read("quarantine", BAD, BAD)["raw"].iloc[0])
    assert raw == {"day": "2013-01-02", "place": "main", "hour": "five", "load": "many", "note": None}
    assert_mended(feed, runs)


def test_bad_label_costs_the_label_alone(feed: Feed) -> None:
    feed.lines[BAD][5][5], feed.lines[BAD][6][5] = "unknown", ""
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == ACCEPTED
    assert runs.rows("batches")[BAD] == keys()
    assert runs.rows("labels")[BAD] == keys(5, 6)
    assert_mended(feed, runs)


def test_repeated_key_costs_the_repetitions(feed: Feed) -> None:
    feed.lines[BAD].insert(8, list(feed.lines[BAD][3]))
    feed.lines[BAD][8][5] = "999"
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == "landed 24. 24 rows accepted, 0 set aside, 0 warnings."
    assert runs.rows("batches")[BAD] == keys()
    assert runs.reasons() == {position(feed, 8): f"its key is that of row {position(feed, 3)}"}
    labels = runs.loop.lake.read("labels", BAD, BAD).set_index("_key")["label"]
    assert labels["main|3"] == 103, "the label is that of the row which was accepted"
    assert_mended(feed, runs)


def test_good_row_counts_where_the_bad_one_of_its_key_came_first(feed: Feed) -> None:
    feed.lines[BAD].insert(0, list(feed.lines[BAD][3]))
    feed.lines[BAD][0][3], feed.lines[BAD][0][5] = "many", "999"
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == ACCEPTED
    assert runs.rows("batches")[BAD] == keys()
    labels = runs.loop.lake.read("labels", BAD, BAD).set_index("_key")["label"]
    assert labels["main|3"] == 103
    assert_mended(feed, runs)


def test_file_written_anew_in_another_order_keeps_its_labels(feed: Feed) -> None:
    """Labels are found by key: since the batch came in, the file may have been sorted."""
    feed.deliver()
    runs = Runs(feed)
    runs.all_days()
    before = runs.loop.lake.read("labels", BAD, BAD)
    feed.lines = {day: list(reversed(feed.lines[day])) for day in reversed(DAYS)}
    feed.deliver()
    runs.loop.label(BAD + timedelta(days=1))
    assert runs.loop.lake.read("labels", BAD, BAD).equals(before)


def test_wrong_date_form_in_all_rows_is_named(feed: Feed) -> None:
    for lines in feed.lines.values():
        for line in lines:
            year, month, day = line[0].split("-")
            line[0] = f"{day}/{month}/{year}"
    feed.deliver()
    runs = Runs(feed)
    first = "01/01/2013" if feed.layout == "one file" else "02/01/2013"
    assert runs.all_days()[BAD] == (
        f"DataContractError: {feed.file()}: no row has its day in the form '%Y-%m-%d'. The first row has "
        f"{{'day': '{first}'}}. Mend the source, or change rows.event_day in model.yaml."
    )
    assert runs.rows("landing") == dict.fromkeys(DAYS, [])
    assert_mended(feed, runs)


def test_row_of_another_day_is_set_aside_from_the_file_of_a_day(tmp_path: Path) -> None:
    feed = Feed("a file a day", tmp_path)
    feed.lines[BAD].append(list(feed.lines[DAYS[0]][0]))
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == ACCEPTED
    assert runs.reasons() == {24: "it is of 2013-01-01 and stands in the batch of 2013-01-02"}
    assert runs.rows("batches") == dict.fromkeys(DAYS, keys())
    assert_mended(feed, runs)


def test_old_file_under_a_new_name_is_blocked(tmp_path: Path) -> None:
    feed = Feed("a file a day", tmp_path)
    feed.lines[BAD] = good_lines(DAYS[0])
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == "landed 0. Batch blocked: no row of the batch could be read."
    assert len(runs.reasons()) == 24
    assert runs.rows("batches")[BAD] == []
    assert_mended(feed, runs)


@pytest.mark.parametrize(("change", "problem"), [(["2013-01-02", "main"], "2"), (["2013-01-02", *"abcdefg"], "8")])
def test_row_with_another_number_of_values_is_set_aside(feed: Feed, change: list[str], problem: str) -> None:
    feed.lines[BAD][5] = change
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == "landed 23. 23 rows accepted, 0 set aside, 0 warnings."
    assert runs.rows("batches") == {**dict.fromkeys(DAYS, keys()), BAD: keys(5)}
    assert runs.reasons() == {position(feed, 5): f"it has {problem} values instead of 6"}
    assert_mended(feed, runs)


def test_file_cut_in_the_middle_of_its_last_rows_costs_those(feed: Feed) -> None:
    def cut(content: bytes) -> bytes:
        return content[: content.rindex(b"main,22") + len(b"main,2")]

    last = DAYS[2]
    feed.deliver(cut, only=last)
    runs = Runs(feed)
    said = runs.all_days()
    assert said == {**dict.fromkeys(DAYS, ACCEPTED), last: "landed 22. 22 rows accepted, 0 set aside, 0 warnings."}
    assert runs.rows("batches")[last] == keys(22, 23)
    offset = 2 * HOURS if feed.layout == "one file" else 0
    assert runs.reasons(last) == {offset + 22: "it has 3 values instead of 6"}
    assert_mended(feed, runs)


def test_half_a_file_is_blocked_by_its_number_of_rows(feed: Feed) -> None:
    def cut(content: bytes) -> bytes:
        return content[: content.rindex(b"main,12") + len(b"main,1")]

    last = DAYS[2]
    feed.deliver(cut, only=last)
    runs = Runs(feed)
    said = runs.all_days()
    assert said[last] == "landed 12. Batch blocked: expect_table_row_count_to_be_between(): 12."
    assert said[DAYS[0]] == said[DAYS[1]] == ACCEPTED
    assert runs.rows("batches")[last] == runs.rows("labels")[last] == []
    incident = runs.loop.ledger.entries("incident")[-1]
    assert (incident.subject, incident.kind, incident.payload) == (
        "batch 2013-01-03",
        "opened",
        {
            "reason": "Batch blocked: expect_table_row_count_to_be_between(): 12.",
            "cure": "Mend the feed, then clear the tasks of this day.",
        },
    )
    assert_mended(feed, runs)


@pytest.mark.parametrize("ending", ["csv.zip", "csv.gz", "csv.bz2"])
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_packed_file_that_is_cut_off_is_delivered_again(feed: Feed, ending: str, kept: float) -> None:
    feed.ending = ending
    feed.deliver(PACK[ending])
    whole = feed.file().read_bytes()
    feed.file().write_bytes(whole[: int(len(whole) * kept)])
    runs = Runs(feed)
    said = runs.all_days()[BAD]
    assert said.startswith(f"SourceUnreadableError: {feed.file()} cannot be unpacked (")
    assert said.endswith("): it is cut off or not of the kind that its name says. Deliver it again.")
    assert runs.rows("landing")[BAD] == runs.rows("batches")[BAD] == []
    assert_mended(feed, runs)


@pytest.mark.parametrize("ending", ["csv.zip", "csv.gz", "csv.bz2"])
def test_plain_file_under_the_name_of_a_packed_one_is_refused(feed: Feed, ending: str) -> None:
    feed.ending = ending
    feed.deliver()
    assert "cannot be unpacked (" in Runs(feed).all_days()[BAD]


def test_value_in_another_encoding_is_named(feed: Feed) -> None:
    feed.lines[BAD][5][4] = "caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    feed.deliver(lambda content: content.decode().encode("cp1252"), only=BAD)
    runs = Runs(feed)
    said = runs.all_days()[BAD]
    assert said.startswith(
        f"SourceUnreadableError: {feed.file()} cannot be read as CSV with delimiter ',' and encoding 'utf-8': "
    )
    assert "invalid UTF8 data" in said
    assert said.endswith("Mend the file, or change source in model.yaml.")
    assert runs.rows("landing")[BAD] == []
    assert_mended(feed, runs)


def test_header_in_another_encoding_is_named(feed: Feed) -> None:
    feed.header[4] = "note (\N{DEGREE SIGN}C)"
    feed.deliver(lambda content: content.decode().encode("cp1252"))
    assert Runs(feed).all_days()[BAD] == (
        f"SourceUnreadableError: {feed.file()}: its header is not 'utf-8'. Change source.encoding in model.yaml."
    )


def test_another_delimiter_shows_as_a_missing_column(feed: Feed) -> None:
    feed.deliver(lambda content: content.replace(b",", b";"))
    said = Runs(feed).all_days()[BAD]
    assert said.startswith(
        f"DataContractError: {feed.file()} has no column 'day', 'place', 'hour', 'load', 'note'. It has day;"
    )


def test_some_values_out_of_range_cost_their_rows(feed: Feed) -> None:
    for hour in (3, 7):
        feed.lines[BAD][hour][3] = "250"
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == "landed 24. 22 rows accepted, 2 set aside, 0 warnings."
    assert runs.rows("batches")[BAD] == keys(3, 7)
    assert runs.reasons() == dict.fromkeys(
        (position(feed, 3), position(feed, 7)), "breaks expect_column_values_to_be_between(load)"
    )
    assert_mended(feed, runs)


def test_most_values_out_of_range_block_the_batch(feed: Feed) -> None:
    for line in feed.lines[BAD]:
        line[3] = str(float(line[3]) * 10)
    feed.deliver()
    runs = Runs(feed)
    assert runs.all_days()[BAD] == (
        "landed 24. Batch blocked: expect_column_values_to_be_between(load): 24 of 24 rows (such as 205.0, 215.0, 225.0)."
    )
    assert runs.rows("batches") == {**dict.fromkeys(DAYS, keys()), BAD: []}
    assert runs.reasons() == {}
    assert_mended(feed, runs)


def test_day_that_was_good_and_is_delivered_broken_is_taken_back(feed: Feed) -> None:
    feed.deliver()
    runs = Runs(feed)
    runs.all_days()
    feed.lines[BAD] = feed.lines[BAD][:5]
    feed.deliver()
    assert runs.all_days()[BAD] == "landed 5. Batch blocked: expect_table_row_count_to_be_between(): 5."
    assert runs.rows("batches") == runs.rows("labels") == {**dict.fromkeys(DAYS, keys()), BAD: []}
    assert_mended(feed, runs)
    kinds = [entry.kind for entry in runs.loop.ledger.entries("batch", BAD.isoformat())]
    assert kinds == ["accepted", "blocked", "accepted"]


def test_file_that_turns_unreadable_leaves_the_day_as_it_was(feed: Feed) -> None:
    feed.deliver()
    runs = Runs(feed)
    runs.all_days()
    before = runs.content()
    feed.deliver(lambda _: b"")
    assert "is empty" in runs.all_days()[BAD]
    assert runs.content() == before


# Four real copies of one table, each broken in its own way.

SEOUL_SUITE = """
- {type: expect_table_row_count_to_be_between, kwargs: {min_value: 20, max_value: 24}, severity: critical}
- {type: expect_column_values_to_be_between, kwargs: {column: TEMPERATURE, min_value: -30, max_value: 45, mostly: 0.9}, severity: critical}
"""


def seoul(
    data_folder: Path,
    root: Path,
    file: str,
    *,
    temperature: str,
    form: str,
    label: str = "Rented Bike Count",
    **source: str,
) -> Loop:
    """A model of one of the copies."""
    document = {
        **DOCUMENT,
        "name": "seoul",
        "source": {"kind": "csv", "path": str(data_folder / "dirty_seoulbike" / file), **source},
        "rows": {
            "columns": {"Date": "text", "Hour": "integer", temperature: "number"},
            "key": ["Hour"],
            "event_day": {"kind": "column", "column": "Date", "format": form},
        },
        "label": {"column": label},
        "features": {"numeric": ["Hour"]},
    }
    path = root / "models" / "seoul"
    path.mkdir(parents=True)
    (path / "model.yaml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    (path / "suite.yaml").write_text(SEOUL_SUITE.replace("TEMPERATURE", json.dumps(temperature)), encoding="utf-8")
    return Loop(load_folder(path), root / "stores")


WINTER_DAY = date(2017, 12, 13)
YEAR = [date(2017, 12, 1) + timedelta(days=number) for number in range(365)]


@pytest.mark.parametrize(
    ("file", "temperature", "label", "form", "source"),
    [
        ("SeoulBikeData_AllanDavis.csv", "Temperature", "Rented_Bike_Count", "%d/%m/%Y", {"encoding": "cp1252"}),
        ("SeoulBikeData1.csv", "Temperature", "Rented Bike Count", "%m/%d/%Y", {}),
    ],
)
def test_copy_of_seoul_that_is_described_as_it_is_gives_every_hour_of_the_year(
    data_folder: Path, tmp_path: Path, file: str, temperature: str, label: str, form: str, source: dict[str, str]
) -> None:
    loop = seoul(data_folder, tmp_path, file, temperature=temperature, label=label, form=form, **source)
    batches = [loop.source.read(day, ["Date", "Hour"]) for day in YEAR]
    assert {len(batch.rows) for batch in batches} == {24}
    assert [row for batch in batches for row in batch.broken] == []
    ingested, validated = loop.take_in(WINTER_DAY)
    assert (ingested.rows_landed, validated.accepted) == (24, True)


def test_copy_of_seoul_in_another_encoding_is_named(data_folder: Path, tmp_path: Path) -> None:
    file = "SeoulBikeData_AllanDavis.csv"
    loop = seoul(data_folder, tmp_path, file, temperature="Temperature", form="%d/%m/%Y")
    with pytest.raises(SourceUnreadableError) as told:
        loop.take_in(WINTER_DAY)
    assert str(told.value) == (
        f"{data_folder}/dirty_seoulbike/{file}: its header is not 'utf-8'. Change source.encoding in model.yaml."
    )


def test_copy_of_seoul_without_a_header_is_named_by_its_first_row(data_folder: Path, tmp_path: Path) -> None:
    file = "SeoulBikeData.csv"
    loop = seoul(data_folder, tmp_path, file, temperature="Temperature", form="%d/%m/%Y")
    with pytest.raises(DataContractError) as told:
        loop.take_in(WINTER_DAY)
    assert str(told.value).startswith(
        f"{data_folder}/dirty_seoulbike/{file} has no column 'Date', 'Hour', 'Temperature'. It has 01/12/2017, 254, 0, -5.2, "
    )


def test_copy_of_seoul_with_another_column_name_is_named_by_those_it_has(data_folder: Path, tmp_path: Path) -> None:
    loop = seoul(data_folder, tmp_path, "SeoulBikeData1.csv", temperature="Temperature(°C)", form="%m/%d/%Y")
    with pytest.raises(
        DataContractError, match=r"has no column 'Temperature\(°C\)'\. It has Date, .*Temperature, Humidity"
    ):
        loop.take_in(WINTER_DAY)


def test_copy_of_seoul_with_month_and_day_exchanged_accepts_no_row_as_another_day_unseen(
    data_folder: Path, tmp_path: Path
) -> None:
    """12/13/2017 is no day of a month-first reader: those rows end in quarantine. 12/1/2017 reads as 12 January."""
    loop = seoul(data_folder, tmp_path, "SeoulBikeData1.csv", temperature="Temperature", form="%d/%m/%Y")
    with pytest.raises(BatchMissingError, match=r"has no row of 2017-12-13\."):
        loop.take_in(WINTER_DAY)
    ingested, validated = loop.take_in(date(2017, 12, 12))
    assert ingested.reasons == {"its day cannot be read": 19 * 24}
    assert (ingested.rows_landed, validated.accepted) == (24, True)


def test_copy_of_seoul_that_lost_its_decimal_points_is_blocked(data_folder: Path, tmp_path: Path) -> None:
    file, temperature = "SeoulBikeData_Gmrkc.csv", "Temperature(°C)"
    loop = seoul(data_folder, tmp_path, file, temperature=temperature, form="%d.%m.%Y", delimiter=";")
    batches = [open_source(loop.folder, str).read(day, ["Date", "Hour"]) for day in YEAR]
    assert {len(batch.rows) for batch in batches} == {24}
    ingested, validated = loop.take_in(WINTER_DAY)
    assert ingested.rows_landed == 24
    assert validated.summary.startswith("Batch blocked: expect_column_values_to_be_between(Temperature(°C)): ")
    assert len(loop.lake.read("batches", WINTER_DAY, WINTER_DAY)) == 0


def test_copy_of_seoul_with_another_delimiter_is_named(data_folder: Path, tmp_path: Path) -> None:
    loop = seoul(data_folder, tmp_path, "SeoulBikeData_Gmrkc.csv", temperature="Temperature(°C)", form="%d.%m.%Y")
    with pytest.raises(
        DataContractError, match=r"has no column 'Date', 'Hour', 'Temperature\(°C\)'\. It has Date;Hour;"
    ):
        loop.take_in(WINTER_DAY)
