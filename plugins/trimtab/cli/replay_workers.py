"""The processes of a replay: workers that end with the command that began them, and whose errors cross as words."""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from typing import TypeVar

from trimtab.errors import TrimtabError

Result = TypeVar("Result")


def prepare_worker() -> None:
    """Let a worker end when the process that began it does, however that ends, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def in_worker(work: Callable[..., Result], *arguments: object) -> Result:
    """Do some work; an error crosses to the other process as its words, since not all can be taken apart."""
    try:
        return work(*arguments)
    except TrimtabError as error:
        raise TrimtabError(str(error)) from None
