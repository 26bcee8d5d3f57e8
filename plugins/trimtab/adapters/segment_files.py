"""Lines that processes write and a task moves on once: files that end, called segments.

A writer holds a lock on its segment, which the kernel gives back when the process ends, however it ends. So a segment
that can be locked will never grow again. This needs a file system whose `flock` all processes see: one machine's disk,
or NFS 4. A segment may end with half a line, which was never acknowledged and which readers pass over.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import from_json, to_json

from trimtab.adapters.whole_files import DRAFT, write_whole

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

logger = logging.getLogger(__name__)

Clock: TypeAlias = Callable[[], datetime]
Line: TypeAlias = Mapping[str, Any]
Summary: TypeAlias = Mapping[str, Any]
Summarize: TypeAlias = "Callable[[Summary, Sequence[Path]], Summary]"
"""The summary of segments that were moved, and that of these too."""

SEGMENT_BYTES = 16 * 2**20
"""Size at which a segment ends; one batch of them is held in memory when it is moved."""
SEGMENT_S = 10.0
"""Age at which a segment ends, so that the rows of a quiet service are moved as well; `feedback` sees none before."""
SUFFIX = ".jsonl"
STATE_FILE = "collected.json"
LOCK_FILE = "collect.lock"


@dataclass(slots=True)
class _Segment:
    """A segment that is being written."""

    path: Path
    file: int
    size: int = 0
    timer: threading.Timer | None = None


class SegmentWriter:
    """Appends lines for one process. Threads may share it."""

    def __init__(
        self,
        folder: Path,
        worker: str,
        clock: Clock,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        segment_s: float = SEGMENT_S,
    ) -> None:
        """Bind to a folder; the first segment is made with the first lines.

        Args:
            folder: Folder of the segments.
            worker: Name of this process, for the reader of file names.
            clock: Gives the present moment in UTC.
            segment_bytes: Size at which a segment ends.
            segment_s: Seconds after which a segment ends.
        """
        self._folder, self._worker, self._clock = folder, worker, clock
        self._segment_bytes, self._segment_s = segment_bytes, segment_s
        self._lock = threading.Lock()
        self._segment: _Segment | None = None

    def write(self, records: Sequence[DataclassInstance]) -> None:
        """Append a line of JSON for each record, with the moment of its writing as `at`; see `append`."""
        if records:
            at, names = self._clock().isoformat(timespec="milliseconds"), tuple(records[0].__dataclass_fields__)
            values = map(attrgetter(*names), records)
            self.append(b"".join([_line({**dict(zip(names, row, strict=True)), "at": at}) for row in values]))

    def append(self, lines: bytes) -> None:
        """Make whole lines durable: they survive the process, and the machine's power.

        Raises:
            OSError: If the disk does not take them; then none of them is in the log.
        """
        with self._lock:
            segment = self._segment or self._begin()
            try:
                written = 0
                while written < len(lines):
                    written += os.write(segment.file, lines[written:])
                os.fdatasync(segment.file)
            except OSError:
                # A full disk takes a part of the bytes, and a file whose sync has failed is not to be relied on.
                try:
                    os.ftruncate(segment.file, segment.size)
                finally:
                    self._end()
                raise
            segment.size += len(lines)
            if segment.size >= self._segment_bytes:
                self._end()

    def close(self) -> None:
        """End the segment; more lines begin a new one."""
        with self._lock:
            self._end()

    def _begin(self) -> _Segment:
        self._folder.mkdir(parents=True, exist_ok=True)
        started = self._clock().strftime("%Y%m%dT%H%M%S%f")
        file, name = tempfile.mkstemp(suffix=DRAFT, prefix=f"{started}-{self._worker}-", dir=self._folder)
        self._segment = segment = _Segment(Path(name), file)
        try:
            os.fchmod(file, 0o640)
            # Locked before it bears a name that a collector looks for.
            fcntl.flock(file, fcntl.LOCK_EX)
            segment.path = segment.path.rename(name.removesuffix(DRAFT) + SUFFIX)
            sync_folder(self._folder)
        except OSError:
            self._end()
            raise
        segment.timer = threading.Timer(self._segment_s, self._end_old, [segment])
        segment.timer.daemon = True
        segment.timer.start()
        return segment

    def _end_old(self, segment: _Segment) -> None:
        with self._lock:
            if self._segment is segment:
                self._end()

    def _end(self) -> None:
        segment, self._segment = self._segment, None
        if segment is None:
            return
        if not segment.size:  # or a disk that is full would be filled with empty files
            segment.path.unlink(missing_ok=True)
        os.close(segment.file)
        if segment.timer is not None:
            segment.timer.cancel()


def _line(values: Line) -> bytes:
    return to_json(values, inf_nan_mode="null") + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What has been moved of a folder's segments, and what is being moved."""

    log: str
    """Names the folder for ever, wherever it lies."""
    number: int = 0
    """Of the last batch."""
    segments: Sequence[str] = ()
    """The last batch; once it has been moved, they are removed."""
    summary: Summary = field(default_factory=dict)
    """Of all segments up to and including the last batch."""


class SegmentFolder:
    """Segments as their readers, and the one that moves them, see them."""

    def __init__(self, path: Path) -> None:
        """Bind to a folder, which need not exist yet."""
        self.path = path

    @property
    def collected(self) -> Collected | None:
        """What has been moved; None before the first batch."""
        try:
            content = (self.path / STATE_FILE).read_bytes()
        except FileNotFoundError:
            return None
        return Collected(**from_json(content))

    @property
    def segments(self) -> list[Path]:
        """All segments that are there, by the moment they began."""
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def lines(self) -> Iterator[Line]:
        """The lines of all segments that are there; one that is moved meanwhile is passed over."""
        for segment in self.segments:
            with suppress(FileNotFoundError):
                yield from parsed(whole_lines(segment), segment)

    def batches(
        self,
        last_number: Callable[[str], int],
        summarize: Summarize = lambda before, _: before,
        batch_bytes: int = SEGMENT_BYTES,
    ) -> Iterator[tuple[Collected, Sequence[Path]]]:
        """Ended segments, some at a time, for the only collector of the folder; others wait.

        A batch has been moved when the next one is asked for, and its segments are removed. One that was not moved
        to the end comes again under its number, and as it was: or without some segments, if all of it was moved.

        Args:
            last_number: Number up to which batches of a log are where they go. A folder that was put back to what it
                was some time ago must not give its rows a number that others had.
            summarize: What is kept of the segments.
            batch_bytes: Size at which a batch is large enough.
        """
        if not self.path.is_dir():
            return
        with self._alone():
            state = self.collected or Collected(log=uuid.uuid4().hex)
            while True:
                left = [file for name in state.segments if (file := self.path / name).exists()]
                if not left:
                    left = self._ended(batch_bytes)
                    if not left:
                        return
                    names, summary = [file.name for file in left], summarize(state.summary, left)
                    number = max(state.number, last_number(state.log)) + 1
                    state = Collected(log=state.log, number=number, segments=names, summary=summary)
                    self._save(state)
                yield state, left
                # A lake in a folder is written without a sync; a loss of power must not cost it what is removed here.
                os.sync()
                for file in left:
                    file.unlink(missing_ok=True)
                # Or they might be back after it, when their batch is no longer the last one.
                sync_folder(self.path)

    def _ended(self, batch_bytes: int) -> list[Path]:
        chosen: list[Path] = []
        size = 0
        for segment in self.segments:
            if size < batch_bytes and _has_ended(segment):
                chosen.append(segment)
                size += segment.stat().st_size
        return chosen

    def _save(self, state: Collected) -> None:
        write_whole(self.path / STATE_FILE, to_json(asdict(state)))
        sync_folder(self.path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.path / LOCK_FILE).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def whole_lines(segment: Path, start: int = 0) -> bytes:
    """Bytes from `start` to the end of the last whole line."""
    with segment.open("rb") as stream:
        stream.seek(start)
        data = stream.read()
    return data[: data.rfind(b"\n") + 1]


def parsed(lines: bytes, segment: Path, mark: str = "") -> Iterator[Line]:
    """The lines with a field, found as bytes, which spares parsing the others; one that is not JSON is left out.

    A text cannot be taken for a field: JSON writes its quotes with a backslash.
    """
    wanted = mark.encode()
    for line in lines.split(b"\n"):
        if not line or wanted not in line:
            continue
        try:
            yield from_json(line)
        except ValueError:
            logger.warning("%s has a line that is not JSON; it is left out: %r", segment, line[:80])


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a loss of power."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _has_ended(segment: Path) -> bool:
    try:
        with segment.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):  # it is being written, or its writer has taken it back, empty
        return False
    return True
