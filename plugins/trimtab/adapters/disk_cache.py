"""Where copies lie that only save time, and may be deleted at any moment: $XDG_CACHE_HOME/trimtab."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/trimtab, or ~/.cache/trimtab; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab"


def forget_old(folder: Path, pattern: str, kept: int) -> None:
    """Delete all but the newest files of a folder."""
    copies = sorted(folder.glob(pattern), key=lambda copy: copy.stat().st_mtime_ns, reverse=True)
    for copy in copies[kept:]:
        copy.unlink(missing_ok=True)
