"""What each worker of a service has loaded, told by files that its other workers read."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from pydantic import TypeAdapter

from trimtab.serving.messages import ModelState
from trimtab.serving.model_server import ModelServer

States: TypeAlias = dict[str, tuple[ModelState, bool, int]]
"""By model, its state, whether it follows the ledger, and the refreshes that failed."""

_states_json = TypeAdapter(States)


class Peers:
    """The workers of a service; this process is one of them."""

    def __init__(self, models: Mapping[str, ModelServer], folder: Path | None) -> None:
        """Bind to the folder that all workers share; None: there is only this one."""
        self._models, self._folder = models, folder
        self._told = b""

    def tell(self) -> None:
        """Let the others know, if there is news."""
        content = _states_json.dump_json(self._own())
        if self._folder is None or content == self._told:
            return
        draft = self._folder / f"{os.getpid()}.draft"
        with suppress(OSError):  # for want of room; it is tried again
            draft.write_bytes(content)
            draft.replace(self._folder / f"{os.getpid()}.state")
            self._told = content

    def states(self) -> Mapping[int, States]:
        """Of every worker that is alive, by its process id; this one's as it is at this moment."""
        others = self._folder.glob("*.state") if self._folder else ()
        alive = {int(file.stem): file for file in others if Path("/proc", file.stem).exists()}
        told = {pid: _states_json.validate_json(file.read_bytes()) for pid, file in alive.items()}
        return {**told, os.getpid(): self._own()}

    def _own(self) -> States:
        return {
            name: (server.state, server.is_following, server.failed_refreshes) for name, server in self._models.items()
        }


def resident_bytes(pid: int) -> int:
    """Memory of a process; 0 if it is gone."""
    try:
        pages = int(Path("/proc", str(pid), "statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
