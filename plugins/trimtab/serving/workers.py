"""Several processes that answer on one port: started, started again when they die, and ended without a lost request.

Each listens by itself and the kernel spreads the connections (`SO_REUSEPORT`), so that one which has not loaded its
models yet gets none.
"""

import logging
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from trimtab.errors import StartupError

logger = logging.getLogger(__name__)

CALM_S = 1.0
"""A worker that dies younger than this is started again only after as long, so that a fault does not become a storm."""
END_S = 30.0
"""For workers that were asked to end; then they are killed."""
STUCK_S = 5.0
"""For a worker to catch up with the others before it is replaced."""


def reserve(host: str, port: int) -> socket.socket:
    """A socket that keeps the port for this process and its workers. It gets no connections: it does not listen.

    Raises:
        StartupError: If somebody listens there, or the address is not one of this machine.
    """
    # Two services that both share their port would get half the requests each; so first ask for it alone.
    with _bound(host, port) as alone:
        chosen = alone.getsockname()[1]
    return _bound(host, chosen, is_shared=True)


def listen(host: str, port: int) -> socket.socket:
    """A worker's socket, on a port that its parent has reserved."""
    return _bound(host, port, is_shared=True)


def _bound(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host, port))
    except OSError as exc:
        made.close()
        raise StartupError(
            f"Cannot listen on {host}:{port} ({exc.strerror}). End what listens there, or choose another port."
        ) from exc
    return made


@dataclass(slots=True)
class _Worker:
    """One of the processes."""

    process: SpawnProcess
    slot: int
    since: float
    """When it was started, in monotonic seconds."""
    stuck_since: float | None = None
    is_leaving: bool = False


class Workers:
    """Processes that all do the same until they are asked to end."""

    def __init__(self, work: Callable[[int], None], count: int, stuck: Callable[[], set[int]] = set) -> None:
        """Bind; nothing is started yet.

        Args:
            work: Gets a number from 0 to `count` - 1, its own among those that live. It is pickled, and ends when its
                process gets SIGTERM.
            count: Of processes.
            stuck: Gives the ids of processes that do not get on.
        """
        self._work, self._count, self._stuck = work, count, stuck
        self._spawn = get_context("spawn")
        self._started: list[_Worker] = []
        self._is_ending = False

    def run(self) -> None:
        """Keep the workers going until this process gets SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        while not self._is_ending:
            for slot in set(range(self._count)) - {worker.slot for worker in self._started}:
                self._start(slot)
            wait([worker.process.sentinel for worker in self._started], timeout=1.0)
            self._bury()
            self._end_stuck()
        self._drain()

    def _start(self, slot: int) -> None:
        process = self._spawn.Process(target=_orphan_proof, args=(self._work, slot))
        process.start()
        self._started.append(_Worker(process, slot, time.monotonic()))

    def _bury(self) -> None:
        for worker in list(self._started):
            process = worker.process
            if not process.is_alive() and not self._is_ending:
                logger.warning("worker %s ended with %s; another one is started", process.pid, process.exitcode)
                self._started.remove(worker)
                if time.monotonic() - worker.since < CALM_S:
                    time.sleep(CALM_S)

    def _end_stuck(self) -> None:
        stuck = self._stuck()
        for worker in self._started:
            if worker.process.pid not in stuck:
                worker.stuck_since = None
                continue
            now = time.monotonic()
            worker.stuck_since = worker.stuck_since or now
            if now - worker.stuck_since > STUCK_S + END_S:
                worker.process.kill()
            elif now - worker.stuck_since > STUCK_S and not worker.is_leaving:
                logger.warning("worker %s does not get on and is asked to end", worker.process.pid)
                worker.is_leaving = True
                worker.process.terminate()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._is_ending = True
        for worker in self._started:
            worker.process.terminate()

    def _drain(self) -> None:
        end = time.monotonic() + END_S
        for worker in self._started:
            worker.process.terminate()  # again: one may have been started when the signal came
            worker.process.join(max(end - time.monotonic(), 0))
            if worker.process.is_alive():
                worker.process.kill()


def _orphan_proof(work: Callable[[int], None], slot: int) -> None:
    """Work, and end when the parent dies, even if it is killed."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent passes it on
    work(slot)
