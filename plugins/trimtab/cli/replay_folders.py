"""The folders of a replay: what is planned, how far each has come, and who may work in it.

Both kinds of work, loading the past and living a policy, can be killed at any moment: what is done is noted after each
day, and a day that was begun is done again. A folder's name says all that its content follows from.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from trimtab.adapters.whole_files import write_whole
from trimtab.errors import TrimtabError

PROGRESS_FILE, LOCK_FILE = "progress.json", "lock"
LOCK_TIMEOUT_S = 30.0
"""A killed replay's workers end within a moment."""
DAY_CODE = ("domain", "stages", "adapters", "cli/history.py")
"""What a day's steps are made of. Whole packages: a list of files is soon without one that matters."""
PAST_CODE = (*DAY_CODE, "cli/replay_past.py")
"""What decides what a recorded past looks like, beside the model folder."""
POLICY_CODE = (*DAY_CODE, "cli/replay_policies.py", "cli/replay_outcome.py")
"""What decides what a policy does: a replay that is resumed with other code would be neither the old nor the new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is replayed. Small and picklable: workers open everything themselves."""

    model: Path
    work: Path
    warm_up: date
    """First day that is loaded."""
    first: date
    """First day that is scored; the first training knows what was known on the day before."""
    last: date
    past_code: str = field(default_factory=lambda: _code_digest(PAST_CODE))
    """What the stages said when the replay began: all its workers go by it."""
    policy_code: str = field(default_factory=lambda: _code_digest(POLICY_CODE))

    @property
    def first_window_days(self) -> int:
        """Days that can be known to the first training."""
        return (self.first - self.warm_up).days


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a folder's work has come."""

    done: frozenset[date] = frozenset()
    seconds: float = 0.0

    @classmethod
    def of(cls, root: Path) -> "Progress":
        """What is noted in a folder."""
        try:
            noted = json.loads((root / PROGRESS_FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        return cls(done=frozenset(map(date.fromisoformat, noted["done"])), seconds=noted["seconds"])

    def after(self, day: date, seconds: float) -> "Progress":
        """The progress when one more day is done."""
        return Progress(done=self.done | {day}, seconds=self.seconds + seconds)

    def note(self, root: Path) -> None:
        """Note it in a folder."""
        content = {"done": sorted(day.isoformat() for day in self.done), "seconds": self.seconds}
        write_whole(root / PROGRESS_FILE, json.dumps(content).encode())


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold a folder for one process.

    Raises:
        TrimtabError: If another process keeps holding it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK_FILE).open("w") as file:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _locked(file.fileno()):
            if time.monotonic() > deadline:
                raise TrimtabError(
                    f"Another replay is working in {root}. Wait for it, or choose another --work folder."
                )
            time.sleep(0.1)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def short_hash(state: Sequence[str]) -> str:
    """A name that other content would not have."""
    return hashlib.sha256("\0".join(state).encode()).hexdigest()[:12]


def _code_digest(parts: Sequence[str]) -> str:
    package = Path(__file__).parents[1]
    files = [
        file
        for part in parts
        for file in ([package / part] if part.endswith(".py") else (package / part).rglob("*.py"))
    ]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()
