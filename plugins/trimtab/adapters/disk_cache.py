"""Where copies lie that only save time, and may be deleted at any moment: $XDG_CACHE_HOME/trimtab."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/trimtab, or ~/.cache/trimtab; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab"


def keep_copy(file: Path, write: Callable[[Path], None], kept: int) -> None:
    """Have a copy written, as a whole or not at all, and delete all but the newest `kept` of its suffix in its folder.

    Without a place to write there is no copy, and nothing else changes.
    """
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write(draft)
        draft.replace(file)
        copies = sorted(file.parent.glob(f"*{file.suffix}"), key=lambda copy: copy.stat().st_mtime_ns, reverse=True)
        for copy in copies[kept:]:
            copy.unlink(missing_ok=True)
    except OSError:
        with suppress(OSError):
            draft.unlink()
