"""Ports set aside for servers that take a while to listen, so that no other Trimtab takes them meanwhile."""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

from trimtab.errors import NotFoundError

TRIED = 100


class PortClaims:
    """The ports that this process has claimed. They are free again when it releases them, or ends in any way."""

    def __init__(self, host: str) -> None:
        """Bind to an address of this machine; nothing is claimed yet."""
        self._host = host
        self._locks: dict[int, int] = {}

    def claim(self, first: int) -> int:
        """The first port from this one on that nobody listens on and nobody has claimed.

        Raises:
            NotFoundError: If there is none among the next hundred.
        """
        for port in range(first, first + TRIED):
            if port not in self._locks and self._take(port):
                return port
        raise NotFoundError(f"No port from {first} to {first + TRIED - 1} is free. End what listens there.")

    def release(self) -> None:
        """Give all of them back."""
        for lock in self._locks.values():
            os.close(lock)
        self._locks.clear()

    def _take(self, port: int) -> bool:
        file = Path(tempfile.gettempdir()) / f"trimtab-{os.getuid()}-port-{port}.lock"
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        if not _is_free(self._host, port):
            os.close(lock)
            return False
        self._locks[port] = lock
        return True


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do, so that connections that have just been closed do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
