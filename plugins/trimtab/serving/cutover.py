"""The moment at which all workers of a service follow a routing: words in memory that they share.

A worker prepares a routing, which is to open its versions, and says so. The last one that is ready puts the routing in
force for all of them, with one write; each reads before each batch which one that is. Nobody waits for a worker that is
dead or new, and for one that does not get ready only so long.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from trimtab.domain.release import Routing

PATIENCE_S = 2.0
"""For other workers to prepare what this one has prepared, beyond the time that it took this one."""
SUFFIX = ".cutover"
_PID, _PREPARED, _IN_FORCE = range(3)
_WORD = np.dtype(np.int64)
_routing_json = TypeAdapter(Routing)


class Cutover:
    """The agreement of some workers about the routings of one model. Sequences are those of the ledger, from 0.

    A worker writes into its own slot and nowhere else, and in force is the largest sequence that any of them has put
    there. So it never goes back, whoever is killed at whatever moment.
    """

    def __init__(
        self, file: Path | None = None, slot: int = 0, slots: int = 1, *, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """Take a slot, as a worker that has prepared nothing yet.

        Args:
            file: Shared by the workers, and made by the first of them; None: there is only this one.
            slot: Of this worker, from 0; that of a dead one may be taken again.
            slots: How many there are.
            timer: Seconds from any fixed moment on.
        """
        self._words = np.zeros((slots, 3), dtype=_WORD) if file is None else _mapped(file, slots)
        self._file = file
        self._own = self._words[slot]
        self._own[_PREPARED], self._own[_PID] = 0, os.getpid()
        self._timer, self._lock = timer, Lock()
        self._waits_until = 0.0
        self._longest_s = 0.0

    def tell(self, route: Routing) -> None:
        """Let the others have a routing, should the ledger not answer them."""
        if self._file is None:
            return
        draft = self._file.with_suffix(f".{os.getpid()}.draft")
        with suppress(OSError):  # for want of room; they have the ledger
            draft.write_bytes(_routing_json.dump_json(route))
            draft.replace(self._file.with_suffix(f".{route.sequence}.routing"))
            for older in self._told(below=route.sequence):
                older.unlink(missing_ok=True)

    @property
    def told(self) -> Routing | None:
        """The newest routing that any of the workers has let the others have."""
        newest = max(self._told(), key=_sequence_of, default=None)
        try:
            return None if newest is None else _routing_json.validate_json(newest.read_bytes())
        except FileNotFoundError:  # for a newer one
            return self.told

    def _told(self, below: int = sys.maxsize) -> list[Path]:
        files = self._file.parent.glob(f"{self._file.stem}.*.routing") if self._file else ()
        return [file for file in files if _sequence_of(file) < below]

    def prepare(self, sequence: int, seconds: float) -> None:
        """Say that a routing is prepared here, and how long that took."""
        with self._lock:
            is_pending = self._own[_PREPARED] > self._newest
            self._longest_s = max(self._longest_s, seconds) if is_pending else seconds
            self._waits_until = self._timer() + PATIENCE_S + self._longest_s
            self._own[_PREPARED] = sequence + 1  # 0 is nothing

    @property
    def in_force(self) -> int | None:
        """The routing that all workers follow; None before the first."""
        newest = self._newest
        if newest < self._own[_PREPARED]:
            newest = self._settle()
        return newest - 1 if newest else None

    @property
    def _newest(self) -> int:
        """The word of the newest routing that any worker has put in force; 0 before the first."""
        newest: int = max(self._words[:, _IN_FORCE].tolist())  # NumPy takes five times as long for so few
        return newest

    @property
    def has_followers(self) -> bool:
        """Whether another worker that lives follows the routing in force."""
        newest = self._newest
        others = (pid for pid, prepared, _ in self._words.tolist() if prepared >= newest > 0 and pid != os.getpid())
        return any(map(_is_alive, others))

    def behind(self) -> list[int]:
        """Process ids of the workers that cannot follow the routing in force, for want of having prepared it."""
        return list(_behind(self._words))

    def _settle(self) -> int:
        """Put in force what is prepared here, if that is what the others have too, or they have had their time."""
        with self._lock:
            newest = self._newest
            own = int(self._own[_PREPARED])
            if own > newest and (self._timer() >= self._waits_until or set(self._awaited(newest)) <= {own}):
                self._own[_IN_FORCE] = newest = own
            return newest

    def _awaited(self, newest: int) -> Iterator[int]:
        """What has been prepared by those who are waited for: who lives, and can follow what is in force."""
        for pid, prepared, _ in self._words.tolist():
            if prepared >= max(newest, 1) and _is_alive(pid):
                yield prepared


def _sequence_of(file: Path) -> int:
    return int(file.name.split(".")[-2])


def left_behind(folder: Path) -> set[int]:
    """Process ids of workers that are behind with any of the models whose files lie in a folder."""
    return {pid for file in folder.glob(f"*{SUFFIX}") for pid in _behind(np.fromfile(file, dtype=_WORD).reshape(-1, 3))}


def _behind(words: NDArray[np.int64]) -> Iterator[int]:
    newest = int(words[:, _IN_FORCE].max(initial=0))
    for pid, prepared, _ in words.tolist():
        if 0 < prepared < newest and _is_alive(pid):
            yield pid


def _mapped(file: Path, slots: int) -> NDArray[np.int64]:
    size = slots * 3 * _WORD.itemsize
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)  # else a full disk would kill the process that writes
    finally:
        os.close(descriptor)
    return np.memmap(file, dtype=_WORD, mode="r+", shape=(slots, 3))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
